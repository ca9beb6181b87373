"""Tables, model and pictures of what ``scaling_gpus.py`` measured.

    PYTHONPATH=. python benchmarks/scaling_gpus_report.py scaling_gpus.json [--docs docs/performance.md]

Writes scaling_gpus.json, scaling_gpus-summary.json, scaling_gpus.png and scaling_gpus-averaging.png into
benchmarks/results, and the tables between the two marks of a page. Efficiency is over one GPU in the same repeat, with
the same averaging interval. torch counts where its step was a CUDA graph: other turns of a setting that has such turns
are left out, and a setting without any is marked and not compared. The model of ``hpc-lstm sweep`` is fitted to one and
two ranks, and its prediction for more is compared with what was measured; then to all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scaling_gpus import load

from hpc_lstm.files import write_text
from hpc_lstm.report import figures
from hpc_lstm.report.figures import BLACK, BLUE, GREEN, GREY, ORANGE, RED
from hpc_lstm.sweep.groups import Group, group_records, median_range
from hpc_lstm.sweep.model import fit as fitting
from hpc_lstm.sweep.summary import share

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- scaling_gpus: begin -->", "<!-- scaling_gpus: end -->"
TRANSPORTS = ("nccl", "mpi", "host")
COLOURS = (RED, ORANGE, GREEN, BLUE)
# The goal: this efficiency with an average every so many steps.
GOAL, GOAL_EVERY = 0.97, 16
Rows = list[dict[str, Any]]


def summarize(found: dict[str, Any]) -> dict[str, Any]:
    """All that the tables and pictures show."""
    records, torch = found["records"], found["torch"]
    most = max((one["ranks"] for one in records), default=1)
    return {
        "machine": machine_text(found),
        "ranks": sorted({one["ranks"] for one in records}),
        "rows": [*rows_of_ours(records), *rows_of_torch(counted(torch))],
        "model": [compare(records, transport, most) for transport in transports_of(records)],
        "clusters": found["clusters"],
        "torch_left_out": len(torch) - len(counted(torch)),
        "unavailable": found["unavailable"],
        "repeats": sorted({one["repeat"] + 1 for one in records}, reverse=True)[:1],
        "seconds": sum(found["calls_s"]),
    }


def machine_text(found: dict[str, Any]) -> str:
    """What was measured on, in words."""
    first = next(iter(found["records"]), None)
    if first is None:
        return "nothing"
    environment = max((one["environment"] for one in found["records"]), key=lambda e: len(e["ranks"]))
    gpus = list(dict.fromkeys(rank["gpu"] for rank in environment["ranks"] if rank["gpu"]))
    where = (
        f"{len(environment['ranks'])} x {', '.join(gpus)}" if gpus else environment["nodes"][0]["processor"]
    )
    torch = next((said["versions"] for key, said in found["peers"].items() if key.startswith("torch")), None)
    against = (
        ""
        if torch is None
        else f"; torch {torch['torch']}" + (f", NCCL {torch['nccl']}" if "nccl" in torch else "")
    )
    return f"{where}; {environment['mpi'].partition(';')[0].partition(', package')[0]}{against}"


def transports_of(records: Rows) -> list[str]:
    """Those that several ranks used."""
    found = {one["axes"]["average.transport"] for one in records}
    return [one for one in TRANSPORTS if one in found]


def by_transport(records: Rows, transport: str) -> Rows:
    """The runs of one transport, with those of one rank, which have none, as if of it."""
    chosen = []
    for one in records:
        if one["axes"]["average.transport"] in (transport, "auto"):
            average = one["config"]["average"] | {"transport": transport}
            chosen.append(
                one
                | {
                    "axes": one["axes"] | {"average.transport": transport},
                    "config": one["config"] | {"average": average},
                }
            )
    return chosen


def rows_of_ours(records: Rows) -> Rows:
    """A row for each setting, transport and number of ranks: medians with their range over the repeats."""
    found = []
    for scaling in ("weak", "strong"):
        of_scaling = [one for one in records if one["scaling"] == scaling]
        for transport in transports_of(of_scaling):
            for group in group_records(by_transport(of_scaling, transport)):
                for ranks, members in group.by_ranks.items():
                    efficiencies = [one for r in members if (one := group.efficiency(r)) is not None]
                    found.append(
                        {
                            "peer": "hpc_lstm",
                            "scaling": scaling,
                            "transport": transport,
                            "every": group.axes["average.every"],
                            **setting(group.axes),
                            "ranks": ranks,
                            "repeats": len(members),
                            "samples_per_second": median_range([r["samples_per_second"] for r in members]),
                            "efficiency": median_range(efficiencies) if efficiencies else None,
                            "average_share": median_range([share(r, "average") for r in members]),
                            "wait_share": median_range([share(r, "wait") for r in members]),
                            "lost": lost(members, group.by_ranks.get(1, [])),
                        }
                    )
    return found


def lost(members: Rows, alone: Rows) -> dict[str, float] | None:
    """What each phase takes longer than on one rank in the same repeat: medians, as shares of that rank's time."""
    reference = {one["repeat"]: one for one in alone}
    pairs = [(one, reference[one["repeat"]]) for one in members if one["repeat"] in reference]
    if not pairs:
        return None
    return {
        phase: statistics.median(
            (one["phase_seconds"][phase] / one["steps"] - first["phase_seconds"][phase] / first["steps"])
            / (first["seconds"] / first["steps"])
            for one, first in pairs
        )
        for phase in ("compute", "wait", "average")
    }


def counted(runs: Rows) -> Rows:
    """torch's runs that count: where some of a setting were in a CUDA graph, those alone."""
    graphed = {run_key(one) for one in runs if one["options"]["graph"]}
    return [one for one in runs if one["options"]["graph"] or run_key(one) not in graphed]


def run_key(one: dict[str, Any]) -> tuple[str, str]:
    """The setting of a run of torch."""
    return one["scaling"], json.dumps(one["axes"])


def rows_of_torch(runs: Rows) -> Rows:
    """The same of torch."""
    found = []
    keys = sorted({(*run_key(one), one["ranks"]) for one in runs}, key=_order)
    for scaling, axes, ranks in keys:
        alike = [one for one in runs if run_key(one) == (scaling, axes)]
        alone = {one["repeat"]: one["samples_per_second"] for one in alike if one["ranks"] == 1}
        members = [one for one in alike if one["ranks"] == ranks]
        efficiencies = [
            one["samples_per_second"] / ranks / alone[one["repeat"]]
            for one in members
            if one["repeat"] in alone
        ]
        found.append(
            {
                "peer": "torch",
                "scaling": scaling,
                "transport": "nccl" if ranks > 1 else "",
                "every": 1,
                **setting(json.loads(axes)),
                "ranks": ranks,
                "repeats": len(members),
                "graph": all(one["options"]["graph"] for one in members),
                "samples_per_second": median_range([one["samples_per_second"] for one in members]),
                "efficiency": median_range(efficiencies) if efficiencies else None,
            }
        )
    return found


def _order(key: tuple[str, str, int]) -> tuple[Any, ...]:
    """Weak before strong, bfloat16 before float32, large before small, few ranks before many."""
    scaling, axes, ranks = key
    here = setting(json.loads(axes))
    return scaling != "weak", here["precision"], -here["units"], -here["batch"], ranks


def setting(axes: dict[str, Any]) -> dict[str, Any]:
    """Precision, units and batch, by short names."""
    return {
        "precision": axes["train.precision"],
        "units": axes["model.units"],
        "batch": axes["train.batch_size"],
    }


def compare(records: Rows, transport: str, most: int) -> dict[str, Any]:
    """The model by one and two ranks, what it predicts for the most, what was measured, and the model by all."""
    weak = by_transport([one for one in records if one["scaling"] == "weak"], transport)
    groups = group_records(weak)
    measured = {group.name: measured_efficiency(group, most) for group in groups}
    few = fitting.fit_model(group_records([one for one in weak if one["ranks"] <= 2]))
    every = fitting.fit_model(groups)
    found: dict[str, Any] = {"transport": transport, "ranks": most, "settings": []}
    for name, fitted in (("one_and_two", few), ("all", every)):
        if fitted is not None:
            network = fitting.fit_as_json(fitted)
            errors = [abs(error) for _, _, error in fitting.residuals(fitted)]
            found[name] = {key: value for key, value in network.items() if key != "settings"}
            found[name]["median_error"] = float(np.median(errors))
    if few is None or most <= 2:
        return found
    for one in few.settings:
        if one.one_rank_s is None or measured[one.group.name] is None:
            continue
        predicted = float(few.efficiency(one, [most])[0])
        low, middle, high = sorted(measured[one.group.name] or ())
        found["settings"].append(
            {
                "every": one.group.axes["average.every"],
                **setting(one.group.axes),
                "predicted": predicted,
                "measured": (middle, low, high),
                "error": predicted / middle - 1,
            }
        )
    return found


def measured_efficiency(group: Group, ranks: int) -> tuple[float, float, float] | None:
    """Median, least and most over the repeats."""
    found = [one for r in group.by_ranks.get(ranks, []) if (one := group.efficiency(r)) is not None]
    return median_range(found) if found else None


def tables(summary: dict[str, Any]) -> str:
    """The section of docs/performance.md, in Markdown."""
    rows, ranks = summary["rows"], summary["ranks"]
    repeats = sorted({row["repeats"] for row in rows})
    parts = [
        f"Measured on {summary['machine']}; median of {_counts(repeats)} repeats, least and most in brackets; on "
        f"each number of GPUs {', '.join(map(str, ranks))} in turn with torch in the same run.",
    ]
    for scaling, words in (("weak", "batch a rank"), ("strong", "batch of all ranks")):
        for transport in dict.fromkeys(r["transport"] for r in rows if r["peer"] == "hpc_lstm"):
            chosen = [
                r
                for r in rows
                if (r["peer"], r["scaling"], r["transport"]) == ("hpc_lstm", scaling, transport)
            ]
            if chosen:
                parts.append(efficiency_table(chosen, f"{scaling} scaling, {transport}", words))
    parts += [
        goal_text(rows),
        speed_table(rows, summary["torch_left_out"]),
        model_text(summary["model"]),
        clusters_text(summary["clusters"]),
    ]
    if summary["unavailable"]:
        parts.append(
            f"Failed at least once: {'; '.join(summary['unavailable'])}. `scaling_gpus-summary.json` has the messages."
        )
    return "\n\n".join(filter(None, parts))


def efficiency_table(rows: Rows, title: str, words: str) -> str:
    """Efficiency and share of the wall in averaging, a line a setting and number of ranks, a column an interval."""
    intervals = sorted({row["every"] for row in rows})
    lines = [
        f"**{title[0].upper()}{title[1:]}**: efficiency; share of the wall in averaging, and in waiting for others.",
        "",
        f"| precision, units, {words} | GPUs | " + " | ".join(f"every {one}" for one in intervals) + " |",
        "| --- " * (2 + len(intervals)) + "|",
    ]
    keys = dict.fromkeys((r["precision"], r["units"], r["batch"], r["ranks"]) for r in rows if r["ranks"] > 1)
    for precision, units, batch, ranks in keys:
        cells = []
        for every in intervals:
            one = _one(rows, precision=precision, units=units, batch=batch, ranks=ranks, every=every)
            if one is None:
                cells.append("-")
                continue
            averaging = f"{_percent(one['average_share'][0])}, {_percent(one['wait_share'][0])}"
            cells.append(f"{_range(one['efficiency'])}; {averaging}")
        lines.append(f"| {precision}, {units}, {batch:,} | {ranks} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def speed_table(rows: Rows, left_out: int) -> str:
    """Thousand samples a second beside torch, of whose turns some were left out."""
    found = [r for r in rows if r["peer"] == "torch"]
    if not found:
        return ""
    lines = [
        "**Beside torch** (DistributedDataParallel, gradients every step): thousand samples/s of all ranks. Ours "
        f"averages every {GOAL_EVERY} steps, and every step, by the faster transport.",
        "",
        f"| scaling, precision, units, batch | GPUs | every {GOAL_EVERY} | every 1 | torch | times as fast as torch: "
        f"every {GOAL_EVERY}; every 1 | torch's efficiency |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    graphs = any(row["graph"] for row in found)
    for row in found:
        same = {key: row[key] for key in ("scaling", "precision", "units", "batch", "ranks")}
        ours = []
        for every in (GOAL_EVERY, 1):
            speeds = [
                r["samples_per_second"][0]
                for r in rows
                if r["peer"] == "hpc_lstm" and r["every"] == every and same.items() <= r.items()
            ]
            ours.append(max(speeds, default=None))
        theirs = row["samples_per_second"][0]
        marked = graphs and not row["graph"]
        cells = ["-" if one is None else f"{one / 1000:,.0f}" for one in ours]
        ratios = ["-" if one is None or marked else f"{one / theirs:.1f}" for one in ours]
        name = f"{row['scaling']}, {row['precision']}, {row['units']}, {row['batch']:,}"
        lines.append(
            f"| {name} | {row['ranks']} | {cells[0]} | {cells[1]} | {theirs / 1000:,.0f}{'*' * marked} | "
            f"{'; '.join(ratios)} | {_range(row['efficiency'])} |"
        )
    if graphs and not all(row["graph"] for row in found):
        lines += [
            "",
            "`*` launched step by step, not in a CUDA graph: slower than torch can be, and not compared.",
        ]
    if left_out:
        lines += [
            "",
            f"{left_out} turns of torch without a CUDA graph, in settings that have turns with one, are left out.",
        ]
    return "\n".join(lines)


def goal_text(rows: Rows) -> str:
    """Whether weak scaling reaches the goal on the most ranks, and what keeps it from it."""
    weak = [r for r in rows if (r["peer"], r["scaling"], r["every"]) == ("hpc_lstm", "weak", GOAL_EVERY)]
    most = max((r["ranks"] for r in weak), default=1)
    there = [r for r in weak if r["ranks"] == most > 1 and r["efficiency"]]
    if not there:
        return ""
    transports = list(dict.fromkeys(r["transport"] for r in there))
    keys = list(dict.fromkeys((r["precision"], r["units"], r["batch"]) for r in there))
    reached = 0
    lines = []
    for precision, units, batch in keys:
        same = [_one(there, precision=precision, units=units, batch=batch, transport=t) for t in transports]
        best = max((r["efficiency"][0] for r in same if r is not None), default=0.0)
        reached += best >= GOAL
        cells = [
            "- | -" if r is None else f"{_range(r['efficiency'])} | {_lost_text(r['lost'])}" for r in same
        ]
        answer = "yes" if best >= GOAL else "no"
        lines.append(f"| {precision}, {units}, {batch:,} | {' | '.join(cells)} | {answer} |")
    lost_words = "longer steps, waiting, averaging"
    heads = " | ".join(f"{transport} | {lost_words}" for transport in transports)
    return "\n".join(
        [
            f"**Weak scaling on {most} GPUs at every = {GOAL_EVERY}**: {reached} of {len(keys)} settings reach "
            f"{GOAL:.0%} by the better transport. What a step takes longer than on one GPU, in percent of that GPU's "
            f"step, for {lost_words}:",
            "",
            f"| precision, units, batch a rank | {heads} | {GOAL:.0%} |",
            "| --- " * (2 + 2 * len(transports)) + "|",
            *lines,
        ]
    )


def _lost_text(lost: dict[str, float] | None) -> str:
    if lost is None:
        return "-"
    return ", ".join(f"{100 * lost[phase]:+.1f}" for phase in ("compute", "wait", "average"))


def model_text(models: Sequence[dict[str, Any]]) -> str:
    """What the model by one and two ranks says of the most, beside what was measured."""
    lines = []
    for one in models:
        if not one["settings"]:
            continue
        errors = [abs(s["error"]) for s in one["settings"]]
        intervals = sorted({s["every"] for s in one["settings"]})
        lines += [
            f"**The model, {one['transport']}**: efficiency on {one['ranks']} GPUs as predicted from one and two / as "
            f"measured; they differ by {_percent(statistics.median(errors))} in the median, {_percent(max(errors))} at "
            f"most. {_network_text(one)}",
            "",
            "| precision, units, batch | " + " | ".join(f"every {every}" for every in intervals) + " |",
            "| --- " * (1 + len(intervals)) + "|",
        ]
        for precision, units, batch in dict.fromkeys(
            (s["precision"], s["units"], s["batch"]) for s in one["settings"]
        ):
            cells = []
            for every in intervals:
                s = _one(one["settings"], precision=precision, units=units, batch=batch, every=every)
                cells.append(
                    "-" if s is None else f"{_percent(s['predicted'])} / {_percent(s['measured'][0])}"
                )
            lines.append(f"| {precision}, {units}, {batch:,} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).strip()


def _network_text(one: dict[str, Any]) -> str:
    parts = []
    for key, words in (("one_and_two", "By one and two"), ("all", "by all")):
        if key in one:
            network = one[key]
            rate = network["bytes_per_second"]
            bandwidth = f"{rate / 1e9:,.1f} GB/s" if rate else "no time for bytes"
            parts.append(
                f"{words}: {1e6 * network['meeting_latency_s']:.1f} µs a message of the barrier, "
                f"{1e6 * network['average_latency_s']:.1f} µs of an average, {bandwidth}"
            )
    return "; ".join(parts) + "."


def clusters_text(found: dict[str, Any]) -> str:
    """What rounds cost two clusters."""
    if not found:
        return ""
    words = {
        "alone": "without rounds",
        "waiting": "rounds that training waits for",
        "overlap": "`sync.overlap`",
    }
    gpus = f"{found['ranks']} GPU{'s' * (found['ranks'] > 1)}"
    lines = [
        f"**Two clusters of {gpus} each** that meet at a local S3 server (moto), 2 x LSTM({found['units']}), "
        f"{found['precision']}, batch {found['batch']:,} a rank, an average every {found['every']} steps and a round "
        f"every {found['round_every']} averages; each cluster between its first and its last step:",
        "",
        "| | thousand samples/s | share of the time in rounds | rounds |",
        "| --- | --- | --- | --- |",
    ]
    for way, clusters in found["ways"].items():
        speeds = " and ".join(f"{one['samples_per_second'] / 1000:,.0f}" for one in clusters)
        shares = " and ".join(_percent(one["sync_share"]) for one in clusters)
        rounds = max((one["sync"] or {}).get("round", 0) for one in clusters)
        lines.append(f"| {words[way]} | {speeds} | {shares} | {rounds or '-'} |")
    return "\n".join(lines)


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


def _one(rows: Rows, **wanted: Any) -> dict[str, Any] | None:
    return next((row for row in rows if wanted.items() <= row.items()), None)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _range(values: Sequence[float] | None) -> str:
    if values is None:
        return "-"
    middle, low, high = (100 * value for value in values)
    return f"{middle:.1f} % ({low:.1f}-{high:.1f})"


def _counts(repeats: Sequence[int]) -> str:
    return str(repeats[0]) if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"


def write_docs(path: Path, text: str) -> None:
    """Put the tables between the two marks of a page.

    Raises:
        SystemExit: it has no such marks.
    """
    page = path.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{path}: has no lines {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    write_text(path, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path, help="what scaling_gpus.py wrote")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", type=Path, help="a page with the two marks")
    options = parser.parse_args()
    summary = summarize(load(options.measured))
    if not summary["rows"]:
        raise SystemExit(f"{options.measured}: nothing was measured yet")
    text = tables(summary)
    options.results.mkdir(parents=True, exist_ok=True)
    target = options.results / "scaling_gpus.json"
    if options.measured.resolve() != target.resolve():
        shutil.copyfile(options.measured, target)
    write_text(options.results / "scaling_gpus-summary.json", json.dumps(summary, indent=1) + "\n")
    with figures.styled():
        for draw, name in ((efficiency_figure, "scaling_gpus"), (averaging_figure, "scaling_gpus-averaging")):
            figure = draw(summary["rows"])
            named = {
                label: handle
                for axes in figure.axes
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            if named:
                figure.legend(named.values(), named, loc="outside right upper")
            figures.save(figure, options.results / f"{name}.png")
    if options.docs:
        write_docs(options.docs, text)
    print(text)


if __name__ == "__main__":
    main()
