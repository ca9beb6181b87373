"""How long ranks compute between two averages, and how long the slowest of N is expected to take.

A rank's time over a cycle of k steps is modelled as

    k * step + k * p + J        p ~ N(0, persistent^2), drawn once a rank; J, drawn once a cycle

J has mean 0, a standard deviation and a skewness, and is a shifted gamma distribution with just these (a normal one
where the skewness is not above 0). Sums of independent gammas of one scale are gamma, so k steps of independent jitter
are again of this family: the standard deviation grows with sqrt(k), that is, falls with sqrt(k) against the time of
the k steps. The persistent part, a slower core or node, grows with k and is never averaged out.

All wait for the slowest. With F the distribution function of one rank's time, that of the slowest of N is F^N, and

    E[max] = integral of x dF^N        (David and Nagaraja 2003, Order Statistics, chapter 3)

which for a normal F grows like sqrt(2 ln N) and for a gamma's exponential tail like ln N. In any one cycle the ranks'
times are independent and alike, so this holds with the persistent part in F, too; it is then the mean over machines
whose ranks are drawn like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Below this a gamma cannot be told from a normal distribution, and its shape would overflow.
LEAST_SKEW = 1e-3
# Points of the integral over the gamma part, and of that over time. More change E[max] of 16 and more ranks by less
# than 1 %, of two by less than 7 % of their small excess.
NODES, POINTS = 100, 600
# A persistent part that is this much smaller than the other one changes nothing.
NEGLIGIBLE = 1e-6
# Where the integral over the gamma part ends, in standard deviations of the normal that it is mapped from.
REACH = 6.5


@dataclass(frozen=True)
class Jitter:
    """The distribution of one rank's time over a cycle, in seconds.

    Attributes:
        mean: of all ranks.
        std, skew: of the part that is drawn anew in each cycle.
        persistent: standard deviation, over ranks, of the part that a rank keeps.
    """

    mean: float
    std: float = 0.0
    skew: float = 0.0
    persistent: float = 0.0

    def over(self, cycles: float) -> Jitter:
        """The distribution over as many cycles in a row with no meeting between them; independent of each other."""
        return Jitter(
            self.mean * cycles,
            self.std * float(np.sqrt(cycles)),
            self.skew / float(np.sqrt(cycles)),
            self.persistent * cycles,
        )

    def excess(self, ranks: int | Sequence[int]) -> np.ndarray:
        """By how much the slowest of so many ranks is expected to exceed the mean, float64 like ``ranks``."""
        many = np.atleast_1d(np.asarray(ranks, np.int64))
        if self.std <= 0 and self.persistent <= 0:
            return np.zeros(len(many))
        scale = max(self.std, self.persistent)
        grid, below = self._distribution(scale)
        # E[max] = top of the grid - integral of F^N over it; F is 0 below the grid and 1 above.
        steps = np.diff(grid)
        powers = below[:, None] ** many
        return (grid[-1] - steps @ (powers[1:] + powers[:-1]) / 2) * scale

    def draw(self, generator: np.random.Generator, ranks: int, cycles: int) -> np.ndarray:
        """float64 [ranks, cycles]: times drawn at random, not below 0."""
        kept = self.mean + self.persistent * generator.standard_normal(ranks)[:, None]
        if self.skew > LEAST_SKEW:
            shape = 4 / self.skew**2
            anew = (generator.gamma(shape, size=(ranks, cycles)) - shape) / np.sqrt(shape)
        else:
            anew = generator.standard_normal((ranks, cycles))
        return np.maximum(0.0, kept + self.std * anew)

    def _distribution(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Times less their mean, in units of ``scale``, ascending, and the distribution function there."""
        from scipy.special import ndtr

        std, kept = self.std / scale, self.persistent / scale
        values, weights = _standard(self.skew if std > 0 else 0.0)
        values = values * std
        low, high = values[0] - 8 * kept, values[-1] + 8 * kept
        grid = np.linspace(low, high, POINTS)
        if kept > NEGLIGIBLE:
            return grid, ndtr((grid[:, None] - values) / kept) @ weights
        if self.skew > LEAST_SKEW:
            # Denser where the mass is: a skewed distribution has nearly all of it at one end.
            grid = np.union1d(grid, values)
        return grid, _cumulative(grid / std, self.skew)


def _standard(skew: float) -> tuple[np.ndarray, np.ndarray]:
    """Values, ascending, and weights that stand for the part drawn anew, with mean 0 and standard deviation 1."""
    from scipy.special import gammainccinv, gammaincinv, ndtr

    normal = np.linspace(-REACH, REACH, NODES)
    edges = np.concatenate([[-np.inf], (normal[1:] + normal[:-1]) / 2, [np.inf]])
    weights = np.diff(ndtr(edges))
    if skew <= LEAST_SKEW:
        return normal, weights
    shape = 4 / skew**2
    # From the nearer end, so that the far tail is not lost in rounding.
    x = np.where(normal < 0, gammaincinv(shape, ndtr(normal)), gammainccinv(shape, ndtr(-normal)))
    return (x - shape) / np.sqrt(shape), weights


def _cumulative(x: np.ndarray, skew: float) -> np.ndarray:
    from scipy.special import gammainc, ndtr

    if skew <= LEAST_SKEW:
        return ndtr(x)
    shape = 4 / skew**2
    return gammainc(shape, np.maximum(0.0, x * np.sqrt(shape) + shape))
