"""The records of a sweep, grouped by the settings that are varied, and within them by the number of ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = dict[str, Any]
# Share of the cores that other programs may take from the ranks before a point shows them rather than this program.
OVERSUBSCRIBED = 0.25


@dataclass(frozen=True)
class Group:
    """All repeats of the points that differ only in the number of ranks.

    Attributes:
        axes: the settings that they share.
        by_ranks: records by number of ranks, ascending, each in order of repeat.
        fewest: the smallest number of ranks in the whole sweep, which efficiency is over.
        marks: see ``mark``; None: computed from the records. Resampled records keep the marks of the measured ones.
    """

    axes: dict[str, Any]
    by_ranks: dict[int, list[Record]]
    fewest: int = 1
    marks: dict[int, str] | None = None

    @property
    def name(self) -> str:
        """The settings in one line."""
        return ", ".join(f"{key.partition('.')[2]} {value}" for key, value in self.axes.items()) or "all runs"

    @property
    def unshared(self) -> dict[int, list[Record]]:
        """``by_ranks`` where ranks shared no core or GPU with each other, and next to none with other programs."""
        return {ranks: records for ranks, records in self.by_ranks.items() if not self.mark(ranks)}

    def mark(self, ranks: int) -> str:
        """Why a point cannot show how training scales: "*" ranks shared cores (GPUs), "!" other programs took them."""
        if self.marks is not None:
            return self.marks[ranks]
        records = self.by_ranks[ranks]
        if any(record["place"]["shared"] for record in records):
            return "*"
        return "!" if np.median([oversubscription(record) for record in records]) > OVERSUBSCRIBED else ""

    def efficiency(self, record: Record) -> float | None:
        """Samples per second and core (or GPU), relative to those of the fewest ranks in the same repeat.

        None where ranks shared cores, since that loss is the machine's and not the program's, and where the fewest
        ranks did, or were not measured in that repeat.
        """
        unshared = self.unshared
        if record["ranks"] not in unshared:
            return None
        base = next((one for one in unshared.get(self.fewest, []) if one["repeat"] == record["repeat"]), None)
        return None if base is None else per_processor(record) / per_processor(base)

    def efficiencies(self, ranks: int) -> list[float]:
        """The efficiency of each repeat that has one."""
        return [one for record in self.by_ranks[ranks] if (one := self.efficiency(record)) is not None]


def oversubscription(record: Record) -> float:
    """By how much ranks and other programs together exceeded the cores that the ranks could use, as a share of them."""
    if record["place"]["kind"] == "gpus":
        return 0.0
    cores = sum(node["cores"] for node in record["environment"]["nodes"])
    return max(0.0, float(record["place"]["used"] / cores + record["other_load"] - 1))


def per_processor(record: Record) -> float:
    """Samples per second of each core or GPU that the run used."""
    return float(record["samples_per_second"] / record["place"]["used"])


def group_records(records: Sequence[Record], fewest: int | None = None) -> list[Group]:
    """The groups of these records, in the order of the plan.

    Args:
        fewest: see ``Group``; None: the records are all of the sweep's, and have it.
    """
    found: dict[str, Group] = {}
    for record in sorted(records, key=lambda r: (r["point"], r["repeat"])):
        key = json.dumps(record["axes"], sort_keys=True)
        one = found.setdefault(key, Group(record["axes"], {}))
        one.by_ranks.setdefault(record["ranks"], []).append(record)
    if fewest is None:
        fewest = min((record["ranks"] for record in records), default=1)
    return [Group(one.axes, dict(sorted(one.by_ranks.items())), fewest) for one in found.values()]


def median_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum."""
    return float(np.median(values)), float(min(values)), float(max(values))
