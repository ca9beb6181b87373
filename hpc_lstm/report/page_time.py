"""Where a run's time went, as a report shows it: a bar for each rank, and a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.report.figures import PHASE_COLOURS
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.timing.cluster_runs import axis_notes, open_cluster_runs
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.table import table_rows, table_title, timing_notes
from hpc_lstm.timing.timeline import PHASES

# Ranks that get a bar of their own.
MAX_BARS = 64


def timing_section(run: RunDirectory) -> dict[str, Any]:
    """The bars, their key, the table, and the sentences on them.

    Raises:
        InputError: the run has no timing.
    """
    (opened,) = open_cluster_runs([run.path])
    timing = opened.timing
    bottleneck, *notes = [*timing_notes(opened), *axis_notes([opened])]
    header, *rows = table_rows(timing)
    if len(timing.ranks) > MAX_BARS:
        notes.insert(0, f"Bars of the first {MAX_BARS} of {len(timing.ranks):,} ranks.")
    used = timing.rank_seconds().sum(axis=0) > 0
    return {
        "about": "In seconds. Imbalance is how much longer the slowest rank took than the mean.",
        "bottleneck": bottleneck,
        "notes": notes,
        "label": f"Seconds of each rank by phase, as in the table below, for {min(len(timing.ranks), MAX_BARS)} ranks",
        "ranks": _bars(timing),
        "key": [
            {"name": phase, "colour": PHASE_COLOURS[phase]}
            for phase, some in zip(PHASES, used, strict=True)
            if some
        ],
        "table": {"title": table_title(opened), "header": header, "rows": rows},
    }


def _bars(timing: Timing) -> list[dict[str, Any]]:
    seconds = timing.rank_seconds()[:MAX_BARS]
    longest = float(np.max(seconds.sum(axis=1), initial=0.0)) or 1.0
    return [
        {
            "name": f"rank {rank}",
            "phases": [
                {
                    "width": f"{100 * own / longest:.3f}",
                    "colour": PHASE_COLOURS[phase],
                    "title": f"{phase}: {own:.2f} s",
                }
                for phase, own in zip(PHASES, each, strict=True)
                if own > 0
            ],
        }
        for rank, each in zip(timing.ranks[:MAX_BARS], seconds, strict=True)
    ]
