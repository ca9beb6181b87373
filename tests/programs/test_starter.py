"""Ranks do not outlive the process that has started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpc_lstm.parallel import starter
from hpc_lstm.parallel.starter import VARIABLE, follow_starter, named_starter

ROOT = Path(__file__).parents[2]
# A process that starts another as ``hl.train`` does the ranks, through one that knows nothing of it, as mpiexec.
STARTER = """
import os, subprocess, sys
from hpc_lstm.parallel.starter import named_starter
follower = [sys.executable, "-c", sys.argv[1]]
launcher = "import subprocess, sys; subprocess.run(sys.argv[1:])"
subprocess.run(
    [sys.executable, "-c", launcher, *follower], env={**os.environ, **named_starter()}, start_new_session=True
)
"""
FOLLOWER = """
import os, signal, time
from hpc_lstm.parallel import starter
starter.LOOK_S = 0.05
signal.signal(signal.SIGTERM, lambda *_: (open("asked", "w").close(), os._exit(0)))
starter.follow_starter()
assert starter.VARIABLE not in os.environ
open("follows", "w").write(str(os.getpid()))
while True:
    time.sleep(0.01)
"""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not come"
        time.sleep(0.02)


@pytest.mark.parametrize("kernel_tells", [True, False])
def test_ranks_are_asked_to_stop_when_their_starter_is_killed(kernel_tells: bool, tmp_path: Path) -> None:
    follower = (
        FOLLOWER if kernel_tells else FOLLOWER.replace("LOOK_S", "_opened = lambda pid: None\nstarter.LOOK_S")
    )
    first = subprocess.Popen(
        [sys.executable, "-c", STARTER, follower],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(tmp_path / "follows")
    started = psutil.Process(first.pid).children(recursive=True)
    time.sleep(0.3)
    assert not (tmp_path / "asked").exists(), "it lives"
    first.send_signal(signal.SIGKILL)
    first.wait()
    wait_for(tmp_path / "asked")
    assert not psutil.wait_procs(started, timeout=30)[1]


def test_a_starter_that_has_died_before_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    here, pid, since = named_starter()[VARIABLE].split()
    monkeypatch.setenv(VARIABLE, f"{here} {pid} 1{since}")  # another process has its number now
    stopped: list[int] = []
    monkeypatch.setattr(starter, "_stop", stopped.append)
    follow_starter()
    assert len(stopped) == 1
    os.close(stopped[0])


@pytest.mark.parametrize("what", ["nobody", "another machine", "nonsense"])
def test_a_starter_that_cannot_be_seen_is_not_missed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, pid, since = named_starter()[VARIABLE].split()
    told = {
        "nobody": "",
        "another machine": f"elsewhere {pid} {since}",
        "nonsense": f"{here} x",
    }
    monkeypatch.setenv(VARIABLE, told[what])
    monkeypatch.setattr(starter.threading, "Thread", None)
    follow_starter()
    assert VARIABLE not in os.environ
