# shellcheck shell=bash disable=SC2154 # whoever reads this sets $stop
#
# What the batch scripts beside this file have in common; they read it with `.`, in bash. docs/slurm.md tells it all.
#
#   run_ranks COMMAND...         run it on every task of the job, and end the script
#   train NAME CONFIG OPTION...  the same for `hpc-lstm train`, with --resume and the run directory NAME
#
# To be set, if you like, before sbatch:
#
#   HPC_LSTM_MODULES="cuda/12.4 openmpi"     modules to load
#   HPC_LSTM_LAUNCHER="srun --mpi=pmix"      what starts the ranks; else what `hpc-lstm launcher` finds
#   HPC_LSTM_SRUN_OPTIONS="--cpu-bind=none"  more options for srun
#   HPC_LSTM_MAX_REQUEUES=100                times that the job may be started again
#   HPC_LSTM_RUNS=runs                       folder of the run directories, on storage that all nodes share
#   HPC_LSTM_STAGE='$TMPDIR'                 folder on each node to read the market store from; copied there once
#
# The script that reads this file has noted in $stop whether SIGUSR1 has come already.

ranks='' ended=''
# Of an array, one task alone: the last one's number is that of the whole array.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-${SLURM_JOB_ID:-}}

say() { echo "$(date '+%F %T') job ${SLURM_JOB_ID:-none}: $*" >&2; }

fail() {
    say "error: $*"
    exit 2
}

# Time is nearly up.
on_warning() {
    if [ -z "$stop" ]; then say "received a signal to stop: the ranks write a checkpoint"; fi
    stop=USR1
    tell_ranks
}

# Slurm ends the job. srun's ranks have had the signal as well, and a while to write a checkpoint. A preempted job is
# queued again by Slurm itself, and a cancelled one must not be.
on_end() {
    tell_ranks
    if [ -n "$ended" ]; then return; fi
    ended=TERM
    if [ "$(squeue -h -j "$job" -o %r)" = TimeLimit ]; then requeue "out of time"; fi
}

tell_ranks() {
    if [ -n "$ranks" ]; then kill -USR1 "$ranks" 2>/dev/null; fi
}

requeue() {
    local times=${SLURM_RESTART_COUNT:-0} limit=${HPC_LSTM_MAX_REQUEUES:-100}
    if [ "$times" -ge "$limit" ]; then
        say "$1; not queued again after $times times (HPC_LSTM_MAX_REQUEUES=$limit): submit it again to continue"
    elif scontrol requeue "$job"; then
        say "$1; queued again"
    else
        say "$1; Slurm does not queue it again: submit it again to continue"
    fi
}

# A node that dies takes its ranks with it before Slurm knows. An srun that refuses to ask the nodes, as it may have
# refused to start the ranks, tells nothing about them.
nodes_answer() {
    local said
    said=$(timeout 60 srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
        --ntasks-per-node=1 --cpus-per-task=1 true </dev/null 2>&1 >/dev/null) && return
    said=${said:-nothing}
    say "asked whether all nodes answer, srun says: ${said//$'\n'/; }"
    grep -qiE 'fatal:|(unrecognized|invalid|ambiguous) option|invalid .*(specification|value|argument|type)' <<<"$said"
}

# Sets $launcher to the words that start the ranks, each with its cores and its GPU.
find_launcher() {
    local words
    if [ -n "${HPC_LSTM_LAUNCHER:-}" ]; then
        read -ra launcher <<<"$HPC_LSTM_LAUNCHER"
    else
        words=$(hpc-lstm launcher) || exit 2
        mapfile -t launcher <<<"$words"
    fi
    case ${launcher[0]##*/} in
    srun)
        # Ranks do not wait for ever for one that died, and one that ends with 75 does not end the others. Those that end
        # well do so together: MPI_Finalize waits for all.
        launcher+=(--wait=60 --kill-on-bad-exit=0)
        if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
            launcher+=("--cpus-per-task=$SLURM_CPUS_PER_TASK" --cpu-bind=cores)
        fi
        if [ -n "${SLURM_GPUS_PER_NODE:-}" ] && [ "${SLURM_GPUS_PER_NODE##*:}" = "${SLURM_NTASKS_PER_NODE:-}" ]; then
            launcher+=(--gpus-per-task=1)
        fi
        read -ra words <<<"${HPC_LSTM_SRUN_OPTIONS:-}"
        launcher+=("${words[@]}")
        ;;
    mpiexec* | mpirun*) launcher+=(-n "$SLURM_NTASKS") ;;
    esac
}

run_ranks() {
    local launcher=() modules=() code module
    trap on_warning USR1 USR2
    trap on_end TERM
    [[ ${HPC_LSTM_MAX_REQUEUES:-100} =~ ^[0-9]{1,18}$ ]] ||
        fail "HPC_LSTM_MAX_REQUEUES=$HPC_LSTM_MAX_REQUEUES: must be a whole number, such as 100; 0: never again"
    read -rd '' -a modules <<<"${HPC_LSTM_MODULES:-}" # as words: a star in a name is no pattern of files
    for module in "${modules[@]}"; do
        module load "$module" || exit 2
    done
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
    find_launcher
    if [ -n "$stop" ]; then
        requeue "a signal told to stop before the ranks were started"
        exit 75
    fi
    say "start ${SLURM_RESTART_COUNT:-0}: ${launcher[*]} $*"
    # SIGUSR1 would kill a rank that still imports its modules. It ignores the signal, which is therefore repeated.
    "${launcher[@]}" sh -c 'trap "" USR1; exec "$@"' rank "$@" </dev/null &
    ranks=$!
    if [ -n "$stop$ended" ]; then tell_ranks; fi
    wait "$ranks" # returns at a signal, too
    while kill -0 "$ranks" 2>/dev/null; do
        tell_ranks
        sleep 3
    done
    wait "$ranks"
    code=$?
    ranks=''
    case $code in
    0 | 2) say "ended with exit code $code" ;;
    *)
        if [ -n "$ended" ]; then
            say "ended by Slurm, with exit code $code"
        elif [ $code = 75 ]; then
            requeue "stopped with a checkpoint"
        elif [ -n "$stop" ] && [ $code != 1 ]; then
            # The signal can reach a node before the shell there that ignores it.
            requeue "told to stop, and ended with exit code $code"
            code=75
        elif ! nodes_answer; then
            requeue "a node does not answer"
            code=75
        else
            say "failed with exit code $code"
        fi
        ;;
    esac
    exit $code
}

# The name of a config: that of its file.
title() { basename "$1" .toml; }

train() {
    local name=$1
    shift
    run_ranks hpc-lstm train "$1" --run-dir "${HPC_LSTM_RUNS:-runs}/$name" --resume "${@:2}"
}
