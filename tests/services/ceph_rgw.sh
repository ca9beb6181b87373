#!/usr/bin/env bash
# A real S3 server on one Debian machine: the gateway of Ceph (RGW) over a store in memory, for tests alone.
#
#   ceph_rgw.sh install   the packages, by apt-get as root; nothing to do where they are
#   ceph_rgw.sh start     install, start, print the address; where it runs already, print the address
#   ceph_rgw.sh stop      end every daemon and remove what they wrote
#
#   CEPH_ROOT=/tmp/hpc-lstm-ceph   its folder
#   CEPH_PORT=17480                where S3 is spoken
#   CEPH_MON_PORT=16789            where its own parts meet
#   CEPH_BYTES=4294967296          most that it holds, in memory
#   CEPH_ACCESS_KEY CEPH_SECRET_KEY   of the first user, "admin"; TESTADMIN and TESTSECRET
#
# Everything listens on 127.0.0.1 only. `CEPH_CONF=$CEPH_ROOT/ceph.conf radosgw-admin -n client.rgw ...` makes users.
set -euo pipefail

ROOT=${CEPH_ROOT:-/tmp/hpc-lstm-ceph}
PORT=${CEPH_PORT:-17480}
MON_PORT=${CEPH_MON_PORT:-16789}
CONF=$ROOT/ceph.conf
LOG=$ROOT/log/start.log
# A machine that does much else takes minutes; what has ended is not waited for.
START_S=600
SERVICE=Ceph
PACKAGES=(ceph-mon ceph-osd ceph-mgr radosgw ceph-common curl uuid-runtime)
PROGRAMS=(ceph-mon ceph-osd ceph-mgr radosgw ceph radosgw-admin ceph-authtool monmaptool curl uuidgen)

fail() {
    echo "ceph_rgw.sh: $*" >&2
    exit 1
}

# shellcheck source=tests/services/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

# Process ids of the daemons of this root and of no other: each names its configuration on its command line
# (grep, which must not find itself, reads it from a file).
daemons() {
    local file pid
    grep -lzxF -f <(echo "$CONF") /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
        pid=${file#/proc/}
        echo "${pid%/cmdline}"
    done || true
}

answers() {
    curl --noproxy '*' -s -m 2 -o /dev/null "http://127.0.0.1:$PORT"
}

configuration() {
    cat <<X
[global]
fsid = $1
mon_initial_members = a
mon_host = [v2:127.0.0.1:$MON_PORT]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
keyring = $ROOT/keyring
mon_data = $ROOT/mon
osd_data = $ROOT/osd
mgr_data = $ROOT/mgr
rgw_data = $ROOT/rgw
run_dir = $ROOT/run
admin_socket = $ROOT/run/\$name.\$pid.asok
pid_file = $ROOT/run/\$name.pid
log_file = $ROOT/log/\$name.log
crash_dir = $ROOT/crash
osd_objectstore = memstore
memstore_device_bytes = ${CEPH_BYTES:-4294967296}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 5000
mon_data_avail_crit = 1
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:$PORT
X
}

# What is being started: the end of a message if it does not.
starting() {
    echo "$*" >"$ROOT/log/starting"
}

# A daemon that has written its process id and is gone.
has_ended() {
    [ -s "$ROOT/run/$1.pid" ] && ! kill -0 "$(cat "$ROOT/run/$1.pid")" 2>/dev/null
}

bring_up() {
    local fsid deadline=$((SECONDS + START_S))
    fsid=$(uuidgen)
    configuration "$fsid" >"$CONF"
    ceph-authtool --create-keyring "$ROOT/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$ROOT/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    ceph-authtool "$ROOT/keyring" --gen-key -n client.rgw --cap mon 'allow rwx' --cap osd 'allow rwx'
    ceph-authtool "$ROOT/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    ceph-authtool "$ROOT/keyring" --gen-key -n mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *'
    monmaptool --create --addv a "[v2:127.0.0.1:$MON_PORT]" --fsid "$fsid" "$ROOT/monmap"
    starting "the monitor, ceph-mon"
    ceph-mon -c "$CONF" --mkfs -i a --monmap "$ROOT/monmap" --keyring "$ROOT/keyring"
    cp "$ROOT/keyring" "$ROOT/mon/keyring"
    ceph-mon -c "$CONF" -i a
    ceph -c "$CONF" --connect-timeout "$START_S" osd create
    starting "the store, ceph-osd"
    ceph-osd -c "$CONF" -i 0 --mkfs
    ceph -c "$CONF" osd crush add osd.0 1 root=default host=localhost
    ceph-osd -c "$CONF" -i 0
    starting "the manager, ceph-mgr"
    ceph-mgr -c "$CONF" -i x
    starting "the gateway, radosgw, on port $PORT"
    radosgw -c "$CONF" -n client.rgw
    until answers; do
        if has_ended client.rgw; then return 1; fi
        if [ "$SECONDS" -gt "$deadline" ]; then
            echo "no answer in $START_S s"
            return 1
        fi
        sleep 0.5
    done
    starting "the first user"
    radosgw-admin -c "$CONF" -n client.rgw user create --uid=admin --display-name=admin \
        --access-key="${CEPH_ACCESS_KEY:-TESTADMIN}" --secret-key="${CEPH_SECRET_KEY:-TESTSECRET}" \
        --caps='user-policy=*'
}

start() {
    install
    if [ -e "$ROOT/started" ] && [ -n "$(daemons)" ] && answers; then
        echo "http://127.0.0.1:$PORT"
        return
    fi
    if answers; then fail "port $PORT is taken; choose another by CEPH_PORT"; fi
    stop
    mkdir -p "$ROOT"/{mon,osd,mgr,rgw,run,log,crash}
    chmod 700 "$ROOT"
    # In a shell of its own: `set -e` would not hold in a function that is asked whether it succeeds.
    if ! "$BASH" "$0" bring-up </dev/null >"$LOG" 2>&1; then
        tail -n 3 "$LOG" >&2
        end_daemons
        fail "did not start: $(cat "$ROOT/log/starting" 2>/dev/null || echo "its keys"); see $ROOT/log"
    fi
    touch "$ROOT/started"
    echo "http://127.0.0.1:$PORT"
}

end_daemons() {
    local signal pids
    for signal in TERM KILL; do
        for _ in $(seq 150); do
            mapfile -t pids < <(daemons)
            if [ ${#pids[@]} = 0 ]; then return; fi
            kill "-$signal" "${pids[@]}" 2>/dev/null || true
            sleep 0.2
        done
    done
    fail "still running: ${pids[*]}"
}

stop() {
    if [ ! -e "$ROOT" ]; then return; fi
    end_daemons
    [ -e "$CONF" ] || rmdir "$ROOT" 2>/dev/null || fail "$ROOT: is none of this script's folders; choose another by CEPH_ROOT"
    rm -rf "$ROOT"
}

case ${1:-} in
install | start | stop) "$1" ;;
bring-up) bring_up ;;
*) fail "say install, start or stop" ;;
esac
