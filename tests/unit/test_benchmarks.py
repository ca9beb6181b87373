"""What the benchmarks on scaling make of records, and what they leave alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sweep_records import record

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
    records = [record(2, 0), record(2, 1)]
    for one, means in zip(records, ([1.0, 1.2], [2.0, 2.4]), strict=True):
        one["busy"]["means_s"] = means
    assert simulate.measured_compute(records, False).means == pytest.approx([1.5, 1.8, 1.5, 1.8])
    assert simulate.measured_compute(records, True).means == pytest.approx([1.5, 1.8])
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
