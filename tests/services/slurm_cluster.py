"""A Slurm cluster of the tests' own, and what they ask of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from free_ports import free_ports

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1] / "slurm"
# Machines of two cores import TensorFlow on many ranks at once here.
LIMIT_S = 300
# States of a job that is done.
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


@dataclass(frozen=True, eq=False)
class Slurm:
    """A running cluster: a controller and the nodes NAME-n1, NAME-n2 and NAME-n3.

    Attributes:
        environment: of whoever speaks to it: its slurm.conf, and this environment's programs first.
    """

    name: str
    environment: dict[str, str]

    @classmethod
    @contextlib.contextmanager
    def running(cls, name: str, root: Path) -> Iterator[Slurm]:
        """Start it, and stop it with all that runs there."""
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {
            "SLURM_NAME": name,
            "SLURM_PORT": str(free_ports(4)),
            "SLURM_ROOT": str(root),
            "PATH": programs,
        }
        cluster = cls(name, {**environment, "SLURM_CONF": str(root / "slurm.conf")})
        try:
            started = cluster.run(str(HERE / "slurm.sh"), "start", timeout=900)
            assert started.returncode == 0, started.stderr
            yield cluster
        finally:
            cluster.run(str(HERE / "slurm.sh"), "stop")

    def run(
        self, *command: str, folder: Path | None = None, timeout: float = 120, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that speaks to this cluster."""
        # Launchers that started these tests have left their marks.
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PMI_", "OMPI_", "HPC_LSTM_"))
        }
        return subprocess.run(
            command,
            cwd=folder,
            env={**clean, **self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def sbatch(self, folder: Path, *arguments: str, **variables: str) -> str:
        """Submit from ``folder``; the job writes ``folder/job.log``. Returns the job's number."""
        done = self.run("sbatch", "--parsable", "--output=job.log", *arguments, folder=folder, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """The job's state, as its scheduler says it."""
        done = self.run("squeue", "-h", "--states=all", f"--jobs={job}", "--format=%T")
        return done.stdout.split()[0] if done.stdout.split() else ""

    def field(self, job: str, name: str) -> str:
        """A field of ``scontrol show job``."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).stdout.split()
        return next((w.partition("=")[2] for w in words if w.startswith(f"{name}=")), "")

    def warn(self, job: str) -> None:
        """What Slurm sends to the batch script some time before the time limit."""
        done = self.run("scancel", "--signal=USR1", "--batch", job)
        assert done.returncode == 0, done.stderr

    def ended(self, job: str, timeout: float = LIMIT_S) -> str:
        """Wait for the end of a job; returns its state."""
        self.wait(lambda: self.state(job) in ENDED, job, timeout)
        return self.state(job)

    def restarted(self, job: str, times: int, timeout: float = LIMIT_S) -> None:
        """Wait until a job runs that has been started again ``times`` times."""
        self.wait(
            lambda: self.state(job) == "RUNNING" and self.field(job, "Restarts") == str(times), job, timeout
        )

    def wait(self, condition: Callable[[], bool], job: str, timeout: float = LIMIT_S) -> None:
        """Wait for a condition; what the job said is shown if it does not come true, or cannot any more."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited too long\n{self.account(job)}"
            ended = self.state(job) in ENDED
            assert not ended or condition(), f"ended early\n{self.account(job)}"
            time.sleep(0.2)

    def account(self, job: str) -> str:
        """All that is known of a job."""
        shown = self.run("scontrol", "show", "job", job).stdout
        path = self.field(job, "StdOut")
        said = Path(path).read_text() if path and Path(path).exists() else ""
        return f"{shown}\n{said}"

    def node_fails(self, number: int) -> None:
        """A node loses power: all that runs on it is gone."""
        done = self.run(str(HERE / "slurm.sh"), "node-fails", str(number))
        assert done.returncode == 0, done.stderr

    def daemon_fails(self, number: int) -> None:
        """A node's daemon ends, and what it has started goes on."""
        file = Path(self.environment["SLURM_ROOT"]) / f"slurmd-{self.name}-n{number}.pid"
        os.kill(int(file.read_text()), signal.SIGKILL)

    def node_returns(self, number: int) -> None:
        """The node is started again."""
        done = self.run(str(HERE / "slurm.sh"), "node-returns", str(number))
        assert done.returncode == 0, done.stderr
