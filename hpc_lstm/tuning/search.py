"""The settings of each trial, before any is tried: every combination, or draws."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from hpc_lstm.tuning.settings import TuneConfig


def candidates(tune: TuneConfig) -> list[dict[str, Any]]:
    """Values by ``section.key`` for each trial, in order; the same for the same file. None comes twice."""
    if tune.tune.search == "grid":
        return [
            dict(zip(tune.space, values, strict=True)) for values in itertools.product(*tune.space.values())
        ]
    found: list[dict[str, Any]] = []
    for trial in range(tune.tune.trials):
        # A generator for each trial: more trials add some, and change none.
        generator = np.random.default_rng([tune.tune.seed, trial])
        drawn = {key: _draw(values, generator) for key, values in tune.space.items()}
        if drawn not in found:
            found.append(drawn)
    return found


def _draw(values: Any, generator: np.random.Generator) -> Any:
    """One of a list, or a number of a range."""
    if isinstance(values, list):
        return values[int(generator.integers(len(values)))]
    low, high = values["low"], values["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    if values.get("log", False):
        number = math.exp(generator.uniform(math.log(low), math.log(high + whole)))
    else:
        number = generator.uniform(low, high + whole)
    return min(math.floor(number), high) if whole else float(f"{number:.6g}")
