"""The summary of a sweep, as text: a line for each point, what the machine cannot show, and the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpc_lstm.sweep.groups import Group, Record, median_range, per_processor
from hpc_lstm.sweep.model import fit as fitting
from hpc_lstm.sweep.model.extrapolation import network_estimates
from hpc_lstm.sweep.model.fit import Estimate, Fit
from hpc_lstm.text.counts import counted

SHOWN_RANKS = (16, 128, 1024)
# An interval of an efficiency that is wider than this is not shown: the repeats differ too much.
WIDEST_INTERVAL = 1.0
# Share of the cores taken by other programs from which on a note says so.
NOTED_LOAD = 0.02


def points_text(groups: Sequence[Group], missing: int, failed: int = 0) -> str:
    """The table of all points: median over repeats, minimum and maximum in brackets.

    Args:
        missing: number of runs that are not measured yet.
        failed: number of those that failed when they were last started.
    """
    width = max([len(group.name) for group in groups] + [8])
    kind = groups[0].by_ranks[min(groups[0].by_ranks)][0]["place"]["kind"]
    unit = "GPU" if kind == "gpus" else "core"
    over = f"efficiency over {counted(groups[0].fewest, 'rank')}"
    head = f"{'settings':<{width}} {'ranks':>5} {unit + 's':>6} {'samples/s':>28} {'per ' + unit:>10}"
    lines = [f"{head} {over:>27} {'average':>8} {'wait':>7}"]
    for group in groups:
        for ranks in group.by_ranks:
            lines.append(f"{group.name:<{width}} {ranks:>4}{group.mark(ranks) or ' '} {_cells(group, ranks)}")
    notes = marks_notes(groups) + other_load_notes(groups)
    if left := missing - failed:
        are, them = ("is", "it") if left == 1 else ("are", "them")
        notes.append(f"{counted(left, 'run')} {are} missing; call again to measure {them}.")
    if failed:
        notes.append(f"{counted(failed, 'run')} failed.")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def marks_notes(groups: Sequence[Group]) -> list[str]:
    """Notes on points that cannot show how the program scales."""
    marked = {
        mark: records[0]
        for group in groups
        for ranks, records in group.by_ranks.items()
        if (mark := group.mark(ranks))
    }
    if not marked:
        return []
    notes = []
    if "*" in marked:
        place, threads = marked["*"]["place"], marked["*"]["environment"].get("threads", 1)
        of_threads = f" of {threads} threads" if threads > 1 and place["kind"] == "cores" else ""
        unit = "GPUs" if place["kind"] == "gpus" else "cores"
        notes.append(
            f"* ranks shared {unit}: here there are {place['used']} for {marked['*']['ranks']} ranks{of_threads}. "
            f"Samples/s are divided by the {unit} that there are."
        )
    if "!" in marked:
        notes.append("! other programs took more than a quarter of the cores from the ranks.")
    most = max([ranks for group in groups for ranks in group.by_ranks if group.efficiencies(ranks)] or [0])
    until = f"up to {counted(most, 'rank')}" if most else "for no number of ranks"
    marks = " or ".join(sorted(marked))
    notes.append(f"Efficiency can be shown {until}; points with {marks} have none and are not in the model.")
    return notes


def other_load_notes(groups: Sequence[Group]) -> list[str]:
    """A note on the CPU time that other programs took, if any did."""
    loads = [r["other_load"] for group in groups for records in group.by_ranks.values() for r in records]
    if max(loads) < NOTED_LOAD:
        return []
    return [
        f"Other programs took {np.median(loads):.0%} of the cores in the median run and {max(loads):.0%} in the worst: "
        "measure on a quiet machine, or take the numbers as of a busy one."
    ]


def share(record: Record, phase: str) -> float:
    """Share of the steady state that a phase takes, mean over ranks."""
    return float(record["phase_seconds"][phase] / record["seconds"])


def model_text(groups: Sequence[Group], fitted: Fit | None, extrapolated: Sequence[dict[str, Any]]) -> str:
    """The fitted model, and its extrapolation to many ranks."""
    if fitted is None:
        return f"No model: {fitting.why_no_model(groups)}"
    estimates = network_estimates(groups, fitted)
    errors = [abs(error) for _, _, error in fitting.residuals(fitted)]
    lines = [
        "Model of a cycle, fitted to points whose ranks shared nothing (intervals: 95 %, over repeats):",
        f"  latency of a message, barrier        {_times(estimates['meeting_latency_s'], 1e6, 'us')}",
        f"  latency of a message, average        {_times(estimates['average_latency_s'], 1e6, 'us')}",
        f"  time of a byte in an average         {_times(estimates['seconds_per_byte'], 1e9, 'ns')}"
        f"{_bandwidth(estimates['seconds_per_byte'])}",
        f"  persistent imbalance between ranks   {_times(estimates['persistent_imbalance'], 100, '%')}",
        f"  model against measured cycles        median error {np.median(errors):.1%}, most {max(errors):.1%}",
    ]
    if not extrapolated:
        lines.append(
            "No extrapolation: a rank's batch changes with the number of ranks, and the model keeps it."
        )
    if extrapolated:
        measured = all(setting.one_rank_s is not None for setting in fitted.settings)
        over = "one rank" if measured else "one rank as modelled where it is not measured"
        lines += [
            "",
            f"Efficiency that the model extrapolates, over {over} (its ranks on nodes such as these):",
        ]
        width = max(len(one["name"]) for one in extrapolated)
        lines.append(f"{'settings':<{width}} " + " ".join(f"{n:>17,} ranks" for n in SHOWN_RANKS))
        for one in extrapolated:
            cells = []
            for n in SHOWN_RANKS:
                at = one["ranks"].index(n)
                cells.append(f"{interval_text(one['efficiency'][at], one['low'][at], one['high'][at]):>23}")
            lines.append(f"{one['name']:<{width}} " + " ".join(cells))
    return "\n".join(lines)


def interval_text(value: float, low: float | None, high: float | None) -> str:
    """A share in per cent with its interval, or that the repeats differ too much to give one."""
    if low is None or high is None:
        return f"{value:.1%} (one repeat)"
    if not is_told(low, high):
        return "cannot be told"
    return f"{value:.1%} ({low:.1%}-{high:.1%})"


def is_told(low: float | None, high: float | None) -> bool:
    """Whether an interval is narrow enough to say anything; without one it is of one repeat, which is said."""
    return low is None or high is None or high - low <= WIDEST_INTERVAL


def _cells(group: Group, ranks: int) -> str:
    records = group.by_ranks[ranks]
    speed, least, most = median_range([r["samples_per_second"] for r in records])
    each, _, _ = median_range([per_processor(r) for r in records])
    efficiency = "-"
    if found := group.efficiencies(ranks):
        median, low, high = median_range(found)
        efficiency = f"{median:.1%} ({low:.0%}-{high:.0%})"
    speeds = f"{speed:,.0f} ({least:,.0f}-{most:,.0f})"
    average, _, _ = median_range([share(r, "average") for r in records])
    wait, _, _ = median_range([share(r, "wait") for r in records])
    used = records[0]["place"]["used"]
    return f"{used:>6} {speeds:>28} {each:>10,.0f} {efficiency:>27} {average:>8.1%} {wait:>7.1%}"


def _times(estimate: Estimate, factor: float, unit: str) -> str:
    text = f"{estimate.value * factor:.3g} {unit}"
    if estimate.low is None or estimate.high is None:
        return f"{text} (one repeat)"
    return f"{text} ({estimate.low * factor:.3g}-{estimate.high * factor:.3g})"


def _bandwidth(estimate: Estimate) -> str:
    return f", that is {1 / estimate.value / 1e9:.3g} GB/s" if estimate.value else ""
