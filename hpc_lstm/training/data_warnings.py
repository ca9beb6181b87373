"""What about a run's settings and prices makes a poor forecast likely: said before it trains."""

from __future__ import annotations

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.features.store_column import StoreColumn
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.prepare import Prepared
from hpc_lstm.preprocess.reading import read_values

# How far beyond the extremes of the train rows an input may lie, as a share of their range.
BEYOND = 0.1
# The same for inputs that are scaled by mean and variance, in standard deviations from the mean.
DEVIATIONS = 6.0
# Share of validation rows that may lie outside before it is said.
TOLERATED = 0.01


def data_warnings(store: MarketStore, data: DataConfig, prepared: Prepared, world: World) -> list[str]:
    """Sentences on the target, the split and the inputs; collective, the same on every rank.

    Raises:
        InputError: a value of a validation row that cannot be used, on any rank.
    """
    found = []
    prices = [target.name for target in prepared.columns.targets if isinstance(target.transform, StoreColumn)]
    for name in dict.fromkeys(prices):
        found.append(
            f'data.target = "{name}" is a raw price, which in later years leaves the range that the '
            f'scaling was fitted on; take "log-returns({name})", whose forecast becomes a price again.'
        )
    if data.split_by == "symbol":
        from hpc_lstm.evaluation.overlap import overlap_in_time

        if overlap := overlap_in_time(store, prepared.index, world):
            found.append(overlap)
    return found + _inputs_out_of_range(store, prepared, world)


def _inputs_out_of_range(store: MarketStore, prepared: Prepared, world: World) -> list[str]:
    """A sentence that names the features that validation rows have far outside of what the scaling was fitted on."""
    counts = world.raise_on_all(lambda: _count_outside(store, prepared, world))
    counts = world.allreduce_sum(counts)
    rows = counts[-1]
    names = [
        f"{column.name} ({count / rows:.0%})"
        for column, count in zip(prepared.columns.features, counts[:-1], strict=True)
        if count > TOLERATED * rows
    ]
    if not names:
        return []
    return [
        "On validation these inputs lie outside of the range that the scaling was fitted on, where the network has "
        f"learned nothing (share of rows): {', '.join(names)}. Take returns instead, such as log-returns(NAME)."
    ]


def _count_outside(store: MarketStore, prepared: Prepared, world: World) -> np.ndarray:
    """Validation rows of this rank on which each feature lies outside, then all of them; float64 [F + 1]."""
    scaler, index = prepared.scaler, prepared.index
    part = index.slice("validation", world.rank, world.size)
    symbols = scaler.select([store.symbols[symbol] for symbol in index.symbols])
    features = len(prepared.columns.features)
    first, second = scaler.first[symbols, :features], scaler.second[symbols, :features]
    if scaler.kind == "minmax":
        margin = BEYOND * (second - first)
        low, high = first - margin, second + margin
    else:
        margin = DEVIATIONS * np.sqrt(second)
        low, high = first - margin, first + margin
    counts = np.zeros(first.shape[1] + 1)
    for pieces, offsets, values in read_values(store, part, prepared.columns):
        of = np.repeat(part.symbol[[piece.segment for piece in pieces]], np.diff(offsets))
        inputs = values[:, :features]
        outside = (inputs < low[of]) | (inputs > high[of])
        counts += [*outside.sum(axis=0), len(values)]
    return counts
