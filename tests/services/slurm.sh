#!/usr/bin/env bash
# A real Slurm on one Debian machine, without systemd: a cluster of three nodes with four GPUs each, for tests alone.
#
#   slurm.sh install      the packages, by apt-get as root; nothing to do where they are
#   slurm.sh start        install, start, wait until all nodes are idle, print the path of slurm.conf
#   slurm.sh node-fails N     kill all that runs on node N (1 to 3), at once, as a loss of power would
#   slurm.sh node-returns N   start it again
#   slurm.sh stop         end every daemon and job, and remove what they wrote
#
#   SLURM_NAME=alpha      the cluster; clusters of different names and ports know nothing of one another
#   SLURM_PORT=16800      of its controller; its nodes take the next three
#   SLURM_ROOT=/tmp/hpc-lstm-slurm-alpha   its folder
#
# All listens to this machine's own names. The GPUs are device nodes without a driver behind them: Slurm counts and
# binds them. Partition "gpu" is everyone's; jobs in "urgent" take the nodes of those in "gpu", which are queued again;
# "closed" takes the account "staff" alone. No daemon keeps accounts.
set -euo pipefail

NAME=${SLURM_NAME:-alpha}
PORT=${SLURM_PORT:-16800}
ROOT=${SLURM_ROOT:-/tmp/hpc-lstm-slurm-$NAME}
export SLURM_CONF=$ROOT/slurm.conf
# A machine that does much else takes minutes; what has ended is not waited for.
START_S=600
SERVICE=Slurm
PACKAGES=(slurm-wlm munge procps)
PROGRAMS=(slurmctld slurmd sbatch srun scontrol munged ps)

fail() {
    echo "slurm.sh: $*" >&2
    exit 1
}

# shellcheck source=tests/services/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

configuration() {
    local gpus=$ROOT/gpu
    cat <<X
ClusterName=$NAME
SlurmctldHost=localhost
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket,cred_expire=6
CredType=cred/munge
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/slurmctld.pid
SlurmdPidFile=$ROOT/slurmd-%n.pid
SlurmctldLogFile=$ROOT/slurmctld.log
SlurmdLogFile=$ROOT/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=20
SlurmdTimeout=20
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/none
GresTypes=gpu
$(for n in 1 2 3; do
        echo "NodeName=$NAME-n$n NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((PORT + n)) CPUs=8 RealMemory=8000 Gres=gpu:4"
    done)
PartitionName=gpu Nodes=ALL Default=YES MaxTime=1-0 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=1-0 State=UP
PartitionName=closed Nodes=ALL AllowAccounts=staff MaxTime=1-0 State=UP
X
    echo "NodeName=${NAME}-n[1-3] Name=gpu File=${gpus}[0-3]" >"$ROOT/gres.conf"
}

# Process ids of this cluster's daemons.
daemons() {
    local file
    for file in "$ROOT"/slurmctld.pid "$ROOT"/slurmd-*.pid "$ROOT"/munge/munged.pid; do
        if [ -s "$file" ]; then cat "$file"; fi
    done
}

# Process ids of what manages the job steps of a node (of all, without its name) and of all that it started. A
# manager is known by the socket that it listens to.
of_steps() {
    local inode pid
    awk -v folder="$ROOT/spool/${1:-}" 'index($8, folder) == 1 { print "socket:[" $7 "]" }' /proc/net/unix |
        while read -r inode; do
            for pid in $(pidof slurmstepd-wlm slurmstepd || true); do
                if find "/proc/$pid/fd" -lname "${inode//[/\\[}" 2>/dev/null | grep -q .; then with_descendants "$pid"; fi
            done
        done
}

with_descendants() {
    local child
    echo "$1"
    for child in $(ps -o pid= --ppid "$1"); do with_descendants "$child"; done
}

idle_nodes() {
    sinfo -h -t idle -o %N -N | sort -u | wc -l
}

# The first of the daemons that has written its process id and is gone.
ended_daemon() {
    local file
    for file in "$ROOT"/slurmctld.pid "$ROOT"/slurmd-*.pid; do
        if [ -s "$file" ] && ! kill -0 "$(cat "$file")" 2>/dev/null; then
            basename "$file" .pid
            return
        fi
    done
}

bring_up() {
    local number ended deadline=$((SECONDS + START_S))
    mkdir -p "$ROOT/state" "$ROOT/spool" "$ROOT/munge"
    chmod 700 "$ROOT/munge"
    dd if=/dev/urandom of="$ROOT/munge/key" bs=128 count=1 status=none
    chmod 600 "$ROOT/munge/key"
    # Paths of its own and no security of folders: this machine's own munge stays as it is.
    munged --force --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" --pid-file="$ROOT/munge/munged.pid" \
        --log-file="$ROOT/munge/log" --seed-file="$ROOT/munge/seed"
    for number in 0 1 2 3; do mknod "$ROOT/gpu$number" c 1 3; done
    configuration >"$SLURM_CONF"
    slurmctld
    for number in 1 2 3; do slurmd -N "$NAME-n$number"; done
    until [ "$(idle_nodes)" = 3 ]; do
        ended=$(ended_daemon)
        if [ -n "$ended" ]; then fail "$ended did not start: $(tail -n 1 "$ROOT/$ended.log")"; fi
        if [ "$SECONDS" -gt "$deadline" ]; then
            fail "no three idle nodes in $START_S s: $(sinfo -h -N -o '%N %T %E' | sort -u | tr '\n' ';')"
        fi
        sleep 0.5
    done
}

start() {
    local port
    install
    [ "$(id -u)" = 0 ] || fail "starts daemons that only root may run"
    stop
    for port in "$PORT" $((PORT + 1)) $((PORT + 2)) $((PORT + 3)); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "port $port is taken; choose others by SLURM_PORT"; fi
    done
    mkdir -p "$ROOT"
    # In a shell of its own: `set -e` would not hold in a function that is asked whether it succeeds.
    if ! "$BASH" "$0" bring-up </dev/null >"$ROOT/start.log" 2>&1; then
        tail -n 3 "$ROOT/start.log" >&2
        fail "did not start; see $ROOT"
    fi
    echo "$SLURM_CONF"
}

node-fails() {
    local pids
    mapfile -t pids < <(cat "$ROOT/slurmd-$NAME-n$1.pid"; of_steps "$NAME-n$1")
    kill -KILL "${pids[@]}"
}

node-returns() {
    slurmd -N "$NAME-n$1"
}

stop() {
    local pids signal
    if [ ! -e "$ROOT" ]; then return; fi
    [ -e "$ROOT/munge" ] || rmdir "$ROOT" 2>/dev/null || fail "$ROOT: is none of this script's folders; choose another by SLURM_ROOT"
    mapfile -t pids < <(of_steps)
    kill -KILL "${pids[@]}" 2>/dev/null || true
    for signal in TERM KILL; do
        for _ in $(seq 50); do
            mapfile -t pids < <(daemons)
            if ! kill -"$signal" "${pids[@]}" 2>/dev/null; then break 2; fi
            sleep 0.2
        done
    done
    rm -rf "$ROOT"
}

case ${1:-} in
install | start | stop | node-fails | node-returns) "$@" ;;
bring-up) bring_up ;;
*) fail "say install, start, node-fails, node-returns or stop" ;;
esac
