"""What the benchmarks on scaling make of records, and what they leave alone."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sweep_records import record

from hpc_lstm.errors import InputError
from hpc_lstm.sweep import records
from hpc_lstm.sweep.local import LaunchError
from hpc_lstm.sweep.records import SweepFolder
from hpc_lstm.sweep.results import write_results

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    about = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert about is not None
    assert about.loader is not None
    module = importlib.util.module_from_spec(about)
    monkeypatch.setitem(sys.modules, about.name, module)  # where its dataclasses look for their types
    about.loader.exec_module(module)
    return module


def test_drift_between_repeats_is_no_imbalance(monkeypatch: pytest.MonkeyPatch) -> None:
    simulate = benchmark("simulate", monkeypatch)
    drifted = [record(2, 0), record(2, 1)]
    for one, means in zip(drifted, ([1.0, 1.2], [2.0, 2.4]), strict=True):
        one["busy"]["means_s"] = means
    assert simulate.measured_compute(drifted, False).means == pytest.approx([1.5, 1.8, 1.5, 1.8])
    assert simulate.measured_compute(drifted, True).means == pytest.approx([1.5, 1.8])
    alone = [record(1, repeat) for repeat in range(2)]
    alone[1]["busy"]["means_s"] = [9.5]
    assert np.ptp(simulate.measured_compute(alone, False).means) == 0


def test_nothing_to_extrapolate_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate = benchmark("simulate", monkeypatch)
    write_results([record(1, batch_size=16), record(2, point=1, batch_size=8)], tmp_path, model=False)
    monkeypatch.setattr(sys, "argv", ["simulate.py", "--input", str(tmp_path / "scaling.json")])
    monkeypatch.setattr(simulate, "write_results", None)
    simulate.main()
    said = capsys.readouterr().out
    assert "nothing to extrapolate: a rank's batch changes" in said
    assert said.count("\n") == 1


def scaled(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, ends: BaseException | None
) -> None:
    """Take the benchmark as far as its first two runs; then its sweep ends as said."""

    def run_sweep(sweep: object, base: dict, where: str, at: SweepFolder, log: object, **more: Any) -> None:
        (at.path / "records").mkdir(parents=True, exist_ok=True)
        for ranks, name in enumerate(("p0000-r00", "p0001-r00"), 1):
            one = record(ranks, point=ranks - 1) | {"format": records.FORMAT, "version": records.VERSION}
            at.record_file(name).write_text(json.dumps(one))
        more["after"]()
        if ends is not None:
            raise ends

    monkeypatch.setattr(scaling.runner, "run_sweep", run_sweep)
    words = ["--quick", "--output", str(folder / "sweep"), "--results", str(folder / "results")]
    monkeypatch.setattr(sys, "argv", ["scaling.py", *words])
    scaling.main()


@pytest.mark.parametrize(
    ("ends", "replaced"),
    [
        (None, True),
        (InputError("a run was refused"), True),
        (KeyboardInterrupt(), False),
        (LaunchError("died"), False),
    ],
)
def test_results_are_replaced_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: BaseException | None, replaced: bool
) -> None:
    scaling = benchmark("scaling", monkeypatch)
    committed = tmp_path / "results" / "scaling.csv"
    committed.parent.mkdir()
    committed.write_text("committed")
    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        scaled(scaling, monkeypatch, tmp_path, ends)
    assert (committed.read_text() != "committed") == replaced
    assert (tmp_path / "sweep" / "scaling.csv").exists()
    committed.write_text("committed")
    scaled(scaling, monkeypatch, tmp_path, None)  # nothing new
    assert committed.read_text() == "committed"


def test_engines_on_gpus_are_shown_as_in_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = benchmark("gpu_engines", monkeypatch)

    def case(units: int, batch: int, failed: tuple[str, ...] = (), **rates: list[float]) -> dict[str, Any]:
        sizes = {"precision": "bfloat16", "units": units, "batch": batch}
        return {**sizes, "samples_per_s": rates, "failed": dict.fromkeys(failed, "why")}

    cases = [
        case(64, 64, fused=[3e5, 4e5, 5e5], torch=[1.6e5]),
        case(64, 1024, fused=[4e6], torch=[8e5]),
        case(512, 64, fused=[5.8e4], failed=("torch",)),
    ]
    assert engines.table(cases).splitlines() == [
        "| precision | units | batch 64: fused / torch | 1,024 |",
        "| --- | --- | --- | --- |",
        "| bfloat16 | 64 | 400 / 160 (2.5) | 4,000 / 800 (5.0) |",
        "| bfloat16 | 512 | 58 / - |  |",
    ]
    kept = json.loads((BENCHMARKS / "results" / "gpu_engines.json").read_text())["cases"]
    assert engines.table(kept).count("\n") == 1 + len({(one["precision"], one["units"]) for one in kept})


def test_peers_are_compared_in_the_same_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = benchmark("peers", monkeypatch)

    def row(seconds: float) -> dict[str, Any]:
        return {"wall_s": [seconds], "cpu_s": [seconds], "samples_per_s": [round(1000 / seconds)]}

    case = {
        "hpc_lstm, float32": row(2.0),
        "torch DDP, TF32": row(3.0),
        "hpc_lstm, bfloat16": row(0.5),
        "torch DDP, bfloat16": row(2.0),
        "torch DDP, float32": {},
    }
    peers.compare(case)
    found = {name: one.get("hpc_lstm_is_times_as_fast", {}).get("median") for name, one in case.items()}
    assert list(found.values()) == [1.0, 1.5, 1.0, 4.0, None]
    assert peers.overview({"1 ranks, batch 64": case, "2 ranks, batch 64": {}}).splitlines()[2:5] == [
        "| hpc_lstm, float32 | 500 | not measured |",
        "| torch DDP, TF32 | 333 | not measured |",
        "| hpc_lstm, bfloat16 | 2,000 | not measured |",
    ]
    on_cpus = {"hpc_lstm": row(1.0), "hpc_lstm, average.every = 1": row(2.0), "Horovod, gloo": row(5.0)}
    peers.compare(on_cpus)
    assert on_cpus["Horovod, gloo"]["hpc_lstm_is_times_as_fast"]["median"] == 5.0


def test_steps_of_a_gpu_are_cut_at_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = benchmark("gpu_steps", monkeypatch)
    trace, now = [], 0.0
    for step in range(6):
        for name, took in (
            ("head", 2.0),
            ("multiply_columns", 6.0),
            ("multiply_columns", 7.0),
            ("adam_at_once", 5.0),
        ):
            trace.append({"cat": "kernel", "name": name, "ts": now, "dur": took})
            now += took + 0.5
        if step == 2:  # the end of a call
            trace.append({"cat": "kernel", "name": "mean_loss", "ts": now, "dur": 1.0})
            now += 100.0
    trace.append({"cat": "cpu_op", "name": "launch", "ts": 0.0, "dur": 1.0})
    kernels = steps.kernels_of({"traceEvents": trace[::-1]})
    assert len(kernels) == 25
    assert len(steps.steps_of(kernels)) == 4
    assert steps.medians(kernels) == {
        "head": 2.0,
        "multiply_columns": 6.0,
        "multiply_columns 2": 7.0,
        "adam_at_once": 5.0,
        "step": 22.0,
    }
    assert steps.beginnings(kernels) == {
        "head": 0.5,
        "multiply_columns": 3.0,
        "multiply_columns 2": 9.5,
        "adam_at_once": 17.0,
    }
