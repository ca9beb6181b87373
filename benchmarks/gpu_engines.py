"""How fast is a training step on a GPU? Samples a second of the engines beside torch, for several sizes.

    python benchmarks/engines.py --gpu [--units 64,128] [--batches 64,1024,8192] [--precisions bfloat16,float32]
                                       [--only fused,torch,keras] [--turns 3]

2 x LSTM, 60 rows of 5 features, dropout 0.1 after each layer, dense output, mean squared error, Adam: the whole step,
on batches that lie ready on the GPU. Every peer is a process of its own; they take turns, each at least a second of
steps back to back, so that the card's clock is that of sustained work. Peers in their best settings:

    fused    this package's kernels, 16 steps a CUDA graph (fewer where batches are large)
    torch    torch.nn.LSTM, which calls cuDNN: forward, backward and fused Adam in one CUDA graph; in bfloat16 (by
             autocast or with weights in bfloat16, whichever is faster), or in TF32 where ``fused`` computes in float32
    keras    this package's Keras engine (TensorFlow, cuDNN; TF32)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write_results

ROWS, FEATURES, LAYERS, DROPOUT = 60, 5, 2, 0.1
COLUMNS = ["open", "high", "low", "close", "volume"]
LEAST_S = 1.0
Runner = Callable[[int], None]


def engine_class(name: str) -> type[Any]:
    """What trains on the GPU: "fused" is also the name of engines on CPUs."""
    if name == "keras":
        from hpc_lstm.model.engines.keras import KerasEngine

        return KerasEngine
    from hpc_lstm.model.engines.cuda.engine import CudaEngine

    return CudaEngine


def ours(engine: str, units: int, batch: int, precision: str) -> Runner:
    """Steps of one of this package's engines."""
    from hpc_lstm import config
    from hpc_lstm.cuda.device import Device

    settings = config.parse(
        {
            "data": {"store": "none", "window": ROWS, "features": COLUMNS},
            "model": {"units": units, "layers": LAYERS, "dropout": DROPOUT},
            "train": {"batch_size": batch, "engine": engine, "precision": precision},
        },
        "benchmark",
    )
    made = engine_class(engine)(settings)
    count = made.steps_per_call
    generator, device = np.random.default_rng(0), Device()
    inputs = device.to_device(generator.normal(size=(count, batch, ROWS, FEATURES)).astype(np.float32))
    targets = device.to_device(generator.normal(size=(count, batch, 1)).astype(np.float32))

    def run(steps: int) -> None:
        for _ in range(-(-steps // count)):
            loss = made.step(inputs, targets, 1e-3)
        float(loss)

    run.__dict__["count"] = count
    return run


def torch_steps(units: int, batch: int, precision: str) -> Runner:
    """Steps of the same network in torch, as one CUDA graph: in bfloat16 the faster of two ways.

    cuDNN copies weights that are bfloat16 themselves into one piece at every step; autocast rounds float32 ones.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    ways = [False, True] if precision == "bfloat16" else [False]
    runners = [torch_graph(units, batch, precision, autocast=autocast) for autocast in ways]
    seconds = []
    for run in runners:
        run(3)
        begin = time.perf_counter()
        run(10)
        seconds.append(time.perf_counter() - begin)
    return runners[int(np.argmin(seconds))]


def torch_graph(units: int, batch: int, precision: str, *, autocast: bool) -> Runner:
    """Steps in torch, with weights in float32 that are rounded at every step, or in the precision itself."""
    import torch

    kind = torch.bfloat16 if precision == "bfloat16" and not autocast else torch.float32
    lstm = torch.nn.LSTM(FEATURES, units, LAYERS, dropout=DROPOUT).to("cuda", kind)
    lstm.flatten_parameters()
    dense, drop = torch.nn.Linear(units, 1).to("cuda"), torch.nn.Dropout(DROPOUT)
    optimizer = torch.optim.Adam(
        [*lstm.parameters(), *dense.parameters()], lr=1e-3, fused=True, capturable=True
    )
    inputs = torch.randn(ROWS, batch, FEATURES, device="cuda", dtype=kind)
    targets = torch.randn(batch, 1, device="cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            outputs, _ = lstm(inputs)
        loss = ((dense(drop(outputs[-1]).float()) - targets) ** 2).mean()
        loss.backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def run(steps: int) -> None:
        for _ in range(steps):
            graph.replay()
        torch.cuda.synchronize()

    run.keeps = step  # type: ignore[attr-defined]  # the graph reads weights and batch, and keeps neither
    return run


def work(peer: str) -> None:
    """A peer's process: a case a line, JSON, then "go" for each turn; seconds a step are the answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    run: Runner | None = None
    steps = 1
    for line in sys.stdin:
        try:
            if line.strip() == "go":
                assert run is not None
                begin = time.perf_counter()
                run(steps)
                answer: Any = (time.perf_counter() - begin) / steps
            else:
                run = None
                units, batch, precision = json.loads(line)
                run = (
                    torch_steps(units, batch, precision)
                    if peer == "torch"
                    else ours(peer, units, batch, precision)
                )
                steps = getattr(run, "count", 1)
                run(3 * steps)
                begin = time.perf_counter()
                run(10 * steps)
                each = (time.perf_counter() - begin) / 10
                steps *= max(10, int(LEAST_S / each))
                answer = "ready"
        except Exception as error:  # a size that a peer cannot do is an answer
            run, answer = None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(json.dumps(answer), file=answers, flush=True)


class Peer:
    """A peer's process, of this program or another one that calls ``main``."""

    def __init__(self, name: str, program: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, program, "--work", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            print(line, file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline() or '"the process ended"')
        except BrokenPipeError:
            return "the process ended"


def card() -> str:
    """The GPU's name; ends the program where there is none."""
    if shutil.which("nvidia-smi") is None:
        raise SystemExit("no nvidia-smi, and so no GPU to measure on")
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()[0]


def table(cases: list[dict[str, Any]]) -> str:
    """What was measured as docs/fused-engine.md has it: a row for each number of units, thousand samples/s.

    Of each batch the peers' medians in the order in which they were measured, and how many times as fast as the second
    the first is.
    """
    batches = list(dict.fromkeys(case["batch"] for case in cases))
    peers = list(dict.fromkeys(name for case in cases for name in (*case["samples_per_s"], *case["failed"])))
    columns = [f"batch {batches[0]:,}: {' / '.join(peers)}", *(f"{batch:,}" for batch in batches[1:])]
    lines = [f"| precision | units | {' | '.join(columns)} |", "| --- " * (2 + len(batches)) + "|"]
    for precision, units in dict.fromkeys((case["precision"], case["units"]) for case in cases):
        row = {
            case["batch"]: case for case in cases if (case["precision"], case["units"]) == (precision, units)
        }
        cells = [cell(row[batch]["samples_per_s"], peers) if batch in row else "" for batch in batches]
        lines.append(f"| {precision} | {units} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(rates: dict[str, list[float]], peers: list[str]) -> str:
    """All peers' medians at one size, in thousand samples/s, "-" where there is none."""
    medians = [statistics.median(rates[name]) / 1e3 if rates.get(name) else None for name in peers]
    text = " / ".join("-" if one is None else f"{one:,.0f}" for one in medians)
    if len(medians) > 1 and medians[0] and medians[1]:
        text += f" ({medians[0] / medians[1]:.1f})"
    return text


def main(program: str = __file__, **defaults: Any) -> None:
    """Measure, as the command line says.

    Args:
        program: of the peers' processes.
        defaults: other ones than this program's.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", action="store_true", help="as engines.py passes it")
    parser.add_argument("--units", default="64,128,256,512")
    parser.add_argument("--batches", default="64,1024,8192")
    parser.add_argument("--precisions", default="bfloat16,float32")
    parser.add_argument("--only", default="fused,torch,keras")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--results", default="gpu_engines", help="name of the file in benchmarks/results")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.set_defaults(**defaults)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
    peers = {name: Peer(name, program) for name in options.only.split(",")}
    found: dict[str, Any] = {"machine": {**describe(), "gpu": card()}, "turns": options.turns, "cases": []}
    for precision in options.precisions.split(","):
        print(f"\n{precision}: samples/s, median of {options.turns} turns (spread)")
        for units in map(int, options.units.split(",")):
            for batch in map(int, options.batches.split(",")):
                ready = {
                    name: peer.ask(json.dumps([units, batch, precision])) for name, peer in peers.items()
                }
                times: dict[str, list[float]] = {
                    name: [] for name, answer in ready.items() if answer == "ready"
                }
                for _ in range(options.turns):
                    for name in times:
                        answer = peers[name].ask("go")
                        if isinstance(answer, float):
                            times[name].append(answer)
                rates = {name: [batch / one for one in each] for name, each in times.items() if each}
                case = {"precision": precision, "units": units, "batch": batch, "samples_per_s": rates}
                case["failed"] = {name: answer for name, answer in ready.items() if answer != "ready"}
                found["cases"].append(case)
                text = "  ".join(
                    f"{name} {statistics.median(each):,.0f} ({max(each) / min(each) - 1:.1%})"
                    for name, each in rates.items()
                )
                print(f"units {units:4} batch {batch:5}  {text}  {case['failed'] or ''}", flush=True)
                write_results(options.results, found)
    print("\n" + table(found["cases"]))


if __name__ == "__main__":
    main()
