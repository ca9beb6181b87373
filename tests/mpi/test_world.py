"""The MPI world: its start, failures and signals that end all ranks, life without MPI."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launcher import ROOT, kill, launch, outcome, program, start, wait_until
from small_job import write_config

from hpc_lstm.parallel.stop_signals import FROM_SYSTEM

HERE = Path(__file__).parent
# With one other rank that must end, or with several.
PHASES = {
    "startup": 3,
    "load": 2,
    "preprocess": 2,
    "compute": 3,
    "wait": 2,
    "average": 2,
    "checkpoint": 2,
    "evaluate": 2,
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_exception_on_one_rank_ends_all_at_once(phase: str, tmp_path: Path) -> None:
    # It would train for long: only the failure can end it.
    config = write_config(tmp_path, epochs=100_000 if phase != "evaluate" else 2)
    script = [sys.executable, str(HERE / "fail_in_phase.py"), phase, str(config), str(tmp_path / "run")]
    done = launch(PHASES[phase], script)
    ended = time.time()
    raised = re.findall(r"raised at ([0-9.]+)", done.stdout)
    assert len(raised) == 1, done.stdout + done.stderr
    assert ended - float(raised[0]) < 30
    assert done.returncode not in (0, 75)
    assert done.stderr.count(f"RuntimeError: broken in {phase}") == 1
    assert done.stderr.count("Traceback") == 1
    assert "rank 1 on" in done.stderr


def test_ranks_that_wait_for_one_that_never_comes_end_by_a_signal(tmp_path: Path) -> None:
    command = f"{sys.executable} {HERE / 'wait_for_ranks.py'} {tmp_path}; echo $? > {tmp_path}/code; exit 75"
    process = start(2, ["sh", "-c", command])
    try:
        wait_until(lambda: (tmp_path / "begun").exists(), process)
        time.sleep(1)  # it is in MPI_Init by then
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    finally:
        kill(process)
        process.wait()
    assert (tmp_path / "code").read_text() == "75\n"
    assert err.count("hpc-lstm: stopped by SIGTERM while MPI was starting") == 1


@pytest.mark.parametrize("whom", ["one rank", "the launcher"])
def test_an_interrupt_ends_ranks_that_wait_inside_of_mpi(whom: str, tmp_path: Path) -> None:
    # Rank 1 works, rank 0 waits for it in MPI, where Python's handler of the signal cannot run.
    script = """
import os, sys, time
import numpy
from hpc_lstm.cli.ranks import connected_world
from hpc_lstm.cli.program import cli, main

@cli.command()
def meet():
    with connected_world() as world:
        world.oversubscribed = False
        open(os.path.join(sys.argv[1], f"{world.rank}-{os.getpid()}"), "x")
        if world.rank == 1:
            time.sleep(100)
        world.allreduce_sum(numpy.zeros(1))

main(["meet"])
"""
    process = start(2, [sys.executable, "-c", script, str(tmp_path)])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, process)
    (working,) = tmp_path.glob("1-*")
    os.kill(process.pid if whom == "the launcher" else int(working.name[2:]), signal.SIGINT)
    done = outcome(process, timeout=30)
    assert done.returncode == 130, done
    assert done.stderr.count("hpc-lstm: interrupted") == 1
    assert "Traceback" not in done.stderr


def test_a_rank_takes_as_many_cores_as_slurm_was_asked_for() -> None:
    own = len(os.sched_getaffinity(0))
    asked = {"1": 1, "": own, str(own + 1): own}
    script = """
import os, sys
from hpc_lstm.parallel.launch import connect
for asked in sys.argv[1:]:
    os.environ["SLURM_CPUS_PER_TASK"] = asked
    print(connect().threads)
"""
    done = launch(0, [sys.executable, "-c", script, *asked])
    assert done.stdout.split() == [str(threads) for threads in asked.values()], done.stderr


def test_mpi_is_left_alone_where_nothing_was_launched_and_memory_to_it_where_ranks_may_be_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One write a rank: where Python does not buffer, the parts of a print() of two ranks mix.
    script = """
import os, sys
if "HERE" in os.environ:
    os.environ["MPI_LOCALNRANKS"] = os.environ["HERE"]
names, seen = ("UCX_DEBUG_SIGNO", "UCX_MEM_EVENTS"), []
def note(event, about):
    if event == "import" and about[0] == "mpi4py.MPI":
        seen.extend(os.environ.get(name) for name in names)
sys.addaudithook(note)
from hpc_lstm.parallel.launch import connect, connect_if_launched
size, loaded = connect_if_launched().size, "mpi4py" in sys.modules
connect()
after = [os.environ.get(name) for name in names]
sys.stdout.write(f"{size} {loaded}, {seen[:2]} {after}\\n")
"""
    command = [sys.executable, "-c", script]
    assert launch(0, command).stdout == "1 False, ['0', 'no'] [None, None]\n"
    assert launch(2, command).stdout.splitlines() == ["2 True, ['0', 'no'] [None, None]"] * 2
    monkeypatch.setenv("HERE", "1")  # of two
    assert launch(2, command).stdout.splitlines() == ["2 True, ['0', None] [None, None]"] * 2
    monkeypatch.delenv("HERE")
    monkeypatch.setenv("UCX_TLS", "all")  # MPI may be told to send within the node through a network card
    assert launch(2, command).stdout.splitlines() == ["2 True, ['0', None] [None, None]"] * 2
    monkeypatch.setenv("UCX_DEBUG_SIGNO", "SIGUSR2")
    assert launch(0, command).stdout == "1 False, ['SIGUSR2', 'no'] ['SIGUSR2', None]\n"


@pytest.mark.parametrize("number", FROM_SYSTEM)
def test_mpi_keeps_no_signal_from_a_command_that_listens(number: signal.Signals) -> None:
    script = """
import os, sys
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.stop_signals import remembered_signals
with remembered_signals() as signals:
    world = connect(signals=signals)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("mpi4py.MPI" in sys.modules, world.stop_signal)
"""
    done = launch(0, [sys.executable, "-c", script, str(int(number))])
    assert done.stdout == f"True {number.name}\n", done.stderr


@pytest.mark.parametrize(("before", "code"), [("SIG_DFL", -signal.SIGHUP), ("SIG_IGN", 0)])
def test_a_closed_terminal_ends_what_does_not_listen_unless_it_runs_under_nohup(
    before: str, code: int
) -> None:
    script = """
import os, signal, sys
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
from hpc_lstm.parallel.launch import connect
connect()
os.kill(os.getpid(), signal.SIGHUP)
"""
    done = launch(0, [sys.executable, "-c", script, before])
    assert (done.returncode, done.stderr) == (code, "")


def test_a_signal_that_comes_as_the_program_ends_does_not_change_its_exit_code() -> None:
    """Batch scripts repeat it until the ranks are gone; Python lets go of its handlers before its last objects."""
    script = """
import os, signal, sys
from hpc_lstm.parallel.launch import connect
class Last:
    def __del__(self, kill=os.kill, own=os.getpid(), number=signal.SIGUSR1):
        kill(own, number)
        print("sent", flush=True)
last, world = Last(), connect()
with world.abort_on_error():
    world.handle_signals()
    sys.exit(75)
"""
    done = launch(0, [sys.executable, "-c", script])
    assert (done.returncode, done.stdout) == (75, "sent\n"), done.stderr


def test_a_signal_to_one_rank_during_the_start_ends_all_before_anything_is_written(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from hpc_lstm.parallel import launch
connect = launch.connect
def connect_signalled(**arguments):
    world = connect(**arguments)
    if world.rank == 1:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
    return world
launch.connect = connect_signalled
from hpc_lstm.cli import main
main(sys.argv[1:])
"""
    run = tmp_path / "run"
    command = ["train", str(write_config(tmp_path)), "--run-dir", str(run)]
    done = launch(2, [sys.executable, "-c", script, *command])
    assert done.returncode == 75, done.stdout + done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("hpc-lstm:")]
    assert "stopped by SIGTERM before the run began; nothing was changed" in said
    assert not run.exists()


def test_bad_input_is_said_once_by_all_ranks_together(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    bad = ["--set", "train.epoch=1"]
    done = launch(2, program("train", str(config), "--run-dir", str(tmp_path / "run"), *bad))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert 'did you mean "epochs"' in lines[0]
    assert not (tmp_path / "run").exists()


def test_training_needs_no_mpi_at_all(tmp_path: Path) -> None:
    config = write_config(tmp_path, epochs=1)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "mpi4py.py").write_text("raise ImportError('no MPI on this machine')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hidden'}:{ROOT}"}
    command = program("train", str(config), "--run-dir", str(tmp_path / "run"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "rank 0 of 1" in done.stdout
    assert "; no MPI;" in done.stdout
    launched = {**environment, "PMI_SIZE": "4", "PMI_RANK": "0"}
    done = subprocess.run(command, env=launched, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "one of 4 ranks, but MPI cannot be loaded" in done.stderr


def test_a_launcher_of_another_mpi_is_noticed(tmp_path: Path) -> None:
    config = write_config(tmp_path, epochs=1)
    # Open MPI's launcher says this; the library that Python loads knows nothing of it.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMPI_COMM_WORLD_SIZE": "2"}
    command = program("train", str(config), "--run-dir", str(tmp_path / "run"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "belongs to another MPI" in done.stderr
    assert len(done.stderr.splitlines()) == 1
