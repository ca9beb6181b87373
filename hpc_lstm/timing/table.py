"""Where each rank's time went: a table, what bounds the run, and who was waited for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpc_lstm.timing.barriers import meetings
from hpc_lstm.timing.bottleneck import verdict
from hpc_lstm.timing.side_by_side import ClusterRun, axis_notes, open_runs
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.straggler import arrivals, arrivals_note, find_straggler
from hpc_lstm.timing.timeline import PHASES

# More ranks than these are not shown one by one.
RANK_COLUMNS = 8


def timing_table(*run_dirs: str | Path) -> str:
    """Seconds per phase: min, mean and max over ranks, share of wall, imbalance; each rank if they are few.

    Imbalance is max / mean - 1: how much longer the slowest rank took than the mean. What it costs the
    others is in their ``wait``.

    Args:
        run_dirs: the run directories of one run, or one of each of several clusters.

    Raises:
        InputError: a folder has no timing, or is given twice.
    """
    runs = open_runs(run_dirs)
    parts = ["\n".join([title(run), "", *table_lines(run.timing), "", *sentences(run)]) for run in runs]
    if len(runs) == 1:
        return "\n".join([*parts, *axis_notes(runs)])
    return "\n\n".join([*parts, "\n".join(axis_notes(runs))])


def sentences(run: ClusterRun) -> list[str]:
    """What the table comes to: what bounds the run, who was waited for, and what to know of the numbers."""
    found = arrivals(run.timing, meetings(run.timing))
    straggler = find_straggler(run.timing, found)
    told = [
        verdict(run.timing, found, straggler, run.config, run.steps_per_epoch),
        arrivals_note(run.timing, found, straggler),
        *notes(run.timing),
    ]
    return [sentence for sentence in told if sentence]


def table_lines(timing: Timing) -> list[str]:
    """The lines of the table."""
    seconds, wall = timing.rank_seconds(), timing.rank_wall()
    total = wall.sum()
    single = len(wall) <= RANK_COLUMNS
    header = [
        "phase",
        "min",
        "mean",
        "max",
        "share",
        "imbalance",
        *(f"rank {r}" for r in timing.ranks if single),
    ]
    rows = [_row(phase, seconds[:, i], total, single) for i, phase in enumerate(PHASES)]
    rows += [_row("all phases", seconds.sum(axis=1), total, single), _row("wall", wall, total, single)]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(_justify(row, widths)) for row in [header, *rows]]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1 : 1 + len(PHASES)], rule, *lines[1 + len(PHASES) :]]


def title(run: ClusterRun) -> str:
    """What the table is of."""
    timing = run.timing
    ranks, nodes = len(timing.ranks), len(set(timing.node))
    place = f"{ranks} rank{'s' * (ranks > 1)} on {nodes} node{'s' * (nodes > 1)}"
    cluster = f" of cluster {run.name}" if run.name else ""
    return f"Where each rank's time went, in seconds: {place}{cluster}"


def notes(timing: Timing) -> list[str]:
    """What a reader must know to take the numbers right."""
    lines = []
    if timing.starts > 1:
        lines.append(f"The run was started {timing.starts} times; the times of all starts are added up.")
        if len(np.unique(timing.size)) > 1:
            sizes = ", ".join(
                str(n) for n in dict.fromkeys(timing.size[np.argsort(timing.origin_unix_ns)].tolist())
            )
            lines.append(
                f"The number of ranks changed ({sizes}), so imbalance is that of unequal shares of the run."
            )
    cut = int((~timing.complete).sum())
    if cut:
        lines.append(
            f"{cut} of {len(timing.complete)} processes left no totals (killed or still running): what they"
        )
        lines[-1] += " had written so far is counted."
    return lines


def _row(name: str, seconds: np.ndarray, total: float, single: bool) -> list[str]:
    mean, most = seconds.mean(), seconds.max()
    imbalance = f"{most / mean - 1:.1%}" if mean > 0 else "-"
    share = f"{seconds.sum() / total:.1%}" if total > 0 else "-"
    numbers = [seconds.min(), mean, most]
    cells = [f"{number:.2f}" for number in numbers]
    return [name, *cells, share, imbalance, *(f"{s:.2f}" for s in seconds if single)]


def _justify(row: list[str], widths: list[int]) -> list[str]:
    return [
        row[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
    ]
