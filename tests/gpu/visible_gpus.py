"""Which GPUs a test's own process sees, which is one, and which the programs that it starts see, which is all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hpc_lstm.parallel.gpu import assign_gpu, visible_entries
from hpc_lstm.parallel.gpu_discovery import ORDER, VISIBLE, installed_gpus
from hpc_lstm.parallel.world import World

ROOT = Path(__file__).resolve().parents[2]
GIVEN = "GPU_TESTS_WERE_GIVEN"  # in the environment, because pytest's workers inherit it


def keep_one_gpu() -> None:
    """Leave this process one GPU, as a rank has, before anything starts CUDA in it."""
    os.environ.setdefault(GIVEN, json.dumps({name: os.environ.get(name) for name in (VISIBLE, ORDER)}))
    assign_gpu(World())


def given_gpus() -> int:
    """How many GPUs the tests were given, and thus the ranks that they start."""
    return len(visible_entries(_given()[VISIBLE], installed_gpus()))


def child_environment(**variables: str) -> dict[str, str]:
    """The environment of a program that a test starts: every GPU that the tests were given, and this package.

    Args:
        variables: set there as well.
    """
    given = {**os.environ, **_given()}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {
        **{name: value for name, value in given.items() if value is not None},
        "PYTHONPATH": path,
        **variables,
    }


def _given() -> dict[str, str | None]:
    given: dict[str, str | None] = json.loads(os.environ[GIVEN])
    return given
