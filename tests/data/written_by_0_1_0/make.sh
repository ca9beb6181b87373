#!/usr/bin/env bash
# How the files beside this script were made: make.sh CHECKOUT PYTHON
#
#   CHECKOUT   a checkout of hpc_lstm 0.1.0, the version that all of them are written by
#   PYTHON     the interpreter of an environment with its dependencies; mpiexec is the one beside it, or else
#              the machine's
#
# Run again, it replaces them. It is kept to tell what is in them, and as a pattern for a later version's folder:
# that a version opens the files of an older one is only seen with files that the older one wrote.
#
#   market.h5            3 symbols of 80 days
#   finished/            a run of 2 ranks that ended: SGD, min-max scaling, two columns, a checkpoint each epoch
#   finished_keras/      a run of 1 rank and TensorFlow's engine that ended
#   longer_keras/        the results of the same run with one epoch more
#   forecasts/           what predict said of the two runs that ended
#   stopped/             a run of 2 ranks, Adam, dropout, standard scaling, log returns: stopped by SIGTERM after
#                        its first epoch, resumed, and stopped again in the middle of the second
#   uninterrupted/       the results of the same run without a stop
#   bucket/              an object store where pairs of clusters met; clusters/ has their run directories
#     ended              a and b went to their end together
#     stopped            the same, but both were stopped on their way: b in training, a while it waited for b
#     left               the same, but a was resumed alone and ended without b
#     team               sync.run is not set: the name is that of the run directories, a/team and b/team. DiLoCo's
#                        outer step, changes in bfloat16, signed with the key below; both were stopped
#
# Paths are replaced by /somewhere/else, which a test replaces by its own.
set -euo pipefail

old=$(realpath "$1") python=$(realpath -s "$2")
here=$(dirname "$(realpath "$0")")
mpiexec=$(dirname "$python")/mpiexec
[ -x "$mpiexec" ] || mpiexec=mpiexec
KEY='a-key-that-is-for-these-tests-alone'
work=$(mktemp -d)
data=$work/data
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
mkdir -p "$data/clusters"
cd "$data"
export PYTHONPATH=$old
unset HPC_LSTM_SYNC_KEY

fail() { echo "make.sh: $*" >&2; exit 1; }

[ "$("$python" -c 'import hpc_lstm; print(hpc_lstm.__file__)')" = "$old/hpc_lstm/__init__.py" ] \
    || fail "$python does not take hpc_lstm from $old"
[ "$("$python" -c 'import hpc_lstm; print(hpc_lstm.__version__)')" = 0.1.0 ] \
    || fail "$old is of another version"

hpc_lstm() { "$python" -m hpc_lstm "$@"; }

# A config of what all runs share, of a run's own lines in each section, and of standard input, which goes on with
# [train]: settings NAME DATA MODEL TRAIN
settings() {
    cat > "$work/$1.toml" <<TOML
[data]
store = "data/market.h5"
window = 8
$2
[model]
layers = 1
units = 4
$3
[train]
deterministic = true
threads = 1
seed = 3
$4
$(cat)
TOML
}

# Wait until a file says something: said FILE TEXT
said() {
    for _ in $(seq 12000); do
        if grep -qs "$2" "$1"; then return; fi
        sleep 0.01
    done
    fail "waited too long for \"$2\" in $1"
}

# Wait for a process that was asked to stop: stopped PID
stopped() {
    local code=0
    wait "$1" || code=$?
    [ "$code" = 75 ] || fail "exit code $code where 75 was expected"
}

# Run 2 ranks that are asked to stop before they train, which they do when they first meet:
# stop_at_once CONFIG RUN
stop_at_once() {
    local pid
    rm -rf "$2/log"
    "$mpiexec" -n 2 "$python" -m hpc_lstm train "$1" --run-dir "$2" --resume &
    pid=$!
    # A rank listens for signals before it opens its log, and loads TensorFlow after it.
    until [ -e "$2/log/rank-00000.log" ] && [ -e "$2/log/rank-00001.log" ]; do sleep 0.01; done
    kill -TERM "$pid"
    stopped "$pid"
}

# Train a pair of clusters to the end, or stop both: pair end|stop NAME RUN-A RUN-B
pair() {
    local how=$1 config="$work/$2.toml" a b
    # Not by the function, whose process would be the shell's.
    "$python" -m hpc_lstm train "$config" --run-dir "$3" --set sync.cluster=a --set data.shard=1/2 & a=$!
    "$python" -m hpc_lstm train "$config" --run-dir "$4" --set sync.cluster=b --set data.shard=2/2 & b=$!
    if [ "$how" = stop ]; then
        said "$4/log/rank-00000.log" "round 2 has closed"
        kill -TERM "$b"
        stopped "$b"
        sleep 1  # a goes on to the next round, to which b does not come
        kill -TERM "$a"
        stopped "$a"
    else
        wait "$a"
        wait "$b"
    fi
}

hpc_lstm synth --symbols 3 --days 80 --seed 1 -o market.h5

settings finished 'features = ["close", "volume"]' 'dropout = 0.1' 'engine = "fused"' <<'TOML'
optimizer = "sgd"
learning_rate = 0.05
schedule = "cosine"
clip_norm = 1.0
batch_size = 8
epochs = 3
[checkpoint]
every = "epoch"
keep = 1
TOML
"$mpiexec" -n 2 "$python" -m hpc_lstm train "$work/finished.toml" --run-dir finished

settings keras '' 'dropout = 0.2' 'engine = "keras"' <<'TOML'
learning_rate = 0.005
batch_size = 16
epochs = 2
TOML
hpc_lstm train "$work/keras.toml" --run-dir finished_keras
hpc_lstm train "$work/keras.toml" --run-dir longer_keras --set train.epochs=3

# An epoch has 19 steps: the ranks first meet at step 19, then at 24.
settings stopped 'features = ["close", "log-returns"]
target = "log-returns"
scaling = "standard"' 'dropout = 0.2' 'engine = "fused"' <<'TOML'
optimizer = "adam"
learning_rate = 0.003
batch_size = 4
epochs = 3
[average]
every = 24
[checkpoint]
keep = 1
TOML
"$mpiexec" -n 2 "$python" -m hpc_lstm train "$work/stopped.toml" --run-dir uninterrupted
stop_at_once "$work/stopped.toml" stopped
stop_at_once "$work/stopped.toml" stopped
[ -f stopped/checkpoints/main/000000024/checkpoint.json ] || fail "the run was not stopped at step 24"

clusters() {
    settings "$1" '' 'dropout = 0.2' 'engine = "fused"' <<TOML
learning_rate = 0.003
batch_size = 8
epochs = 4
[average]
every = 4
[checkpoint]
keep = 1
[storage]
url = "file://$data/bucket"
[sync]
expected = 2
every = 2
keep = 2
$2
TOML
}
for name in ended stopped left; do clusters "$name" "run = \"$name\""; done
clusters team 'outer = "nesterov"
payload = "bfloat16"'
pair end ended clusters/ended/a clusters/ended/b
pair stop stopped clusters/stopped/a clusters/stopped/b
pair stop left clusters/left/a clusters/left/b
hpc_lstm train "$work/left.toml" --run-dir clusters/left/a --resume \
    --set sync.cluster=a --set data.shard=1/2 --set sync.quorum=1 --set sync.deadline_s=0.2
HPC_LSTM_SYNC_KEY=$KEY pair stop team clusters/a/team clusters/b/team
hpc_lstm rounds "file://$data/bucket"
hpc_lstm checkpoints "file://$data/bucket"

mkdir forecasts
for run in finished finished_keras; do
    hpc_lstm predict "$run" --symbol SYN00001 --steps 3 > "forecasts/$run.txt"
done

# What is large, and what no test needs. Timing as the ranks wrote it and as it was gathered at the end say the
# same: a run keeps one of them at most.
find . -type d -name tensorboard -prune -exec rm -rf {} +
rm -rf {longer_keras,uninterrupted}/{checkpoints,log,timing,timing.h5,scaler.h5,config.toml}
rm -rf finished_keras/timing {finished,clusters/ended/*}/timing.h5
rm -rf clusters/{left/a,left/b,a/team,b/team}/{timing,timing.h5} bucket/left/checkpoints/a
rm -rf clusters/left/a/{model.keras,scaler.h5,history.jsonl,log} longer_keras/history.jsonl
grep -rlIF "$data" . | xargs sed -i "s|$data|/somewhere/else|g"
if grep -rlF "$work" .; then fail "these files hold a path of this machine"; fi

find "$here" -mindepth 1 -maxdepth 1 ! -name make.sh -exec rm -rf {} +
cp -r . "$here"
find "$here" -type f -printf '%s\n' \
    | awk '{ sum += $1 } END { print sum " bytes in " NR " files" }'
