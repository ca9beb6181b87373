# shellcheck shell=bash
# Installs the Debian packages of a service; to be sourced by its script.
#
# The script sets:
#   SERVICE     what it is called in messages
#   PACKAGES    an array: what apt-get is to install
#   PROGRAMS    an array: the programs that it needs of them
# and has a function `fail MESSAGE`, which ends it.

# What else the tests have installed waits meanwhile: apt-get update waits for no other.
APT_LOCK=/tmp/hpc-lstm-apt.lock

installed() {
    command -v "${PROGRAMS[@]}" >/dev/null && [ "$(command -v "${PROGRAMS[@]}" | wc -l)" = ${#PROGRAMS[@]} ]
}

# Install the packages, by apt-get as root; nothing to do where the programs are.
install() {
    local log=/tmp/${0##*/}-install.$$
    if installed; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "$SERVICE is not installed, and only root on Debian can have it installed; run this there"
    fi
    export DEBIAN_FRONTEND=noninteractive
    exec 9>"$APT_LOCK"
    flock 9
    {
        apt-get update -q && apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "${PACKAGES[@]}"
    } >"$log" 2>&1 9>&- || fail "apt-get: $(tail -n 1 "$log"); see $log"
    exec 9>&-
    rm -f "$log"
    installed || fail "the packages lack one of: ${PROGRAMS[*]}"
}
