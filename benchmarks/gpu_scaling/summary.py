"""What the tables and pictures show, of what was measured: rows by setting, and the model beside them."""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np

from hpc_lstm.sweep.groups import Group, group_records, median_range
from hpc_lstm.sweep.model import fit as fitting
from hpc_lstm.sweep.summary import share

TRANSPORTS = ("nccl", "mpi", "host")
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
            for group in group_records(by_transport(of_scaling, transport), 1):
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
    groups = group_records(weak, 1)
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
