"""A small network's settings, batches to train it on, and what its training has come to, for the tests of engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.model.engine import Engine

WINDOW, BATCH, UNITS = 6, 19, 4
_rng = np.random.default_rng(0)
INPUTS = _rng.normal(size=(6, BATCH, WINDOW, 2)).astype("f")
TARGETS = _rng.normal(size=(6, BATCH, 1)).astype("f")


def settings(dropout: float = 0.0, **train: Any) -> RunConfig:
    """Two layers on two features; ``train`` goes into that section."""
    tables = {
        "data": {"store": "market.h5", "features": ["close", "volume"], "window": WINDOW},
        "model": {"layers": 2, "units": UNITS, "dropout": dropout},
        "train": {"batch_size": BATCH, "deterministic": True, **train},
    }
    return configuration.parse(tables, "test")


@dataclass(frozen=True)
class Checkpoint:
    """All that an engine goes on from."""

    parameters: np.ndarray
    moments: np.ndarray
    state: dict[str, np.ndarray]


def checkpoint_of(engine: Engine) -> Checkpoint:
    return Checkpoint(engine.parameters(), engine.moments(), engine.state())


def restore(engine: Engine, checkpoint: Checkpoint) -> None:
    engine.set_parameters(checkpoint.parameters)
    engine.set_moments(checkpoint.moments)
    engine.set_state(checkpoint.state)
