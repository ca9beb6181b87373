"""Jobs of clusters that share nothing but an object store: their commands, and what they came to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from launcher import InTurn, finish_all, kill, program
from small_job import model_weights, write_config, write_store


def cluster(
    folder: Path,
    name: str,
    storage: str,
    shard: str = "",
    sync: str = "",
    run: str = 'run = "prices"',
    **settings: Any,
) -> list[str]:
    """The command of one cluster, with a run directory of its own."""
    more = f'[storage]\n{storage}\n[sync]\ncluster = "{name}"\n{run}\nexpected = 2\n{sync}'
    store = folder / "market.h5"
    if not store.exists():
        write_store(store, [150, 90, 120, 100])
    config = write_config(folder, name, store=store, more=more, **{"checkpoint_every": 20, **settings})
    extra = ["--set", f"data.shard={shard}"] if shard else []
    return program("train", str(config), *extra, "--run-dir", str(folder / f"run-{name}"))


def words(command: list[str]) -> list[str]:
    """What comes after ``hpc-lstm``, for ``InTurn``."""
    return command[len(program()) :]


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    ended = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            for one in processes:
                kill(one)
            told = [(*one.communicate(), one.returncode) for one in processes[len(ended) :]]
            raise AssertionError(f"hung\n{ended}\n{told}") from None
        ended.append((process.returncode, out, err))
    return ended


def together(folder: Path, ranks: int, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """What clusters that begin at the same time came to, on ranks that may have waited for them."""
    folder.mkdir()
    launches = [
        InTurn(ranks, folder / str(number), [words(command)]) for number, command in enumerate(commands)
    ]
    return [done for (done,) in finish_all(launches)]


def weights(folder: Path, name: str) -> np.ndarray:
    """Of a cluster's model."""
    return model_weights(folder / f"run-{name}")


def metrics(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"run-{name}" / "metrics.json").read_text())


def same_model(folder: Path) -> bool:
    return weights(folder, "alpha").tobytes() == weights(folder, "beta").tobytes()
