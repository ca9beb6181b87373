"""How does training scale over ranks? A ready-made sweep (`hpc-lstm sweep`) for this machine, or for one with GPUs.

    python benchmarks/scaling.py [--quick] [--output FOLDER]
    PYTHONPATH=. python3 benchmarks/scaling.py --gpu [--ranks 1,2] [--transport host,nccl] [--every 1,4,16,64]
        [--batch 2048] [--units 128] [--scaling weak|strong] [--steps 128] [--repeats 2] [--budget-s 330]

On processors: weak scaling over 1, 2 and 4 ranks of one thread each, averages every 1, 4, 16 and 64 steps, batches of
16, 64 and 256, two model sizes, 3 repeats in random order. With --gpu: one rank a GPU; one set of processes takes
all runs with the same number of ranks, repeat by repeat, since importing TensorFlow takes longer than a run.

The results go to ``results/scaling*`` (``results/scaling_gpu_*``): table, JSON and pictures, once all is measured or
the budget is spent. Those of an unfinished sweep are in its folder, written anew after each set of processes. A call
with the same --output measures only what is missing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.sweep import runner, settings
from hpc_lstm.sweep.groups import Record
from hpc_lstm.sweep.plan import plan_sweep
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.results import write_results

RESULTS = Path(__file__).resolve().parent / "results"
GPU_BUDGET_S = 330.0
DATA = {"data.features": ["close", "volume"], "data.scaling": "standard", "data.target": "log-returns"}


def on_processors(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep of this machine."""
    axes = {"average.every": [1, 4, 16, 64], "train.batch_size": [16, 64, 256], "model.units": [16, 64]}
    ranks, repeats = [1, 2, 4], options.repeats or 3
    # Ranks that share cores cannot show how the program scales: one setting of them tells what it costs.
    skip: list[dict[str, Any]] = [
        {"ranks": [4], "train.batch_size": [16, 256]},
        {"ranks": [4], "model.units": [16]},
    ]
    if options.quick:
        axes = {"average.every": [1, 16], "model.units": [16, 64]}
        ranks, repeats, skip = [1, 2], options.repeats or 2, []
    return {
        "sweep": {"ranks": ranks, "repeats": repeats, "steps": 256, "warmup": 64, "launch": "repeat"},
        "settings": DATA | {"data.window": 30},
        "axes": axes,
        "skip": skip,
    }


def on_gpus(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep of a machine with GPUs."""
    return {
        "sweep": {
            "scaling": options.scaling,
            "ranks": numbers(options.ranks),
            "repeats": options.repeats or 2,
            "steps": options.steps,
            "warmup": options.steps // 2,
            "launch": "ranks",
            "timeout_s": 90.0 + (options.budget_s or GPU_BUDGET_S),
            # Threads of a rank that drives a GPU do not compute; they must not be fewer than its host needs.
            "threads": max(1, len(os.sched_getaffinity(0)) // max(numbers(options.ranks))),
        },
        "settings": DATA,
        "axes": {
            "average.every": numbers(options.every),
            "average.transport": options.transport.split(","),
            "train.batch_size": numbers(options.batch),
            "model.units": numbers(options.units),
        },
    }


def numbers(text: str) -> list[int]:
    """The numbers in "1,4,16"."""
    return [int(part) for part in text.split(",")]


def gpus_of(records: list[Record]) -> str:
    """Which GPU each rank had, by number of ranks."""
    if not all(place["gpu_uuid"] for record in records for place in record["environment"]["ranks"]):
        return "No GPU was seen on some rank: these numbers are of processors."
    lines = []
    for ranks in sorted({record["ranks"] for record in records}):
        places = [r["environment"]["ranks"] for r in records if r["ranks"] == ranks]
        for place in [one for i, one in enumerate(places) if one not in places[:i]]:
            each = "; ".join(f"rank {n}: {p['gpu']} {p['gpu_uuid']}" for n, p in enumerate(place))
            lines.append(f"GPUs, {ranks} rank{'s' * (ranks > 1)}: {each}")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer settings, two repeats")
    parser.add_argument("--repeats", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, help="the sweep's folder; default: one in the system's temporary"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where table and pictures go")
    parser.add_argument("--launcher", default="", help='such as "mpirun --allow-run-as-root"')
    parser.add_argument("--budget-s", type=float, default=None, help="seconds after which no run is begun")
    parser.add_argument("--gpu", action="store_true", help="one rank a GPU")
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--transport", default="host,nccl")
    parser.add_argument("--every", default="1,4,16,64")
    parser.add_argument("--batch", default="2048")
    parser.add_argument("--units", default="128")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--scaling", choices=("weak", "strong"), default="weak")
    options = parser.parse_args()
    name = f"scaling_gpu_{options.scaling}" if options.gpu else "scaling"
    tables = on_gpus(options) if options.gpu else on_processors(options)
    if options.launcher:
        tables["local"] = {"launcher": shlex.split(options.launcher)}
    output = options.output or Path(tempfile.mkdtemp(prefix=f"hpc_lstm-{name}-"))
    folder, where = SweepFolder(output.absolute()), f"benchmarks/{name}"
    sweep, base = settings.parse_sweep(tables, where, Path.cwd())
    planned = plan_sweep(sweep, base, where)
    names = [run.name for run in planned.runs]
    before = len(folder.finished(names))

    def write(to: Path, model: bool) -> str:
        records = folder.load_records(names)
        if len(records) == before:
            return f"no run was measured, {options.results} stays as it is"
        to.mkdir(parents=True, exist_ok=True)
        summary = write_results(
            *(records, to, len(names) - len(records), name),
            failed=len(folder.load_failures(names)),
            fewest=planned.fewest,
            model=model,
        ).text
        if options.gpu:
            summary += f"\n\n{gpus_of(records)}"
        return f"{summary}\n\nwrote {to / name}.csv, .h5, .json, .png"

    budget = options.budget_s or (GPU_BUDGET_S if options.gpu else None)
    try:
        runner.run_sweep(
            sweep,
            base,
            where,
            folder,
            lambda line: print(line, flush=True),
            budget_s=budget,
            after=lambda: write(folder.path, False),
        )
    except InputError as error:  # the others were measured
        print(f"\n{write(options.results, True)}")
        raise SystemExit(f"{where}: {error}") from None
    except HpcLstmError as error:
        raise SystemExit(f"{where}: {error}") from None
    else:
        print(f"\n{write(options.results, True)}")
    finally:
        print(f"the runs, and the results of those that are done, are in {folder.path}")


if __name__ == "__main__":
    main()
