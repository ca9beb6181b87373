"""How does training scale over the GPUs of one host, beside torch's DistributedDataParallel?

    PYTHONPATH=. python benchmarks/scaling_gpus.py --budget-s 500 [--output scaling_gpus.json]   # on GPUs
    PYTHONPATH=. python benchmarks/scaling_gpus.py --engine native --precisions float32 ...      # to try it
    python benchmarks/scaling_gpus_report.py scaling_gpus.json                        # tables, model, pictures

2 x LSTM, 60 rows of 5 features, in bfloat16 and float32, 128 and 64 units, 8,192 and 1,024 windows a rank (weak
scaling) or 8,192 of all ranks together (strong). On each number of GPUs weights are averaged every 1, 4, 16 and 64
steps by each transport that there is: NCCL, host memory, MPI where it takes GPU memory. torch averages gradients
every step, by NCCL within a CUDA graph of the whole step, in bfloat16 by autocast or in TF32. Two clusters of half
the GPUs each train one model that they merge at a local S3 server: without rounds, with rounds, and with rounds that
overlap.

The ranks of both peers, for each number of ranks, are started once and stay. A repeat is all turns of a setting in a
random order, so that a drift affects all alike; a turn begins with steps that do not count. Settings come in the order
of their value, and no repeat is begun that would end after ``--budget-s``. The file is written after each repeat, and a
call with the same ``--output`` measures what is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from gpu_scaling.measuring import Measuring
from gpu_scaling.peers import Peers
from gpu_scaling.plan import OURS, TORCH, plan
from gpu_scaling.results import Results

from hpc_lstm.errors import InputError
from hpc_lstm.parallel.gpu_discovery import installed_gpus

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import data


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def words(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--output", type=Path, default=Path("scaling_gpus.json"), help="the file of results")
    parser.add_argument(
        "--budget-s", type=float, default=3600.0, help="no repeat is begun that would end later"
    )
    parser.add_argument(
        "--engine", choices=("fused", "native"), default="fused", help="native: on processors"
    )
    parser.add_argument("--ranks", type=numbers, help="default: 1, 2, 4, 8, as many GPUs as there are")
    parser.add_argument("--precisions", type=words, default=["bfloat16", "float32"])
    parser.add_argument("--units", type=numbers, default=[128, 64])
    parser.add_argument("--batches", type=numbers, default=[8192, 1024])
    parser.add_argument("--every", type=numbers, default=[1, 4, 16, 64])
    parser.add_argument("--transports", type=words, default=["nccl", "host", "mpi"], help="of averages")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--first-repeats", type=int, default=3, help="of all but the first settings at first")
    parser.add_argument("--turn-s", type=float, default=0.2, help="seconds of a turn, at least")
    parser.add_argument("--windows", type=int, default=2**18, help="to train on, of all ranks")
    parser.add_argument("--clusters-windows", type=int, default=4_000_000, help="of the two clusters' store")
    parser.add_argument("--clusters-s", type=float, default=8.0, help="that they train, about; 0: do not")
    parser.add_argument("--only", type=words, default=[OURS, TORCH], help="peers")
    parser.add_argument("--python", default="", help="interpreters, by comma: PATH, or PEER=PATH")
    parser.add_argument("--mpiexec")
    parser.add_argument("--work", type=Path, help="work files; default: a temporary folder")
    options = parser.parse_args()
    options.begun = time.monotonic()
    gpus = len(installed_gpus())
    if options.ranks is None:
        options.ranks = [n for n in (1, 2, 4, 8) if n <= gpus] if options.engine == "fused" else [1, 2]
    if options.engine == "fused" and gpus < max(options.ranks, default=1):
        parser.error(
            f"{gpus} GPUs for {max(options.ranks, default=1)} ranks; --engine native runs on processors"
        )
    if options.engine == "native" and options.precisions != ["float32"]:
        parser.error("--engine native computes in float32 alone: --precisions float32")
    return options


def main() -> None:
    """Measure what is missing, and write."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the peers are ended, too
    root = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    job = {
        "units": options.units[0],
        "more_units": options.units[1:],
        "dropout": 0.1,
        "learning_rate": 1e-3,
        "cores": len(os.sched_getaffinity(0)),
        "gpu": options.engine == "fused",
        "windows": options.windows,
    }
    gpus = sorted({gpu.name for gpu in installed_gpus()})
    kept = {key: value for key, value in job.items() if key != "cores"}
    results = Results(options.output, {"engine": options.engine, "gpus": gpus, **kept})
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        print(f"{data.write(work, job)} windows", flush=True)
        try:
            peers = Peers(options, work.resolve(), results)
        except InputError as error:
            raise SystemExit(f"{error}, or name it by --mpiexec") from None
        try:
            measuring = Measuring(options, work.resolve(), results, peers)
            peers.start()
            for cell, repeats in plan(options):
                if not (measuring.clusters() if cell is None else measuring.cell(cell, repeats)):
                    print("the budget is spent; the same call goes on", flush=True)
                    break
            else:
                print("complete", flush=True)
        finally:
            peers.end()
            results.write()
            print(f"wrote {options.output}", flush=True)


if __name__ == "__main__":
    main()
