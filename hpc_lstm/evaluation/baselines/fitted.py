"""All baselines, fitted on the train windows of all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hpc_lstm.evaluation.baselines.baseline import KnownPrices
from hpc_lstm.evaluation.baselines.registry import BASELINES
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.prices import Prices


def longest_lookback(horizon: int) -> int:
    """Rows before a window's last row that the baselines need."""
    return max(baseline.lookback(horizon) for baseline in BASELINES)


@dataclass(frozen=True)
class FittedBaselines:
    """What the baselines have learned.

    Attributes:
        horizon: rows from a window's last row to its target.
        logarithmic: whether changes are of the logarithm of prices.
        parameters: of each baseline by name, float64 [S, P].
    """

    horizon: int
    logarithmic: bool
    parameters: Mapping[str, np.ndarray]

    def forecasts(self, prices: Prices) -> dict[str, np.ndarray]:
        """Prices of the target rows by each baseline, float64 [B]."""
        known = _known(prices, self.horizon, self.logarithmic)
        return {
            baseline.name: baseline.forecast(known, self.parameters[baseline.name][prices.symbol])
            for baseline in BASELINES
        }


def fit_baselines(
    train: Iterable[Prices], symbols: int, horizon: int, logarithmic: bool, world: World
) -> FittedBaselines:
    """Fit all baselines; collective.

    Args:
        train: around this rank's train windows, symbol by symbol.
        symbols: number of symbols, S.
        logarithmic: whether all prices are above 0.
    """
    sums: dict[str, np.ndarray] = {}
    nothing = KnownPrices(
        horizon,
        np.empty((0, longest_lookback(horizon) + 1)),
        np.empty(0),
        np.empty(0, np.int64),
        logarithmic,
    )
    for baseline in BASELINES:
        sums[baseline.name] = np.zeros((symbols, baseline.statistics(nothing, np.empty(0)).shape[1]))
    for prices in train:
        known = _known(prices, horizon, logarithmic)
        starts = np.flatnonzero(np.diff(prices.symbol, prepend=-1))
        for baseline in BASELINES:
            if sums[baseline.name].shape[1] and len(starts):
                statistics = baseline.statistics(known, prices.actual)
                sums[baseline.name][prices.symbol[starts]] += np.add.reduceat(statistics, starts, axis=0)
    parameters = {
        baseline.name: baseline.learn(world.allreduce_sum(sums[baseline.name])) for baseline in BASELINES
    }
    return FittedBaselines(horizon, logarithmic, parameters)


def _known(prices: Prices, horizon: int, logarithmic: bool) -> KnownPrices:
    return KnownPrices(horizon, prices.history, prices.first, prices.age, logarithmic)
