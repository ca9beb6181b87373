#!/usr/bin/env bash
# Make the virtual environment without root, or add to it: make_venv.sh FOLDER mpich|system EXTRAS [PYTHON] [NAME]
#
# Once it has the extras there is a file NAME-mpich, -system, -mpich-gpu or -system-gpu in it; NAME: installed.
set -euo pipefail
folder=$1 mpi=$2 extras=$3 python=${4:-} name=${5:-installed}

fail() { echo "make venv: $*" >&2; exit 2; }

# A name on PATH is not enough: version managers put names there that only print an error.
in_range() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3.10 python3; do
        if in_range "$name"; then echo "$name"; return; fi
    done
}

# Debian ships python3 without ensurepip, so `-m venv` may be there and yet fail.
make_environment() {
    rm -rf "$folder"
    # The newest pip at once, where a pip is at hand that can install it into another environment.
    "$python" -m venv --without-pip "$folder" >/dev/null 2>&1 &&
        "$python" -m pip --python "$folder/bin/python" install -qq pip >/dev/null 2>&1 && return
    rm -rf "$folder"
    "$python" -m venv "$folder" >/dev/null 2>&1 && return
    rm -rf "$folder"
    "$python" -m virtualenv -q "$folder" >/dev/null 2>&1 && return
    rm -rf "$folder"
    command -v virtualenv >/dev/null && virtualenv -q -p "$python" "$folder" >/dev/null 2>&1 && return
    rm -rf "$folder"
    command -v uv >/dev/null && uv venv -q --seed --python "$python" "$folder" >/dev/null 2>&1 && return
    rm -rf "$folder"
    # pip alone: virtualenv goes to a folder of its own, nothing is installed for the user.
    local borrowed
    borrowed=$(mktemp -d)
    if "$python" -m pip install -q --target "$borrowed" virtualenv >/dev/null 2>&1 &&
        PYTHONPATH=$borrowed "$python" -m virtualenv -q "$folder" >/dev/null 2>&1; then
        rm -rf "$borrowed"
        return
    fi
    rm -rf "$borrowed" "$folder"
    return 1
}

if [ -z "$python" ]; then
    python=$(find_python)
    [ -n "$python" ] || fail "no Python 3.10 to 3.13 found; install one, or name it: make venv PYTHON=/path/to/python3.12"
fi
in_range "$python" || fail "$python does not run or is not Python 3.10 to 3.13"
# It may be removed: VENV may name any folder.
if [ -e "$folder" ] && [ ! -f "$folder/pyvenv.cfg" ] && [ -n "$(ls -A "$folder")" ]; then
    fail "VENV=$folder: exists and is not a virtual environment; name another folder"
fi
case $mpi in mpich | system) ;; *) fail "MPI=$mpi: must be mpich (the wheel) or system (the machine's own)" ;; esac

# Another core compiles the C kernels while pip downloads; what it has not done, the package's build does.
"$python" - >/dev/null 2>&1 <<'EOF' &
from pathlib import Path

from hpc_lstm.native import builds
from hpc_lstm.native.compiler import find_compiler

builds.write_builds(find_compiler(), Path("kernels"), Path("kernels", builds.FOLDER))
EOF

export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
# Most files of the packages are never imported; Python compiles those that are. PIP_COMPILE=1 compiles all.
export PIP_COMPILE=${PIP_COMPILE:-0}
if ! { in_range "$folder/bin/python" && "$folder/bin/python" -m pip --version >/dev/null 2>&1; }; then
    echo "Making $folder with $("$python" --version)"
    make_environment || fail "$python cannot make a virtual environment; install it with: apt-get install python3-venv"
fi
rm -f "$folder"/installed-* "$folder"/demo-*

case $extras in
    *keras*) echo "Installing into $folder; the first time takes a few minutes and about 3.6 GB of disk" ;;
    *) echo "Installing into $folder; the first time takes a minute and about 0.6 GB of disk" ;;
esac
# The pip that comes with Python 3.11 takes minutes to resolve versions, a newer one half a minute.
"$folder/bin/python" -c 'import pip, sys; sys.exit(int(pip.__version__.split(".")[0]) < 25)' ||
    "$folder/bin/python" -m pip install -qq --upgrade pip >/dev/null 2>&1 || true
if [ "$mpi" = system ]; then
    "$folder/bin/python" -m pip uninstall -qq -y mpich >/dev/null 2>&1 || true
    command -v mpiexec >/dev/null || fail "MPI=system: no mpiexec on PATH; load the MPI module or install an MPI"
fi
wanted=(-e ".[$extras]") kind=$mpi
rm -f "$folder/gpu"
if [[ ,$extras, == *,gpu,* ]]; then
    kind=$mpi-gpu
    [[ ,$extras, != *,keras,* ]] || wanted+=("tensorflow[and-cuda]")
    echo 1 >"$folder/gpu"
fi
if [ "${LOCK:-}" = 1 ]; then
    lock=tests/lock-$("$folder/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
    [ -f "$lock" ] || fail "LOCK=1: there is no $lock; take another PYTHON, or leave LOCK out for the newest versions"
    wanted+=(-c "$lock")
fi
"$folder/bin/python" -m pip install -qq "${wanted[@]}" ||
    fail "pip could not install hpc-lstm[$extras]; see above; run make again to retry"
echo "$mpi" >"$folder/mpi"
touch "$folder/$name-$kind"
echo "Ready: . $folder/bin/activate && hpc-lstm --help"
