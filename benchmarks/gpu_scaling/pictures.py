"""Efficiency and averaging as pictures: a panel for each setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_scaling.summary import Rows
from hpc_lstm.report import figures
from hpc_lstm.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, RED

COLOURS = (RED, ORANGE, GREEN, BLUE)


def efficiency_figure(rows: Rows) -> Any:
    """Efficiency over ranks: a panel a setting, a line an interval (by one transport), and torch."""
    weak = [r for r in rows if r["scaling"] == "weak" and r["efficiency"]]
    figure, panels = _panels(weak)
    intervals = sorted({r["every"] for r in weak if r["peer"] == "hpc_lstm"})
    first = next((r["transport"] for r in weak if r["peer"] == "hpc_lstm"), "")
    ticks = sorted({row["ranks"] for row in rows})
    graphs = any(row["graph"] for row in rows if row["peer"] == "torch")
    for axes, here in panels:
        for colour, every in zip(COLOURS, intervals, strict=False):
            ours = [r for r in here if (r["peer"], r["transport"], r["every"]) == ("hpc_lstm", first, every)]
            _line(axes, ours, "ranks", "efficiency", color=colour, label=f"every {every}")
        torch = [r for r in here if r["peer"] == "torch" and (r["graph"] or not graphs)]
        _line(axes, torch, "ranks", "efficiency", color=BLACK, label="torch")
        axes.axhline(1, color=GREY, linestyle="--", linewidth=0.9)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(one) for one in ticks])
        axes.minorticks_off()
        axes.set_ylim(0, 1.15)
    figure.supylabel(f"weak-scaling efficiency ({first})", fontsize=10)
    figure.supxlabel("GPUs", fontsize=10)
    return figure


def averaging_figure(rows: Rows) -> Any:
    """Share of the wall in averaging over the interval, on the most ranks: a panel a setting, a line a transport."""
    most = max(r["ranks"] for r in rows)
    weak = [r for r in rows if (r["peer"], r["scaling"], r["ranks"]) == ("hpc_lstm", "weak", most)]
    figure, panels = _panels(weak)
    transports = dict.fromkeys(r["transport"] for r in weak)
    ticks = sorted({r["every"] for r in weak})
    for axes, here in panels:
        for colour, transport in zip(COLOURS, transports, strict=False):
            ours = [r for r in here if r["transport"] == transport]
            _line(axes, ours, "every", "average_share", color=colour, label=transport)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(one) for one in ticks])
        axes.set_yscale("log")
    figure.supylabel(f"share of the wall in averaging on {most} GPUs", fontsize=10)
    figure.supxlabel("steps between averages", fontsize=10)
    return figure


def _panels(rows: Rows) -> tuple[Any, list[tuple[Any, Rows]]]:
    """A figure with a panel for each setting, and the rows of each."""
    settings = list(dict.fromkeys((r["precision"], r["units"], r["batch"]) for r in rows))
    columns = min(4, max(1, len(settings)))
    lines = max(1, -(-len(settings) // columns))
    figure = figures.new_figure(2.6 + 2.3 * columns, 0.6 + 2.5 * lines)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(settings) :]:
        axes.set_visible(False)
    panels = []
    for axes, key in zip(grid.flat, settings, strict=False):
        axes.set_title(f"{key[0]}, {key[1]} units,\nbatch {key[2]:,}", fontsize=9)
        panels.append((axes, [r for r in rows if (r["precision"], r["units"], r["batch"]) == key]))
    return figure, panels


def _line(axes: Any, rows: Rows, x: str, y: str, **style: Any) -> None:
    """Medians with their range."""
    rows = sorted(rows, key=lambda row: row[x])
    if rows:
        values = np.array([row[y] for row in rows])
        spread = np.abs(values[:, 1:].T - values[:, 0])
        axes.errorbar(
            [row[x] for row in rows], values[:, 0], spread, marker="o", markersize=4, capsize=2, **style
        )
