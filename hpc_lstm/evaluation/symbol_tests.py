"""On which symbols the model is better than another forecast, and where by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.evaluation.error_sums import PartErrors
from hpc_lstm.evaluation.multiple_tests import benjamini_hochberg, holm
from hpc_lstm.evaluation.significance import diebold_mariano
from hpc_lstm.parallel.world import World


@dataclass(frozen=True)
class SymbolTests:
    """The model against one other forecast on each of S symbols.

    Attributes:
        difference: float64 [S], mean difference of squared scaled errors, below 0 where the model is better; NaN of a
            symbol without a scaled error.
        p_value: float64 [S], of the Diebold-Mariano test; NaN where there is none.
        holm, benjamini_hochberg: float64 [S], the same, adjusted for the number of symbols.
    """

    difference: np.ndarray
    p_value: np.ndarray
    holm: np.ndarray
    benjamini_hochberg: np.ndarray


def compare_by_symbol(errors: PartErrors, other: str, horizon: int, world: World) -> SymbolTests:
    """Test the model against the method ``other`` symbol by symbol; collective, and the same on every rank."""
    own, model, rival = errors.own, errors.methods.index("model"), errors.methods.index(other)
    with np.errstate(invalid="ignore"):
        differential = own.scaled[model] - own.scaled[rival]
    found = np.full((2, len(errors.windows)), np.nan)
    for symbol, series in _whole_series(own.symbol, differential, world):
        if errors.comparable[symbol] > 0:
            comparison = diebold_mariano(series, np.ones(len(series)), horizon)
            found[:, symbol] = comparison.difference, _or_nan(comparison.p_value)
    found = np.fmin.reduce(world.allgather(found))  # each symbol is known to one rank
    return SymbolTests(found[0], found[1], holm(found[1]), benjamini_hochberg(found[1]))


def _whole_series(symbol: np.ndarray, values: np.ndarray, world: World) -> list[tuple[int, np.ndarray]]:
    """Each symbol's values [n] in order, on one rank: the first that has any of it; collective.

    Ranks take consecutive windows, so that only a rank's first and last symbol may lie on others, too.
    """
    starts = np.flatnonzero(np.diff(symbol, prepend=-1))
    pieces = (
        dict(zip(symbol[starts].tolist(), np.split(values, starts[1:]), strict=True)) if len(symbol) else {}
    )
    ends = {number: pieces[number] for number in (*list(pieces)[:1], *list(pieces)[-1:])}
    everywhere = world.allgather(ends)
    whole = []
    for number, piece in pieces.items():
        if number not in ends:
            whole.append((number, piece))
        elif not any(number in earlier for earlier in everywhere[: world.rank]):
            whole.append((number, np.concatenate([rank[number] for rank in everywhere if number in rank])))
    return whole


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
