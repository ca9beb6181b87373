"""Tail probabilities of Student's t distribution, without SciPy."""

from __future__ import annotations

import math

_SMALLEST = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 10_000


def two_sided_p_value(statistic: float, degrees: int) -> float:
    """The probability of a value at least as far from 0 as ``statistic`` with ``degrees`` >= 1 degrees of freedom.

    It is the regularized incomplete beta function I_x(degrees / 2, 1 / 2) at x = degrees / (degrees + statistic^2)
    (Abramowitz and Stegun 26.5.27 and 26.7.1).
    """
    if not math.isfinite(statistic):
        return 0.0
    square = statistic * statistic
    x = degrees / (degrees + square)
    # 1 - x by itself: the difference would round a small statistic away.
    return _incomplete_beta(degrees / 2, 0.5, x, square / (degrees + square))


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b), with ``rest`` = 1 - x; the fraction converges fast below (a + 1) / (a + b + 2)."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, rest, x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(front) / a * _continued_fraction(a, b, x)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8) by Lentz's method."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            found *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return found


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST
