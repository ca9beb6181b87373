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
