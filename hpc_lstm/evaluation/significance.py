"""Whether one forecast is better than another, or only seems so: the test of Diebold and Mariano (1995)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpc_lstm.evaluation.student_t import two_sided_p_value

# Fewer dates than this say too little for a test that holds for many.
FEWEST_DATES = 30


@dataclass(frozen=True)
class Comparison:
    """One forecast's squared error against another's, a window.

    Attributes:
        difference: mean of the differences; below 0 the first forecast is better. NaN without a window.
        standard_error: of that mean; None with too few dates or errors that are not finite.
        p_value: two-sided, of no difference; None likewise.
        dates: distinct target dates.
    """

    difference: float
    standard_error: float | None
    p_value: float | None
    dates: int


def diebold_mariano(differential: np.ndarray, windows: np.ndarray, horizon: int) -> Comparison:
    """Test of equal accuracy on squared errors, for many symbols at once.

    Symbols move together, so the windows of one date are one observation: the errors are summed by date, and
    the variance is that of a ratio of sums, robust to autocorrelation over dates (Newey and West 1987, with
    Bartlett weights). Lags: ``horizon - 1``, which overlapping targets cause anyway, or the rule of Newey
    and West (1994), 4 (D/100)^(2/9), if that is more, because squared errors come in clusters. The statistic is
    corrected for few dates and the horizon, and compared with Student's t distribution, as Harvey, Leybourne and
    Newbold (Int. J. Forecasting 13, 1997) say.

    Args:
        differential: float64 [D], per date in order, sum over its windows of the first forecast's squared
            error less the second's.
        windows: float64 [D], windows per date.
        horizon: dates from a window's last row to its target.
    """
    dates, total = differential.size, float(windows.sum())
    difference = float(differential.sum()) / total if total else math.nan
    # (D + 1 - 2 h + h (h - 1) / D) / D, which longer horizons than dates make meaningless.
    correction = (dates + 1 - 2 * horizon + horizon * (horizon - 1) / max(dates, 1)) / max(dates, 1)
    if dates < FEWEST_DATES or horizon >= dates or correction <= 0 or not math.isfinite(difference):
        return Comparison(difference, None, None, dates)
    # Newey and West: autocovariances of the dates' sums up to ``lags``, with weights that fall to 0.
    around = differential - difference * windows
    lags = min(dates - 1, max(horizon - 1, math.floor(4 * (dates / 100) ** (2 / 9))))
    variance = float(around @ around)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(around[lag:] @ around[:-lag])
    error = math.sqrt(max(variance, 0.0)) / total
    if error == 0:
        return Comparison(difference, 0.0, 1.0 if difference == 0 else 0.0, dates)
    statistic = difference / error * math.sqrt(correction)
    return Comparison(difference, error, two_sided_p_value(statistic, dates - 1), dates)
