"""The model of a cycle, fitted to a sweep's records, and what it says of more ranks.

A cycle of k steps on N ranks takes

    T(N) = busy + excess(N) + a L(N) / m + [ c L'(N) + V'(N) n b ]

    busy        what a rank computes in k steps, the mean over ranks on a full machine
    excess(N)   by how much the slowest of N is expected to exceed it (``jitter``)
    a L(N)      the barrier: an all-reduce of a few bytes by recursive doubling, L(N) messages of latency a, after
                every m averages: m is 1, but for GPUs that average between the steps of a call
    c, b, n     the average of n bytes: L'(N) messages of latency c, V'(N) n bytes at b seconds each (``collectives``)

Where it was measured: busy and the jitter at the largest number of ranks that had cores (or GPUs) to themselves; a
from the least wait of all ranks at each barrier, which is that of the last to arrive; c and b from the time of the
averages, by non-negative least squares of errors relative to each point's mean. Ranks that shared cores are left out
of all of it. The persistent part of the jitter is taken to be the same share of ``busy`` in all settings.

With two ranks alone, N's powers cannot be told apart: all that does not grow with n counts as latency, and all that
does as bytes on the way, so that costs at many ranks are rather over- than underestimated. With one size n as well, the
latency of a message is taken to be that of the barrier's.

Intervals are by bootstrap over the repeats of each point (Efron 1979), on the logarithm, widened for the small number
of repeats R by sqrt(R / (R - 1)) t(f) / z with f degrees of freedom (Hesterberg 2015, The American Statistician 69(4)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpc_lstm.sweep.groups import Group, Record
from hpc_lstm.sweep.model import collectives
from hpc_lstm.sweep.model.collectives import Algorithm
from hpc_lstm.sweep.model.jitter import Jitter
from hpc_lstm.sweep.model.simulation import Network

DRAWS = 200
LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """What was fitted to one group of points.

    Attributes:
        group: the points.
        jitter: of a rank's time over a cycle.
        averaged_bytes: bytes of an average; 0 where the ranks do not average at the end of each cycle.
        samples: windows of a rank in a cycle.
        barriers: in a cycle, 1 / m.
        one_rank_s: seconds of a cycle of one rank, measured; None where one rank was not.
    """

    group: Group
    jitter: Jitter
    averaged_bytes: int
    samples: int
    one_rank_s: float | None
    barriers: float = 1.0


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes:
        network: latencies and time per byte.
        imbalance: persistent part of the jitter, as a share of ``busy``.
        settings: one for each group that had ranks with cores to themselves.
    """

    network: Network
    imbalance: float
    settings: list[Setting]

    def cycle_s(self, setting: Setting, ranks: Sequence[int]) -> np.ndarray:
        """Seconds of a cycle, float64 like ``ranks``."""
        costs = [self.network.cycle_s(n, setting.averaged_bytes, setting.barriers) for n in ranks]
        return setting.jitter.mean + setting.jitter.excess(ranks) + np.array(costs)

    def efficiency(self, setting: Setting, ranks: Sequence[int]) -> np.ndarray:
        """Samples a second per rank over those of one rank alone (of one by the model, if none was measured)."""
        one = setting.one_rank_s or float(self.cycle_s(setting, [1])[0])
        return one / self.cycle_s(setting, ranks)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: fitted to all repeats.
        low, high: ends of the interval; None with one repeat.
    """

    value: float
    low: float | None
    high: float | None


def fit_model(groups: Sequence[Group], algorithm: Algorithm = "rabenseifner") -> Fit | None:
    """The model of these groups; None where there is none, see ``why_no_model``."""
    if why_no_model(groups):
        return None
    chosen = [
        (group, max(group.unshared)) for group in groups if len(group.unshared) and max(group.unshared) > 1
    ]
    imbalance = _imbalance([record for group, most in chosen for record in group.unshared[most]])
    settings = [_setting(group, most, imbalance) for group, most in chosen]
    together = [
        r for group in groups for ranks, records in group.unshared.items() if ranks > 1 for r in records
    ]
    return Fit(_network(together, algorithm), imbalance, settings)


def why_no_model(groups: Sequence[Group]) -> str:
    """Why these groups have no model, as a sentence; "" if they have one."""
    if not any(ranks > 1 for group in groups for ranks in group.by_ranks):
        return "It takes runs on two ranks or more, and none is measured."
    if not any(ranks > 1 for group in groups for ranks in group.unshared):
        return (
            "It takes two ranks with cores (or GPUs) of their own, which this sweep does not have; a quiet machine "
            "with more of them can show it."
        )
    records = [r for group in groups for several in group.by_ranks.values() for r in several]
    transports = dict.fromkeys(r["config"]["average"]["transport"] for r in records)
    if len(transports) > 1:
        return (
            f"The runs average by different transports ({', '.join(transports)}), each with its own costs; a sweep "
            "with one average.transport can show it."
        )
    return ""


def bootstrap(
    groups: Sequence[Group],
    fitted: Fit,
    values: Callable[[Fit], np.ndarray],
    *,
    pooled: bool,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Estimate]:
    """Positive numbers of a fit with their intervals.

    Args:
        values: float64 [V] of a fit; one that is 0 has no interval.
        pooled: each value rests on all groups, which gives it as many times the degrees of freedom; else on the
            repeats of two points, one rank and the most ranks of its group.
    """
    best = values(fitted)
    repeats = min(len(records) for group in groups for records in group.unshared.values())
    if repeats < 2:
        return [Estimate(float(value), None, None) for value in best]
    generator = np.random.default_rng(seed)
    # Marked by what was drawn, a point might leave the model and its setting with it.
    marked = [
        replace(group, marks={ranks: group.mark(ranks) for ranks in group.by_ranks}) for group in groups
    ]
    drawn = np.array([values(_refit(marked, fitted, generator)) for _ in range(draws)])
    low, high = _ends(best, drawn, repeats, (repeats - 1) * (len(fitted.settings) if pooled else 2))
    return [Estimate(*map(float, ends)) for ends in zip(best, low, high, strict=True)]


def _refit(groups: Sequence[Group], fitted: Fit, generator: np.random.Generator) -> Fit:
    again = fit_model([_resample(group, generator) for group in groups], fitted.network.algorithm)
    assert again is not None  # the same points, so there are as many ranks
    return again


def _resample(group: Group, generator: np.random.Generator) -> Group:
    picked = {
        ranks: [records[i] for i in generator.integers(0, len(records), len(records))]
        for ranks, records in group.by_ranks.items()
    }
    return replace(group, by_ranks=picked)


def _ends(best: np.ndarray, drawn: np.ndarray, repeats: int, freedom: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import ndtri, stdtrit

    tail = (1 - LEVEL) / 2
    wider = np.sqrt(repeats / (repeats - 1)) * stdtrit(freedom, 1 - tail) / ndtri(1 - tail)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.log(best)
        ends = np.quantile(np.log(drawn), [tail, 1 - tail], axis=0)
        low, high = (
            np.exp(centre + wider * (np.minimum(ends[0], centre) - centre)),
            np.exp(centre + wider * (np.maximum(ends[1], centre) - centre)),
        )
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, drawn.max(axis=0))


def _setting(group: Group, most: int, imbalance: float) -> Setting:
    records = group.unshared[most]
    first = records[0]
    mean = float(np.mean([mean for r in records for mean in r["busy"]["means_s"]]))
    variance = float(np.mean([r["busy"]["variance"] for r in records]))
    third = float(np.mean([r["busy"]["third_moment"] for r in records]))
    skew = third / variance**1.5 if variance > 0 else 0.0
    one = group.unshared.get(1)
    return Setting(
        group=group,
        jitter=Jitter(mean, float(np.sqrt(variance)), skew, imbalance * mean),
        averaged_bytes=first["averaged_bytes"] if averages_every_cycle(first) else 0,
        samples=first["interval"] * first["batch_size"],
        one_rank_s=None if not one else float(np.mean([r["seconds"] / r["cycles"] for r in one])),
        barriers=float(np.mean([1 / r.get("cycles_per_meeting", 1) for r in records])),
    )


def averages_every_cycle(record: Record) -> bool:
    """True if each cycle of the run had an average."""
    every = record["config"]["average"]["every"]
    return isinstance(every, int) and every > 0


def _imbalance(records: Sequence[Record]) -> float:
    """Standard deviation of ranks' means within a run, relative to their mean, less what chance explains.

    By the median over runs: in their mean the few in which something held up a rank would count for more than all
    others, and in all settings.
    """
    from scipy.special import chdtri

    found = []
    for record in records:
        means, busy = np.array(record["busy"]["means_s"]), record["busy"]
        by_chance = busy["variance"] / record["cycles"]
        # The median of a variance of so few numbers is less than what it is on average.
        less = chdtri(len(means) - 1, 0.5) / (len(means) - 1)  # of chi-squared
        found.append((means.var(ddof=1) / less - by_chance) / means.mean() ** 2)
    return float(np.sqrt(max(0.0, np.median(found))))


def _network(records: Sequence[Record], algorithm: Algorithm) -> Network:
    meetings = [
        r["meeting_s"]
        * r.get("cycles_per_meeting", 1)
        / collectives.terms("recursive-doubling", r["ranks"])[0]
        for r in records
    ]
    averaging = [record for record in records if averages_every_cycle(record)]
    meeting = float(np.mean(meetings))
    alpha, byte = _average_cost(averaging, algorithm, meeting) if averaging else (0.0, 0.0)
    return Network(meeting, alpha, byte, algorithm)


def _average_cost(
    records: Sequence[Record], algorithm: Algorithm, barrier_alpha_s: float
) -> tuple[float, float]:
    """Latency, and seconds per byte; of one size on one number of ranks, the latency is the barrier's."""
    from scipy.optimize import nnls

    took = np.array([record["average_s"] for record in records])
    rows = np.array([collectives.terms(algorithm, record["ranks"]) for record in records])
    rows[:, 1] *= [record["averaged_bytes"] for record in records]
    if (rows == rows[0]).all():
        alpha = min(barrier_alpha_s, float(took.mean() / rows[0, 0]))
        return alpha, float(took.mean() - alpha * rows[0, 0]) / float(rows[0, 1])
    scale = rows.max(axis=0)
    # Relative to the mean of a point, not to each time: else the short ones among noisy times would count for more.
    _, points = np.unique([record["point"] for record in records], return_inverse=True)
    means = np.bincount(points, took) / np.bincount(points)
    weights = 1 / np.maximum(1e-9, means[points])
    found, _ = nnls(rows / scale * weights[:, None], took * weights)
    alpha, byte = found / scale
    return float(alpha), float(byte)


def residuals(fitted: Fit) -> list[tuple[Setting, int, float]]:
    """How far the model is from the measured cycles: setting, ranks, (model - measured) / measured."""
    found = []
    for setting in fitted.settings:
        for ranks, records in setting.group.unshared.items():
            if ranks > 1:
                measured = float(np.mean([r["seconds"] / r["cycles"] for r in records]))
                model = float(fitted.cycle_s(setting, [ranks])[0])
                found.append((setting, ranks, model / measured - 1))
    return found


def fit_as_json(fitted: Fit) -> dict[str, Any]:
    """The fitted numbers."""
    network = fitted.network
    return {
        "algorithm": network.algorithm,
        "meeting_latency_s": network.barrier_alpha_s,
        "average_latency_s": network.alpha_s,
        "bytes_per_second": 1 / network.byte_s if network.byte_s else None,
        "persistent_imbalance": fitted.imbalance,
        "settings": [
            {
                "axes": setting.group.axes,
                "busy_s": setting.jitter.mean,
                "jitter_s": setting.jitter.std,
                "skew": setting.jitter.skew,
                "averaged_bytes": setting.averaged_bytes,
                "one_rank_cycle_s": setting.one_rank_s,
                "meetings_per_cycle": setting.barriers,
            }
            for setting in fitted.settings
        ],
    }
