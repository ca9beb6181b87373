"""Intervals around forecasts, and their calibration on validation: split conformal prediction.

An interval begins as that of the forecast distribution, or as the point forecast where the loss has no distribution.
How far a validation target lies outside of it (negative: inside) is its score; the interval is widened by the score
that the stated share of validation targets does not exceed. On exchangeable data the interval of a new window then
contains its target with at least that probability, whatever the model (Vovk, Gammerman and Shafer 2005, "Algorithmic
learning in a random world"; of quantiles: Romano, Patterson and Candes 2019, "Conformalized quantile regression").

Scores are in scaled units, in which symbols are comparable, and those of all symbols are taken together. Where a
symbol's target did not vary in train, scaled units say nothing of how it may vary: it is left out and has no interval.

``intervals.json`` in the run directory: ``format``, ``version``, ``coverage``, and ``margins``, a number for each
target, null where there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import ForecastConfig
from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.features.feature import DIRECTION
from hpc_lstm.files import read_text, write_text
from hpc_lstm.model.engines.head import Head
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory

if TYPE_CHECKING:
    from hpc_lstm.features.columns import ModelColumns
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.scaler import Scaler

FORMAT = "hpc_lstm intervals"
VERSION = 1
# Coverages are decimal: 0.9 * 10 windows are 9, though the float product may be just above.
ROUNDING = 1e-9
# The sign among the bits of a float64.
SIGN = np.uint64(2**63)


@dataclass(frozen=True)
class Intervals:
    """How the outputs of a network become intervals.

    Attributes:
        coverage: the share of targets that they are to contain.
        margins: float64 [K], what is added to both ends, in scaled units; NaN: not calibrated.
    """

    coverage: float
    margins: np.ndarray

    def known(self, head: Head, target: int) -> bool:
        """Whether a target's forecasts have an interval: of a distribution, or a calibrated one."""
        distribution, _ = _distribution(head, np.zeros((1, head.targets, head.loss.outputs)), self.coverage)
        return distribution is not None or bool(np.isfinite(self.margins[target]))

    def of(
        self, head: Head, outputs: np.ndarray, constant: np.ndarray | bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends in scaled units, float64 [B, K], of outputs [B, O]; NaN where there is no interval.

        Args:
            constant: bool [B, K], as ``constant_targets`` gives it: those have none.
        """
        low, high = self._ends(head, outputs)
        return np.where(constant, np.nan, low), np.where(constant, np.nan, high)

    def _ends(self, head: Head, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        by_target = head.by_target(outputs)
        low, high = _distribution(head, by_target, self.coverage)
        if low is None or high is None:
            middle = head.loss.point(by_target)
            return middle - self.margins, middle + self.margins
        margins = np.nan_to_num(self.margins, nan=0.0)
        # A margin below 0 narrows the interval, at most to its middle.
        low, high, middle = low - margins, high + margins, (low + high) / 2
        return np.minimum(low, middle), np.maximum(high, middle)


def constant_targets(scaler: Scaler, columns: ModelColumns, symbols: np.ndarray | int) -> np.ndarray:
    """Which targets of symbols did not vary in train: bool [B, K], or [K] of a single one."""
    return np.asarray(scaler.constant[symbols, len(columns.features) :])


def calibrate(
    predict: Callable[[np.ndarray], np.ndarray],
    head: Head,
    prepared: Prepared,
    world: World,
    settings: ForecastConfig,
    batch_size: int,
) -> Intervals:
    """Intervals as the settings ask for them, calibrated on all ranks' validation windows; collective.

    Args:
        predict: scaled inputs [B, window, features] to outputs [B, O].
    """
    coverage = stated_coverage(head, settings.coverage)
    margins = np.full(head.targets, np.nan)
    windows = prepared.validation
    if settings.calibration == "none" or not prepared.index.total("validation"):
        return Intervals(coverage, margins)
    scores = np.empty((head.targets, len(windows)))
    for start in range(0, len(windows), batch_size):
        numbers = np.arange(start, min(start + batch_size, len(windows)), dtype=np.int64)
        inputs, targets = windows.batch(numbers)
        by_target = head.by_target(np.asarray(predict(inputs)))
        wanted = np.asarray(targets, np.float64)
        low, high = _distribution(head, by_target, coverage)
        if low is None or high is None:
            scores[:, numbers] = np.abs(wanted - head.loss.point(by_target)).T
        else:
            scores[:, numbers] = np.maximum(low - wanted, wanted - high).T
    symbols = windows.symbols(np.arange(len(windows), dtype=np.int64))
    varies = ~constant_targets(prepared.scaler, prepared.columns, symbols)
    totals = world.allreduce_sum(varies.sum(axis=0, dtype=np.float64))
    for target in prepared.columns.targets:
        number = target.column - len(prepared.columns.features)
        rank = math.ceil((totals[number] + 1) * coverage - ROUNDING)
        # A direction is 0 or 1: its forecast is a probability, and no interval says more.
        if target.transform.unit != DIRECTION and rank <= totals[number]:
            margins[number] = kth_smallest(scores[number, varies[:, number]], rank, world)
    return Intervals(coverage, margins)


def stated_coverage(head: Head, wanted: float) -> float:
    """The coverage of the intervals that a loss gives where ``wanted`` is asked for."""
    low, high = head.loss.levels(wanted)
    return round(high - low, 12)


def kth_smallest(own: np.ndarray, k: int, world: World) -> float:
    """The k-th smallest number of all ranks, from 1; collective.

    The bits of float64 numbers, as integers, are ordered as the numbers are (negative ones in reverse), so that the
    number is found by eight bits at a time: how many lie below each of their values is counted on all ranks, and no
    rank sees the others' numbers.

    Args:
        own: float64 [n], this rank's. NaN counts as larger than all numbers.
    """
    bits = np.where(np.isnan(own), np.inf, own + 0.0).view(np.uint64)
    keys = np.sort(np.where(bits >= SIGN, ~bits, bits | SIGN))
    found = np.uint64(0)
    for shift in np.arange(56, -1, -8, dtype=np.uint64):
        starts = found | (np.arange(1, 256, dtype=np.uint64) << shift)
        below = world.allreduce_sum(np.searchsorted(keys, starts).astype(np.float64))
        found |= np.uint64(np.count_nonzero(below < k)) << shift
    return float((found & ~SIGN if found >= SIGN else ~found).view(np.float64))


def write_intervals(files: RunDirectory, intervals: Intervals) -> None:
    """Write ``intervals.json``, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    margins = [float(margin) if math.isfinite(margin) else None for margin in intervals.margins]
    content = {"format": FORMAT, "version": VERSION, "coverage": intervals.coverage, "margins": margins}
    write_text(files.intervals, json.dumps(content, allow_nan=False) + "\n")


def read_intervals(files: RunDirectory, head: Head, settings: ForecastConfig) -> Intervals:
    """What ``write_intervals`` wrote; not calibrated where a run's version wrote nothing.

    Raises:
        InputError: the file is damaged, or of another run.
    """
    path = files.intervals
    if not path.exists():
        return Intervals(stated_coverage(head, settings.coverage), np.full(head.targets, np.nan))
    try:
        content = json.loads(read_text(path))
        if content["format"] != FORMAT or int(content["version"]) > VERSION:
            raise ValueError("another format")
        margins = [math.nan if margin is None else float(margin) for margin in content["margins"]]
        coverage = float(content["coverage"])
        if len(margins) != head.targets or not 0 < coverage < 1:
            raise ValueError(f"of {len(margins)} targets, not {head.targets}")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        damaged = f"cannot be read as intervals ({error}); train again, or restore it"
        raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
    return Intervals(coverage, np.array(margins))


def _distribution(
    head: Head, by_target: np.ndarray, coverage: float
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """The central interval of the forecast distribution, [B, K] each; None where the loss has no distribution."""
    found = head.loss.quantiles(by_target, head.loss.levels(coverage))
    return (None, None) if found is None else (found[..., 0], found[..., 1])
