"""Figures of a sweep: speed and efficiency, phases, extrapolation.

Colours stand for the values of the sweep's first axis, panels for the combinations of all other axes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.report import figures
from hpc_lstm.report.figures import BLUE, GREEN, GREY, ORANGE, PHASE_COLOURS, PINK, RED, SKY
from hpc_lstm.sweep.groups import Group, median_range
from hpc_lstm.sweep.measure import STEADY
from hpc_lstm.sweep.summary import is_told, share
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Every series of a panel has its own colour, mark and dash, so that it is told on paper, too.
COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY)
MARKS = "osD^vP"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
# Where the axis of efficiency ends: one outlier must not squash the others, and stands at its edge.
TOP = 1.25
# More panels side by side cannot be read on a page.
PANELS = 6


def scaling_figure(groups: Sequence[Group]) -> Figure:
    """Samples per second with a line for ideal scaling (above), and efficiency (below), over ranks."""
    panels = panels_of(groups)
    figure = figures.new_figure(2.4 + 2.2 * len(panels), 6.2)
    grid = np.atleast_2d(figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False))
    # Scales and limits come first: matplotlib warns where all values are alike and it has to find limits.
    for axes in grid.flat:
        _rank_axis(axes, groups)
    _speed_axis(grid[0, 0])
    grid[1, 0].set_ylim(0, TOP)
    for column, (title, members) in enumerate(panels):
        speed, efficiency = grid[0, column], grid[1, column]
        for group in members:
            number = _number(group, groups)
            _speed_line(speed, group, number)
            _efficiency_line(efficiency, group, number)
        if not any(group.efficiencies(ranks) for group in members for ranks in group.by_ranks):
            note = f"not measured:\n{_without_efficiency(members)}"
            efficiency.text(
                0.5, 0.4, note, transform=efficiency.transAxes, fontsize=8, ha="center", va="center"
            )
        _ideal(speed, members)
        speed.set_title(title, fontsize=9)
        efficiency.axhline(1, color=GREY, linestyle="--", linewidth=0.9)
        efficiency.set_xlabel("ranks")
    _widen(grid[0])
    grid[0, 0].set_ylabel("samples/s, all ranks")
    grid[1, 0].set_ylabel(f"efficiency per {_unit(groups)}")
    _legend(figure, grid[0], groups)
    _note_others(figure, groups, panels)
    return figure


def phases_figure(groups: Sequence[Group]) -> Figure:
    """The share of each phase in the steady state, one bar per point: median over repeats."""
    panels = panels_of(groups)
    figure = figures.new_figure(2.4 + 2.2 * len(panels), 4.2)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, members) in zip(grid, panels, strict=True):
        points = [(group, ranks, records) for group in members for ranks, records in group.by_ranks.items()]
        bottom = np.zeros(len(points))
        for phase in STEADY:
            height = np.array(
                [median_range([share(r, phase) for r in records])[0] for _, _, records in points]
            )
            if any(
                r["phase_seconds"][phase] for group in groups for rs in group.by_ranks.values() for r in rs
            ):
                axes.bar(
                    range(len(points)), 100 * height, bottom=bottom, color=PHASE_COLOURS[phase], label=phase
                )
            bottom += 100 * height
        names = [f"{ranks}{group.mark(ranks)} · {_first(group)}" for group, ranks, _ in points]
        axes.set_xticks(range(len(points)), names, rotation=90, fontsize=7)
        axes.set_title(title, fontsize=9)
        axes.grid(visible=False, axis="x")
    grid[0].set_ylabel("share of the steady state, %")
    axis = _axis(groups)
    figure.supxlabel(
        f"ranks{' · ' + axis if axis else ''}      * ranks share {_unit(groups)}s, ! so do other programs",
        fontsize=8,
    )
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    _note_others(figure, groups, panels)
    return figure


def extrapolation_figure(groups: Sequence[Group], found: Sequence[dict[str, Any]]) -> Figure:
    """Efficiency on up to 1,024 ranks: the model with its interval, and the measured points if over one rank, too."""
    panels = panels_of(groups)
    by_name = {one["name"]: one for one in found}
    over_one = groups[0].fewest == 1  # as the model's is
    figure = figures.new_figure(2.4 + 2.2 * len(panels), 3.8)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, members) in zip(grid, panels, strict=True):
        untold: list[str] = []
        for group in members:
            one = by_name.get(group.name)
            if one is None:
                continue
            number = _number(group, groups)
            colour = COLOURS[number % len(COLOURS)]
            dashes = DASHES[number % len(DASHES)]
            told = np.array([is_told(low, high) for low, high in zip(one["low"], one["high"], strict=True)])
            ranks = np.array(one["ranks"])[told]
            axes.plot(
                ranks,
                np.minimum(np.array(one["efficiency"])[told], 1.0),  # more than all ranks' work is none's
                linestyle=dashes,
                color=colour,
                label=_first(group),
            )
            if not told.all():
                untold.append(f"{_first(group)} from {one['ranks'][int(np.argmin(told))]} ranks on")
            if one["low"][0] is not None:
                low, high = (np.minimum(np.array(one[end])[told], 1.0) for end in ("low", "high"))
                axes.fill_between(
                    ranks,
                    low,
                    high,
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
            if over_one:
                _efficiency_line(axes, group, number, line="none")
        axes.axhline(1, color=GREY, linestyle="--", linewidth=0.9)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("ranks")
        axes.set_title(title, fontsize=9)
        axes.set_ylim(0, TOP)
        if untold:
            note = "cannot be told:\n" + "\n".join(untold)
            axes.text(0.03, 0.03, note, transform=axes.transAxes, fontsize=7, va="bottom")
    grid[0].set_ylabel("efficiency: model and measured" if over_one else "efficiency: model, over 1 rank")
    entries = _entries(grid)
    figure.legend([*entries.values()], [*entries], loc="outside right upper", title=_axis(groups) or None)
    _note_others(figure, groups, panels)
    return figure


def panels_of(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    """The groups by all axes but the first, at most ``PANELS``: the first ones; see ``_note_others``."""
    panels: dict[str, list[Group]] = {}
    for group in groups:
        rest = dict(list(group.axes.items())[1:])
        panels.setdefault(json.dumps(rest), []).append(group)
    named = [
        (
            "\n".join(
                figures.plain(f"{key.partition('.')[2]} {value}") for key, value in json.loads(rest).items()
            ),
            members,
        )
        for rest, members in panels.items()
    ]
    return named[:PANELS]


def _note_others(figure: Figure, groups: Sequence[Group], panels: Sequence[tuple[str, list[Group]]]) -> None:
    """Say how many settings have no panel."""
    others = len(groups) - sum(len(members) for _, members in panels)
    if others:
        more = f"{others} more setting is" if others == 1 else f"{others} more settings are"
        figure.suptitle(f"{more} in the table", fontsize=8)


def _without_efficiency(members: Sequence[Group]) -> str:
    """Why a panel shows no efficiency."""
    if not any(group.unshared for group in members):
        return f"no ranks with {_unit(members)}s\nof their own"
    return f"no run on {counted(members[0].fewest, 'rank')}\nto compare with"


def _speed_line(axes: Axes, group: Group, number: int) -> None:
    ranks = np.array(list(group.by_ranks))
    middles = np.array(
        [median_range([r["samples_per_second"] for r in records]) for records in group.by_ranks.values()]
    )
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    spread = np.abs(middles[:, 1:].T - middles[:, 0])
    alone = np.isin(ranks, list(group.unshared))
    axes.errorbar(
        ranks,
        middles[:, 0],
        spread,
        color=colour,
        linestyle=DASHES[number % len(DASHES)],
        marker=mark,
        markersize=4,
        capsize=2,
        label=_first(group),
    )
    axes.plot(
        ranks[~alone], middles[~alone, 0], mark, color=colour, markerfacecolor="white", markersize=5, zorder=3
    )


def _efficiency_line(axes: Axes, group: Group, number: int, line: str = "-") -> None:
    found = {ranks: median_range(group.efficiencies(ranks) or [np.nan]) for ranks in group.unshared}
    if not found:
        return
    middles = np.array(list(found.values()))
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    spread = np.abs(middles[:, 1:].T - middles[:, 0])
    axes.errorbar(
        list(found),
        np.minimum(middles[:, 0], TOP),
        spread,
        color=colour,
        marker=mark,
        markersize=4,
        capsize=2,
        linestyle=DASHES[number % len(DASHES)] if line == "-" else line,
        clip_on=True,
    )


def _ideal(axes: Axes, members: Sequence[Group]) -> None:
    """Ideal scaling from the fastest run on the fewest ranks: N times the ranks, N times as fast."""
    starts = [
        (
            min(g.unshared),
            max(median_range([r["samples_per_second"] for r in g.unshared[min(g.unshared)]])[:1]),
        )
        for g in members
        if g.unshared
    ]
    if starts:
        ranks, speed = max(starts, key=lambda start: start[1])
        most = max(max(group.by_ranks) for group in members)
        axes.plot(
            [ranks, most],
            [speed, speed * most / ranks],
            "--",
            color=GREY,
            linewidth=0.9,
            label="ideal",
        )


def _speed_axis(axes: Axes) -> None:
    from hpc_lstm.report.log_ticks import Magnitudes

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(Magnitudes())
    axes.yaxis.set_minor_formatter(Magnitudes(between=True))


def _widen(row: Sequence[Axes]) -> None:
    """Give panels that share an axis of speeds some room where all speeds are alike."""
    speeds = np.array([axes.dataLim.intervaly for axes in row])
    if np.isclose(speeds.min(), speeds.max()):
        for axes in row:
            axes.set_autoscaley_on(False)
        row[0].set_ylim(speeds.min() / 2, speeds.max() * 2)


def _rank_axis(axes: Axes, groups: Sequence[Group]) -> None:
    ranks = sorted({ranks for group in groups for ranks in group.by_ranks})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(n) for n in ranks])
    margin = (ranks[-1] / ranks[0]) ** 0.05 if ranks[-1] > ranks[0] else 2
    axes.set_xlim(ranks[0] / margin, ranks[-1] * margin)
    axes.minorticks_off()


def _legend(figure: Figure, row: Sequence[Axes], groups: Sequence[Group]) -> None:
    entries = _entries(row)
    if any(len(group.unshared) < len(group.by_ranks) for group in groups):
        (hollow,) = row[0].plot([], [], "o", color=GREY, markerfacecolor="white")
        entries[f"{_unit(groups)}s are\nshared"] = hollow
    figure.legend([*entries.values()], [*entries], loc="outside right upper", title=_axis(groups) or None)


def _entries(row: Sequence[Axes]) -> dict[str, Any]:
    """What the legend of some panels shows, by label."""
    return {
        label: handle for axes in row for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }


def _number(group: Group, groups: Sequence[Group]) -> int:
    """The place of a group's value of the first axis among all its values: panels may lack some."""
    return list(dict.fromkeys(map(_first, groups))).index(_first(group))


def _first(group: Group) -> str:
    return figures.plain(str(next(iter(group.axes.values()), "all runs")))


def _axis(groups: Sequence[Group]) -> str:
    """The name of the first axis; "" where there is none."""
    return figures.plain(next(iter(groups[0].axes), ""))


def _unit(groups: Sequence[Group]) -> str:
    kinds = {r["place"]["kind"] for group in groups for records in group.by_ranks.values() for r in records}
    return "GPU" if kinds == {"gpus"} else "core"
