"""One rank of a peer: does what the driver asks of it, and says how long it took.

The driver writes ``commands/0001.json``, ``0002.json``, ... into a folder; every rank answers each with a file
``answers/0001-<rank>.json``. A rank that waits sleeps, so that it takes nothing from the peer whose turn it is. Only
NumPy is needed here: each peer runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Protocol

import numpy as np

POLL_S = 0.01


class Runner(Protocol):
    """What each peer's script gives to ``serve``.

    A peer may have ``measured() -> dict[str, Any]`` as well: what else it knows of its last ``train``.
    """

    rank: int

    def describe(self) -> dict[str, Any]:
        """Versions, and what else a reader must know."""

    def prepare(self, batch: int, options: dict[str, Any]) -> None:
        """Build and compile for ``batch`` windows a rank."""

    def reset(self) -> None:
        """Back to the initial weights and an optimizer that has seen nothing."""

    def barrier(self) -> None:
        """Return when every rank is here."""

    def train(self, steps: int) -> None:
        """Take steps, from the first window on; return when they are computed."""

    def validation_loss(self) -> float:
        """Mean squared error on all validation windows, without dropout; the same on every rank."""


class Job:
    """What there is to train, as the driver wrote it.

    Attributes:
        ranks: processes of this peer.
        threads: CPU threads of each.
        config: the sections [data] and [model] of hpc_lstm's settings.
        gpu: train on GPUs, one a rank.
    """

    def __init__(self, folder: Path, ranks: int) -> None:
        job = json.loads((folder / "job.json").read_text())
        self.folder, self.ranks, self.gpu = folder, ranks, bool(job["gpu"])
        self.units, self.dropout, self.rate = job["units"], job["dropout"], job["learning_rate"]
        self.config: dict[str, Any] = job["config"]
        self.threads = max(1, job["cores"] // ranks)

    def array(self, name: str) -> np.ndarray:
        """Of "train_x" [N, T, F], "train_y" [N, 1], "validation_x", "validation_y"; float32."""
        return np.load(self.folder / f"{name}.npy")

    def weights(self, units: int = 0) -> list[np.ndarray]:
        """Initial weights in Keras's order: kernel, recurrent kernel and bias of both LSTMs and of the output.

        Args:
            units: of each layer, where the job has several sizes; 0: its first.
        """
        with np.load(self.folder / f"weights-{units or self.units}.npz") as stored:
            return [stored[f"w{number}"] for number in range(8)]

    def share(self, name: str, rank: int, batch: int) -> np.ndarray:
        """Batches of one rank [steps, batch, ...]: step s of all ranks together takes the windows in their order."""
        whole = self.array(name)
        steps = len(whole) // (batch * self.ranks)
        shape = (steps, self.ranks, batch, *whole.shape[1:])
        return np.ascontiguousarray(whole[: steps * self.ranks * batch].reshape(shape)[:, rank])


def serve(runner: Runner, folder: Path) -> None:
    """Answer commands until told to end."""
    number = 0
    _answer(folder, number, runner.rank, {"described": runner.describe()})
    while True:
        number += 1
        command = _next_command(folder, number)
        if command["do"] == "end":
            return
        try:
            answer = _obey(runner, command)
        except Exception:  # of any kind: whatever ends a peer belongs in the benchmark's own message
            _answer(folder, number, runner.rank, {"error": traceback.format_exc()[-2000:]})
            # The other ranks may wait for this one in a collective: the driver ends them all.
            sys.exit(1)
        _answer(folder, number, runner.rank, answer)


def _obey(runner: Runner, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "prepare":
        begin = time.perf_counter()
        runner.prepare(command["batch"], command["options"])
        runner.reset()
        runner.train(command["steps"])
        return {"prepare_s": time.perf_counter() - begin}
    if command["do"] != "train":
        raise ValueError(f"no such command: {command}")
    runner.reset()
    before = runner.validation_loss() if command["validate"] else None
    if command.get("warmup"):  # so that a GPU that has waited for its turn is back at its clock
        runner.train(command["warmup"])
    runner.barrier()
    begin, cpu = time.perf_counter(), time.process_time()
    runner.train(command["steps"])
    runner.barrier()
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    after = runner.validation_loss() if command["validate"] else None
    more = getattr(runner, "measured", dict)()
    return {"wall_s": wall, "cpu_s": cpu, "loss_before": before, "loss_after": after, **more}


def _next_command(folder: Path, number: int) -> dict[str, Any]:
    path = folder / "commands" / f"{number:04d}.json"
    driver = Path("/proc") / os.environ["PEERS_DRIVER"]
    while not path.exists():
        if not driver.exists():
            sys.exit("the driver is gone")
        time.sleep(POLL_S)
    return json.loads(path.read_text())


def _answer(folder: Path, number: int, rank: int, answer: dict[str, Any]) -> None:
    path = folder / "answers" / f"{number:04d}-{rank}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(answer))
    temporary.rename(path)
