"""Cautions, which the commands print, as warnings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from hpc_lstm.evaluation.forecast import Forecast
from hpc_lstm.market.import_summary import shortened_list


def caution(text: str) -> None:
    """Give a warning at the line outside of this package that led here."""
    level, frame = 1, sys._getframe()
    while (outer := frame.f_back) and frame.f_globals["__name__"].partition(".")[0] == "hpc_lstm":
        level, frame = level + 1, outer
    warnings.warn(text, stacklevel=level)


def caution_of_forecasts(forecasts: Sequence[Forecast]) -> None:
    """A warning for each kind of caution, with that of the first symbol: they may be many."""
    kinds: dict[str, tuple[str, list[str]]] = {}
    for forecast in forecasts:
        for text in forecast.cautions:
            _, symbols = kinds.setdefault(text.partition(":")[0], (text, []))
            symbols.append(forecast.symbol)
    for text, symbols in kinds.values():
        caution(f"{shortened_list(symbols, 3)}: {text}")
