"""Boosted trees on the windows that the network sees: what machine learning without a network makes of the same inputs.

scikit-learn's HistGradientBoostingRegressor (after Ke et al., LightGBM, NeurIPS 2017) on the scaled windows as rows,
stopped, like the network, when validation does not get better. At most ``MOST_VALUES`` numbers are learned from, in
windows spread evenly over all train windows. Every rank fits the same trees on the same windows.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows

# Numbers of train windows and of validation windows: 16 MB of float32, which take seconds to learn from.
MOST_VALUES = 4_000_000
MOST_VALIDATION_VALUES = 1_000_000
# Trees that are grown between looks at validation and at the clock.
TREES_AT_ONCE = 10
MOST_TREES = 500
# Looks without a better validation error after which no more are grown.
PATIENCE = 3
SETTINGS: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "max_bins": 63,
    "early_stopping": False,
    "warm_start": True,
    "random_state": 0,
}


def fit_gradient_boosting(
    prepared: Prepared, world: World, limit_s: float
) -> tuple[Callable[[Any], np.ndarray], str]:
    """Boosted trees, and a sentence on how they were fitted; collective.

    Args:
        limit_s: seconds after which no more trees are grown.

    Returns:
        Scaled inputs [B, window, features] to scaled forecasts float64 [B].

    Raises:
        InputError: scikit-learn is not installed, or there is no train window.
    """
    regressor, limits = world.raise_on_all(_load_scikit_learn)
    begin = time.monotonic()
    inputs, targets = _some_windows(prepared.train, prepared.index.total("train"), MOST_VALUES, world)
    if not len(targets):
        raise world.on_all_ranks(InputError("gradient boosting: there is no train window to learn from"))
    asked, wanted = _some_windows(
        prepared.validation, prepared.index.total("validation"), MOST_VALIDATION_VALUES, world
    )
    model = regressor(max_iter=0, **SETTINGS)
    best, least, waited = model, np.inf, 0
    with limits(world.threads):
        while model.max_iter < MOST_TREES and waited < PATIENCE:
            model.set_params(max_iter=model.max_iter + TREES_AT_ONCE)
            model.fit(inputs, targets)
            error = float(np.square(model.predict(asked) - wanted).mean()) if len(wanted) else -model.max_iter
            # Rank 0 decides, as sums of other processors may end in other bits.
            error = world.bcast(error)
            waited += 1
            if error < least:
                best, least, waited = copy.deepcopy(model), error, 0
            if world.bcast(time.monotonic() - begin > limit_s):
                break

    def forecast(batch: Any) -> np.ndarray:
        with limits(world.threads):
            return np.asarray(best.predict(_flat(batch)))

    windows = f"{len(targets):,} of {prepared.index.total('train'):,} train windows"
    cut = f", stopped after {limit_s:g} s" if waited < PATIENCE and model.max_iter < MOST_TREES else ""
    return forecast, f"gradient-boosting: {best.max_iter} trees on {windows}{cut}."


def _load_scikit_learn() -> tuple[Any, Any]:
    """The regressor, and what limits its threads."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise InputError(
            'gradient boosting needs scikit-learn: pip install "hpc-lstm[boosting]", or leave --gradient-boosting out'
        ) from None
    return HistGradientBoostingRegressor, threadpool_limits


def _some_windows(windows: Windows, total: int, most: int, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Windows spread evenly over those of all ranks, on every rank: inputs float32 [n, values], targets [n]."""
    values = windows.window * windows.features
    count = min(total, max(1, most // values))
    chosen = np.linspace(0, total - 1, count).astype(np.int64) if count else np.empty(0, np.int64)
    mine = chosen[(chosen >= windows.part.start) & (chosen < windows.part.stop)] - windows.part.start
    rows = np.empty((len(mine), values + 1), np.float32)
    if len(mine):
        inputs, targets = windows.batch(mine)
        rows[:, :-1], rows[:, -1] = _flat(inputs), _on_host(targets)[:, windows.output]
    gathered = world.gather_array(rows.ravel()).reshape(-1, values + 1)
    found = gathered if world.rank == 0 else np.empty((count, values + 1), np.float32)
    found = world.bcast_array(np.ascontiguousarray(found))
    return found[:, :-1], found[:, -1]


def _flat(inputs: Any) -> np.ndarray:
    """Windows [B, window, features] as rows on the host, float32 [B, window * features]."""
    return _on_host(inputs).reshape(len(inputs), -1)


def _on_host(array: Any) -> np.ndarray:
    """An array of either backend in host memory."""
    return np.asarray(array.numpy() if hasattr(array, "numpy") else array)
