"""Does the model of scaling hold? Ranks simulated message by message, against measured runs and against the model.

    python benchmarks/simulate.py [--input results/scaling.json] [--ranks 16,128,1024] [--draws 20]
                                  [--latency-us X] [--bandwidth-gb-s Y]

Three questions, from the records of a sweep (`scaling.py`, `hpc-lstm sweep`):

1. Does the simulation agree with the measured cycles of 1, 2 and more ranks? Once with each number of ranks' own
   measured compute times, and once with those of one rank, which knows nothing of what two ranks do to each other.
2. Does the model's expected maximum agree with simulated ranks drawn from the same distribution?
3. Do ranks drawn from the measured times themselves, whose tail ends with the slowest cycle seen, say the same?

Intervals are 95 %: of the model by bootstrap over repeats, of the simulation over resampled fits and seeds.
--latency-us and --bandwidth-gb-s put the numbers of another network in the place of the fitted ones.
Results go to ``results/simulate.json``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import describe, write_results

from hpc_lstm.sweep.groups import Group, Record, group_records
from hpc_lstm.sweep.model import fit as fitting
from hpc_lstm.sweep.model.extrapolation import extrapolatable
from hpc_lstm.sweep.model.fit import Fit, Setting
from hpc_lstm.sweep.model.simulation import MeasuredCompute, Network, simulate
from hpc_lstm.sweep.results import load_records
from hpc_lstm.sweep.summary import interval_text

RESULTS = Path(__file__).resolve().parent / "results"
CYCLES = 200
# Of a simulated run at many ranks; the mean over cycles of so many ranks is steady enough.
CYCLES_MANY = 60


def measured_compute(records: list[Record], own: bool) -> MeasuredCompute:
    """Times as in these records; ``own``: each simulated rank is one of the first record's, at the repeats' mean.

    Otherwise the ranks of all repeats are drawn from, each relative to its run's mean: what a machine drifts from one
    repeat to the next, it does for all ranks alike, which is no imbalance.
    """
    means = np.array([record["busy"]["means_s"] for record in records])
    quantiles = np.mean([record["busy"]["quantiles_s"] for record in records], axis=0)
    if not own:
        means *= means.mean() / means.mean(axis=1, keepdims=True)
    return MeasuredCompute(means.mean(axis=0) if own else means.ravel(), quantiles)


def check_measured(groups: list[Group], fitted: Fit, generator: np.random.Generator) -> list[dict[str, Any]]:
    """Simulated over measured cycles, a row a setting and number of ranks."""
    found = []
    for one in groups:
        for ranks, records in one.by_ranks.items():
            cycle = float(np.mean([r["seconds"] / r["cycles"] for r in records]))
            sent = records[0]["averaged_bytes"] if fitting.averages_every_cycle(records[0]) else 0
            row = {"axes": one.axes, "ranks": ranks, "shared": ranks not in one.unshared, "measured_s": cycle}
            sources = {"own": measured_compute(records, True)}
            if 1 in one.unshared and ranks > 1:
                sources["one_rank"] = measured_compute(one.unshared[1], False)
            for name, compute in sources.items():
                outcome = simulate(compute, fitted.network, sent, ranks, CYCLES, generator)
                row[f"simulated_{name}_s"] = outcome.cycle_s
                row[f"error_{name}"] = outcome.cycle_s / cycle - 1
            found.append(row)
    return found


def with_network(fitted: Fit, options: argparse.Namespace) -> Fit:
    """The fit with the latency and bandwidth that the user gives, if any."""
    network = fitted.network
    if options.latency_us is not None:
        network = replace(network, barrier_alpha_s=options.latency_us / 1e6, alpha_s=options.latency_us / 1e6)
    if options.bandwidth_gb_s is not None:
        network = replace(network, byte_s=1 / (options.bandwidth_gb_s * 1e9))
    return replace(fitted, network=network)


def simulated_efficiency(
    setting: Setting, network: Network, ranks: int, compute: Any, generator: np.random.Generator
) -> float:
    """One rank's cycle over a simulated one of many ranks."""
    one = setting.one_rank_s or setting.jitter.mean
    outcome = simulate(compute, network, setting.averaged_bytes, ranks, CYCLES_MANY, generator)
    return one / outcome.cycle_s


def compare(groups: list[Group], fitted: Fit, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Model and simulation at many ranks, a row a setting and number of ranks."""
    ranks = [int(part) for part in options.ranks.split(",")]
    names = [setting.group.name for setting in extrapolatable(fitted)]
    generator = np.random.default_rng(1)

    def model(one: Fit) -> np.ndarray:
        one, settings = with_network(one, options), {s.group.name: s for s in one.settings}
        return np.concatenate([one.efficiency(settings[name], ranks) for name in names])

    def simulated(one: Fit) -> np.ndarray:
        one, settings = with_network(one, options), {s.group.name: s for s in one.settings}
        values = []
        for name in names:
            setting = settings[name]
            records = setting.group.unshared[max(setting.group.unshared)]
            for n in ranks:
                for compute in (setting.jitter, measured_compute(records, False)):
                    values.append(simulated_efficiency(setting, one.network, n, compute, generator))
        return np.array(values)

    modelled = fitting.bootstrap(groups, fitted, model, pooled=False)
    drawn = fitting.bootstrap(groups, fitted, simulated, pooled=False, draws=options.draws)
    rows = []
    for number, name in enumerate(names):
        for place, n in enumerate(ranks):
            at = number * len(ranks) + place
            row: dict[str, Any] = {"settings": name, "ranks": n}
            for kind, one in (
                ("model", modelled[at]),
                ("simulated", drawn[2 * at]),
                ("simulated_measured_times", drawn[2 * at + 1]),
            ):
                row[kind] = [one.value, one.low, one.high]
            rows.append(row)
    return rows


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, default=RESULTS / "scaling.json")
    parser.add_argument("--ranks", default="16,128,1024")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--latency-us", type=float, default=None)
    parser.add_argument("--bandwidth-gb-s", type=float, default=None)
    options = parser.parse_args()
    groups = group_records(load_records(options.input))
    fitted = fitting.fit_model(groups)
    if fitted is None:
        print(f"{options.input}: no model to check. {fitting.why_no_model(groups)}")
        return
    if not extrapolatable(fitted):
        print(f"{options.input}: nothing to extrapolate: a rank's batch changes with the number of ranks")
        return
    checked = check_measured(groups, fitted, np.random.default_rng(0))
    print(
        "Simulated against measured cycles, simulated / measured - 1, median (least to most) over settings:"
    )
    errors: dict[str, Any] = {}
    for ranks in sorted({row["ranks"] for row in checked}):
        for source, words in (("own", "own compute times"), ("one_rank", "compute times of one rank")):
            found = [
                row[f"error_{source}"]
                for row in checked
                if row["ranks"] == ranks and f"error_{source}" in row
            ]
            if found:
                mark = (
                    " (ranks shared cores)"
                    if any(r["shared"] for r in checked if r["ranks"] == ranks)
                    else ""
                )
                errors[f"{ranks} ranks, {words}"] = [median(found), min(found), max(found)]
                print(
                    f"  {ranks} ranks, {words}{mark}: {median(found):+.1%} ({min(found):+.1%} to {max(found):+.1%})"
                )
    rows = compare(groups, fitted, options)
    width = max(len(row["settings"]) for row in rows)
    print(
        f"\nEfficiency at many ranks:\n{'settings':<{width}} {'ranks':>6} {'model':>24} {'simulated':>24}",
        end="",
    )
    print(f" {'from measured times':>24}")
    for row in rows:
        cells = [interval_text(*row[kind]) for kind in ("model", "simulated", "simulated_measured_times")]
        print(f"{row['settings']:<{width}} {row['ranks']:>6,} " + " ".join(f"{cell:>24}" for cell in cells))
    ratios = [row["simulated"][0] / row["model"][0] for row in rows]
    print(f"\nsimulated over model: median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    write_results(
        "simulate",
        {
            "machine": describe(),
            "input": options.input.name,
            "measured": errors,
            "cycles": checked,
            "many_ranks": rows,
            "simulated_over_model": [median(ratios), min(ratios), max(ratios)],
        },
    )


if __name__ == "__main__":
    main()
