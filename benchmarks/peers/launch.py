"""Environments of the peers, and their processes: started once, told what to do by files, ended together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hpc_lstm.files import write_text

HERE = Path(__file__).parent
# What pip installs for a peer; peers that are not here run where hpc_lstm does.
TORCH = "torch==2.13.0"
REQUIREMENTS = {"torch_ddp": [TORCH, "numpy"], "multi_worker": ["tensorflow", "tf_keras"]}
HOROVOD_NEEDS = [
    TORCH,
    "numpy",
    "setuptools<80",
    "wheel",
    "packaging",
    "cffi",
    "cloudpickle",
    "psutil",
    "pyyaml",
]
HOROVOD_BUILD = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
}
SCRIPTS = {
    "hpc_lstm": "hpc_lstm_ranks.py",
    "keras_fit": "keras_fit.py",
    "multi_worker": "multi_worker.py",
    "torch_ddp": "torch_ddp.py",
    "horovod": "torch_ddp.py",
}


class Unavailable(Exception):
    """A peer cannot run here; the text says why."""


def given(interpreters: str, peer: str) -> str | None:
    """The interpreter that "PATH,PEER=PATH" has for a peer, in full (launchers may look elsewhere); None without."""
    chosen: dict[str, str] = {}
    for part in filter(None, interpreters.split(",")):
        name, _, path = part.rpartition("=")
        chosen[name] = path
    path = chosen.get(peer, chosen.get(""))
    return path and (shutil.which(path) or path)


def environment(peer: str, cache: Path) -> str:
    """The interpreter of a peer's own environment below ``cache``, made if it is not there.

    Raises:
        Unavailable: something cannot be installed. A failure is remembered; delete its folder to try again.
    """
    if peer not in REQUIREMENTS and peer != "horovod":
        return sys.executable
    folder = cache / peer
    python, done, failed = folder / "bin" / "python", folder / "installed", folder / "failed"
    if failed.exists():
        raise Unavailable(failed.read_text())
    if not done.exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        try:
            _pip(python, REQUIREMENTS.get(peer, HOROVOD_NEEDS))
            if peer == "horovod":
                _pip(
                    python,
                    ["--no-build-isolation", "--no-binary", "horovod", "horovod==0.28.1"],
                    HOROVOD_BUILD,
                )
        except Unavailable as error:
            failed.write_text(str(error))
            raise
        done.touch()
    return str(python)


def _pip(python: Path, arguments: list[str], variables: dict[str, str] | None = None) -> None:
    command = [str(python), "-m", "pip", "install", "-q", *arguments]
    ran = subprocess.run(command, env=os.environ | (variables or {}), capture_output=True, text=True)
    if ran.returncode:
        raise Unavailable(f"pip install {arguments[-1]}: {cause(ran.stdout + ran.stderr, python.parents[1])}")


def cause(said: str, folder: Path) -> str:
    """What went wrong first by what pip and the compiler said: a build says thousands of lines."""
    lines = [line.strip() for line in said.replace(str(folder), "").splitlines()]
    first = next((line for line in lines if ": error: " in line), None)  # the compiler's form
    return first or next(
        (line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "no output"
    )


class Group:
    """The ranks of one peer, alive until ``end``.

    Args:
        peer: key of ``SCRIPTS``.
        mpiexec: the command that starts ranks, without ``-n``.
        launch: what cannot be changed once a process runs, such as threads; the peer's script knows it.
        name: of the entry that it serves.
        folder: the job's; the group gets a folder of its own in it.
    """

    def __init__(
        self,
        peer: str,
        launch: str,
        name: str,
        python: str,
        folder: Path,
        ranks: int,
        mpiexec: list[str],
        gpu: bool,
    ) -> None:
        self.ranks = 1 if peer == "keras_fit" else ranks
        self.name = "".join(c if c.isalnum() else "_" for c in f"{name}-{launch}-{ranks}")
        self.folder = folder / self.name
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("commands", "answers"):
            (self.folder / part).mkdir(parents=True)
        self._number, self._log = 0, (self.folder / "log").open("wb")
        self._processes: list[subprocess.Popen[bytes]] = []
        command = [python, str(HERE / SCRIPTS[peer]), str(self.folder), str(ranks), launch]
        self.begun = time.perf_counter()
        if peer == "hpc_lstm":
            self._start([*mpiexec, "-n", str(ranks), *command], {})
        else:
            port = free_port(self.ranks)
            for rank in range(self.ranks):
                variables = _variables(peer, rank, self.ranks, port)
                if gpu and peer == "multi_worker":
                    variables["CUDA_VISIBLE_DEVICES"] = str(rank)
                if gpu and peer == "keras_fit":
                    variables["CUDA_VISIBLE_DEVICES"] = "0"
                self._start(command, variables)

    def _start(self, command: list[str], variables: dict[str, str]) -> None:
        self._processes.append(
            subprocess.Popen(
                command,
                env=os.environ | variables | {"PEERS_DRIVER": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        )

    def ready(self, timeout: float) -> dict[str, Any]:
        """Wait until all ranks are up; what rank 0 says of itself, and how long it took."""
        found = self._collect(timeout)[0]["described"]
        return found | {"startup_s": round(time.perf_counter() - self.begun, 1)}

    def ask(self, command: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
        """Every rank's answer.

        Raises:
            Unavailable: a rank failed or took longer than ``timeout`` seconds; all are ended.
        """
        self._number += 1
        path = self.folder / "commands" / f"{self._number:04d}.json"
        write_text(path, json.dumps(command))
        return self._collect(timeout)

    def _collect(self, timeout: float) -> list[dict[str, Any]]:
        paths = [self.folder / "answers" / f"{self._number:04d}-{rank}.json" for rank in range(self.ranks)]
        until = time.monotonic() + timeout
        while not all(path.exists() for path in paths):
            failed = [json.loads(path.read_text()) for path in paths if path.exists()]
            error = next((answer["error"] for answer in failed if "error" in answer), None)
            if error is None and any(process.poll() is not None for process in self._processes):
                error = f"ended early:\n{self._tail()}"
            if error is None and time.monotonic() > until:
                error = f"no answer in {timeout:.0f} s:\n{self._tail()}"
            if error is not None:
                self.end(at_once=True)
                raise Unavailable(error)
            time.sleep(0.01)
        answers = [json.loads(path.read_text()) for path in paths]
        for answer in answers:
            if "error" in answer:
                self.end(at_once=True)
                raise Unavailable(answer["error"])
        return answers

    def _tail(self) -> str:
        self._log.flush()
        return (self.folder / "log").read_text(errors="replace")[-1500:]

    def tell_end(self) -> None:
        """Ask the processes to end, without waiting."""
        with contextlib.suppress(OSError):
            (self.folder / "commands" / f"{self._number + 1:04d}.json").write_text('{"do": "end"}')

    def end(self, at_once: bool = False) -> None:
        """End the processes: by asking, then by force; idempotent."""
        if not at_once:
            self.tell_end()
        for process in self._processes:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    process.wait(0 if at_once else 15)
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5)
        if not self._log.closed:
            self._log.close()


def end_all(groups: dict[Any, Group]) -> None:
    """End the processes of all groups, side by side, and forget the groups."""
    for group in groups.values():
        group.tell_end()
    for group in groups.values():
        group.end()
    groups.clear()


def free_port(count: int) -> int:
    """The first of ``count`` ports in a row that are free now."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for offset in range(1, count):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port


def _variables(peer: str, rank: int, ranks: int, port: int) -> dict[str, str]:
    """Where the ranks of torch, Horovod (gloo) and TensorFlow find each other."""
    found = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if peer == "torch_ddp":
        found["GLOO_SOCKET_IFNAME"] = "lo"
    return found
