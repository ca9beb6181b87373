"""Where each rank's time went: a table, the bottleneck, and the straggler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.text.counts import counted
from hpc_lstm.text.table import aligned
from hpc_lstm.timing.barriers import collect_barriers
from hpc_lstm.timing.bottleneck import bottleneck_note
from hpc_lstm.timing.cluster_runs import ClusterRun, axis_notes, open_cluster_runs
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.straggler import arrivals_note, count_arrivals, find_straggler
from hpc_lstm.timing.timeline import PHASES

# With more ranks than this, they have no columns of their own.
RANK_COLUMNS = 8


def timing_table(*run_dirs: str | Path) -> str:
    """Seconds per phase: min, mean and max over ranks, share of wall time, imbalance; each rank if there are few.

    Imbalance is max / mean - 1: how much longer the slowest rank took than the mean. What it costs the
    others is in their ``wait``.

    Args:
        run_dirs: the run directories of one run, or one of each of several clusters.

    Raises:
        InputError: a folder has no timing, or is given twice.
    """
    runs = open_cluster_runs(run_dirs)
    parts = [
        "\n".join([table_title(run), "", *table_lines(run.timing), "", *timing_notes(run)]) for run in runs
    ]
    if len(runs) == 1:
        return "\n".join([*parts, *axis_notes(runs)])
    return "\n\n".join([*parts, "\n".join(axis_notes(runs))])


def timing_summary(*run_dirs: str | Path) -> dict[str, Any]:
    """What ``timing_table`` shows, for programs: seconds of each rank by phase, and the notes.

    Raises:
        InputError: as ``timing_table``.
    """
    runs = open_cluster_runs(run_dirs)
    return {
        "runs": [
            {
                "name": run.name,
                "ranks": run.timing.ranks.tolist(),
                "nodes": len(set(run.timing.node)),
                "starts": run.timing.starts,
                "seconds": dict(zip(PHASES, run.timing.rank_seconds().T.tolist(), strict=True)),
                "wall": run.timing.rank_wall().tolist(),
                "notes": timing_notes(run),
            }
            for run in runs
        ],
        "notes": axis_notes(runs),
    }


def timing_notes(run: ClusterRun) -> list[str]:
    """Sentences on the table, first of all the bottleneck."""
    found = count_arrivals(run.timing, collect_barriers(run.timing))
    straggler = find_straggler(run.timing, found)
    notes = [
        bottleneck_note(run.timing, found, straggler, run.config, run.steps_per_epoch),
        arrivals_note(run.timing, found, straggler),
        *_caveats(run.timing),
    ]
    return [note for note in notes if note]


def table_lines(timing: Timing) -> list[str]:
    """The lines of the table."""
    lines = aligned(table_rows(timing))
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1 : 1 + len(PHASES)], rule, *lines[1 + len(PHASES) :]]


def table_rows(timing: Timing) -> list[list[str]]:
    """The cells of the table: its header, a row for each phase, and the totals."""
    seconds, wall = timing.rank_seconds(), timing.rank_wall()
    total = wall.sum()
    each_rank = len(wall) <= RANK_COLUMNS
    header = [
        "phase",
        "min",
        "mean",
        "max",
        "share",
        "imbalance",
        *(f"rank {r}" for r in timing.ranks if each_rank),
    ]
    rows = [_row(phase, seconds[:, i], total, each_rank) for i, phase in enumerate(PHASES)]
    rows += [_row("all phases", seconds.sum(axis=1), total, each_rank), _row("wall", wall, total, each_rank)]
    return [header, *rows]


def table_title(run: ClusterRun) -> str:
    """What the table shows."""
    timing = run.timing
    ranks, nodes = len(timing.ranks), len(set(timing.node))
    size = f"{counted(ranks, 'rank')} on {counted(nodes, 'node')}"
    cluster = f" of cluster {run.name}" if run.name else ""
    return f"Where each rank's time went, in seconds: {size}{cluster}"


def _caveats(timing: Timing) -> list[str]:
    """What a reader must know to interpret the numbers."""
    notes = []
    if timing.starts > 1:
        notes.append(f"The run was started {timing.starts} times; the times of all starts are added up.")
        if len(distinct(timing.size)) > 1:
            in_order = timing.size[np.argsort(timing.origin_unix_ns)].tolist()
            sizes = ", ".join(str(size) for size in dict.fromkeys(in_order))
            notes.append(
                f"The number of ranks changed ({sizes}), so imbalance also reflects unequal shares of the run."
            )
    incomplete = int((~timing.complete).sum())
    if incomplete:
        notes.append(
            f"{incomplete} of {len(timing.complete)} processes wrote no totals (killed or still running); what they "
            "had written so far is counted."
        )
    return notes


def _row(name: str, seconds: np.ndarray, total: float, each_rank: bool) -> list[str]:
    mean, most = seconds.mean(), seconds.max()
    imbalance = f"{most / mean - 1:.1%}" if mean > 0 else "-"
    share = f"{seconds.sum() / total:.1%}" if total > 0 else "-"
    cells = [f"{number:.2f}" for number in (seconds.min(), mean, most)]
    return [name, *cells, share, imbalance, *(f"{s:.2f}" for s in seconds if each_rank)]
