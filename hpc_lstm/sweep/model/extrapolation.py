"""What the fitted model says of more ranks than were measured, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc_lstm.sweep.groups import Group
from hpc_lstm.sweep.model.fit import Estimate, Fit, Setting, bootstrap

# Numbers of ranks at which the model is evaluated.
RANKS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def extrapolate(groups: Sequence[Group], fitted: Fit) -> list[dict[str, Any]]:
    """Efficiency of each setting at ``RANKS`` ranks, with intervals, in the form of the results' JSON.

    Leaves out the settings in which a rank's batch depends on the number of ranks, see ``extrapolatable``.
    """
    settings = extrapolatable(fitted)
    if not settings:
        return []
    names = [setting.group.name for setting in settings]

    def values(one: Fit) -> np.ndarray:
        by_name = {setting.group.name: setting for setting in one.settings}
        return np.concatenate([one.efficiency(by_name[name], RANKS) for name in names])

    estimates = bootstrap(groups, fitted, values, pooled=False)
    found = []
    for number, setting in enumerate(settings):
        of_setting = estimates[number * len(RANKS) : (number + 1) * len(RANKS)]
        found.append(
            {
                "axes": setting.group.axes,
                "name": setting.group.name,
                "ranks": list(RANKS),
                "efficiency": [one.value for one in of_setting],
                "low": [one.low for one in of_setting],
                "high": [one.high for one in of_setting],
            }
        )
    return found


def extrapolatable(fitted: Fit) -> list[Setting]:
    """The settings with the same work for a rank at each number of ranks, which the model assumes."""
    return [
        setting
        for setting in fitted.settings
        if len({r["batch_size"] for records in setting.group.by_ranks.values() for r in records}) == 1
    ]


def network_estimates(groups: Sequence[Group], fitted: Fit) -> dict[str, Estimate]:
    """Latencies (s), time per byte (s) and persistent imbalance (a share), with intervals."""
    names = ("meeting_latency_s", "average_latency_s", "seconds_per_byte", "persistent_imbalance")

    def values(one: Fit) -> np.ndarray:
        network = one.network
        return np.array([network.barrier_alpha_s, network.alpha_s, network.byte_s, one.imbalance])

    return dict(zip(names, bootstrap(groups, fitted, values, pooled=True), strict=True))
