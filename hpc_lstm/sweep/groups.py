"""Records of a sweep in groups: by the settings that are varied, and within them by the number of ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """All repeats of the points that differ in the number of ranks alone.

    Attributes:
        axes: the settings that they share.
        by_ranks: records by number of ranks, ascending, each in order of repeat.
        fewest: the smallest number of ranks in the whole sweep, which efficiency is over.
    """

    axes: dict[str, Any]
    by_ranks: dict[int, list[Record]]
    fewest: int = 1

    @property
    def name(self) -> str:
        """The settings in one line."""
        return ", ".join(f"{key.partition('.')[2]} {value}" for key, value in self.axes.items()) or "all runs"

    @property
    def alone(self) -> dict[int, list[Record]]:
        """``by_ranks`` where no two ranks shared a core or a GPU."""
        return {
            ranks: records
            for ranks, records in self.by_ranks.items()
            if not any(record["place"]["shared"] for record in records)
        }

    def efficiency(self, record: Record) -> float | None:
        """Samples a second per core (or GPU), over those of the fewest ranks in the same repeat.

        None where ranks shared cores, for what they lose is the machine's and not the program's, and where the
        fewest ranks did, or were not measured in that repeat.
        """
        alone = self.alone
        if record["ranks"] not in alone:
            return None
        base = next((one for one in alone.get(self.fewest, []) if one["repeat"] == record["repeat"]), None)
        return None if base is None else per_processor(record) / per_processor(base)


def per_processor(record: Record) -> float:
    """Samples a second of each core or GPU that the run had."""
    return float(record["samples_per_second"] / record["place"]["used"])


def group(records: Sequence[Record]) -> list[Group]:
    """The groups, in the order in which the plan has them."""
    found: dict[str, Group] = {}
    for record in sorted(records, key=lambda r: (r["point"], r["repeat"])):
        key = json.dumps(record["axes"], sort_keys=True)
        one = found.setdefault(key, Group(record["axes"], {}))
        one.by_ranks.setdefault(record["ranks"], []).append(record)
    fewest = min((record["ranks"] for record in records), default=1)
    return [Group(one.axes, dict(sorted(one.by_ranks.items())), fewest) for one in found.values()]


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return float(np.median(values)), float(min(values)), float(max(values))
