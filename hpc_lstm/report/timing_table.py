"""Where each rank's time went, as a table and in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpc_lstm.report.spans import Timing, load_timing
from hpc_lstm.timing import PHASES

# More ranks than these are not shown one by one.
RANK_COLUMNS = 8


def timing_table(run_dir: str | Path) -> str:
    """Seconds per phase: min, mean and max over ranks, share of wall, imbalance; each rank if they are few.

    Imbalance is max / mean - 1: how much longer the slowest rank took than the mean. What it costs the
    others is in their ``wait``.

    Raises:
        InputError: the folder has no timing.
    """
    timing = load_timing(run_dir)
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
    lines = [lines[0], rule, *lines[1 : 1 + len(PHASES)], rule, *lines[1 + len(PHASES) :]]
    return "\n".join([title(timing), "", *lines, "", summary(timing), *notes(timing)])


def title(timing: Timing) -> str:
    """What the table is of."""
    ranks, nodes = len(timing.ranks), len(set(timing.node))
    place = f"{ranks} rank{'s' * (ranks > 1)} on {nodes} node{'s' * (nodes > 1)}"
    return f"Where each rank's time went, in seconds: {place}"


def summary(timing: Timing) -> str:
    """One sentence that says what bounds the run."""
    seconds, wall = timing.rank_seconds(), timing.rank_wall()
    if wall.sum() == 0:
        return "The run took no time that could be measured."
    share = dict(zip(PHASES, seconds.sum(axis=0) / wall.sum(), strict=True))
    largest = max(share, key=lambda phase: share[phase])
    text = f"Most of the time, {share[largest]:.0%}, went into {largest}"
    advice = {
        "startup": ": imports and set-up, which a longer run pays only once",
        "load": ": reading the store; a faster file system or fewer columns would help",
        "preprocess": ": scaling and windows",
        "compute": ", the training itself",
        "average": ": exchanging weights; a larger average.every would help",
        "wait": ": ranks waiting for the slowest; look at its node and at its compute",
        "sync": ": meeting other clusters at the object store",
        "checkpoint": ": writing state; a larger checkpoint.every would help",
        "evaluate": ": measuring the model on validation and test",
    }
    text += advice[largest]
    if len(wall) > 1 and largest != "wait" and share["wait"] >= 0.05:
        slowest = int(timing.ranks[np.argmin(seconds[:, PHASES.index("wait")])])
        text += f"; ranks waited for one another {share['wait']:.0%} of the time (rank {slowest} the least)"
    return text + "."


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
