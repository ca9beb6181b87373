"""The summary as Markdown: efficiency, speed beside torch, where efficiency is lost, the model, two clusters."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from gpu_scaling.summary import Rows

# Settings are counted that reach this efficiency with an average every so many steps.
THRESHOLD, EVERY = 0.97, 16


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
        lost_table(rows),
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
        f"averages every {EVERY} steps, and every step, by the faster transport.",
        "",
        f"| scaling, precision, units, batch | GPUs | every {EVERY} | every 1 | torch | times as fast as torch: "
        f"every {EVERY}; every 1 | torch's efficiency |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    graphs = any(row["graph"] for row in found)
    for row in found:
        same = {key: row[key] for key in ("scaling", "precision", "units", "batch", "ranks")}
        ours = []
        for every in (EVERY, 1):
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


def lost_table(rows: Rows) -> str:
    """The efficiency of weak scaling on the most ranks, and what is lost to what."""
    weak = [r for r in rows if (r["peer"], r["scaling"], r["every"]) == ("hpc_lstm", "weak", EVERY)]
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
        reached += best >= THRESHOLD
        cells = [
            "- | -" if r is None else f"{_range(r['efficiency'])} | {_lost_text(r['lost'])}" for r in same
        ]
        answer = "yes" if best >= THRESHOLD else "no"
        lines.append(f"| {precision}, {units}, {batch:,} | {' | '.join(cells)} | {answer} |")
    lost_words = "longer steps, waiting, averaging"
    heads = " | ".join(f"{transport} | {lost_words}" for transport in transports)
    return "\n".join(
        [
            f"**Weak scaling on {most} GPUs at every = {EVERY}**: {reached} of {len(keys)} settings reach "
            f"{100 * THRESHOLD:.0f} % or more by the better transport. What a step takes longer than on one GPU, in "
            f"percent of that GPU's step, for {lost_words}:",
            "",
            f"| precision, units, batch a rank | {heads} | {100 * THRESHOLD:.0f} % or more |",
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
