"""The benchmark of scaling over GPUs, on processors: what it measures, keeps, and goes on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launcher import LIMIT_S, ROOT

from hpc_lstm.jobs.mpiexec import mpiexec_command

BENCHMARKS = ROOT / "benchmarks"
# Settings that take seconds, by their option.
SMALL = {
    "engine": "native",
    "precisions": "float32",
    "units": "4",
    "batches": "32",
    "every": "1,16",
    "windows": "3000",
    "turn-s": "0.01",
    "only": "hpc_lstm",
    "clusters-s": "0",
}


def scaling(output: Path, *more: str) -> str:
    words = [f"--{option}={value}" for option, value in SMALL.items()]
    command = [sys.executable, str(BENCHMARKS / "scaling_gpus.py"), *words]
    ran = subprocess.run(
        [*command, "--output", str(output), *more],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def names(found: dict[str, Any]) -> list[str]:
    return [record["name"] for record in found["records"]]


def test_a_second_call_measures_what_is_missing(tmp_path: Path) -> None:
    output = tmp_path / "scaling.json"
    # Ranks take longest to start: the first calls have one each.
    assert "the budget is spent" in scaling(output, "--repeats", "1", "--ranks", "1", "--budget-s", "0")
    assert names(json.loads(output.read_text())) == []
    assert "complete" in scaling(output, "--repeats", "1", "--ranks", "1")
    expected = {
        (way, repeat): {
            f"{how}-float32-4-32-hpc_lstm-{way}-{every}-r{repeat:02d}"
            for how in ("weak", "strong")
            for every in (1, 16)
        }
        for way in ("1-auto", "2-host")
        for repeat in (0, 1)
    }
    first = names(json.loads(output.read_text()))
    assert sorted(first) == sorted(expected["1-auto", 0])
    assert "complete" in scaling(output, "--repeats", "2")
    found = json.loads(output.read_text())
    assert names(found)[: len(first)] == first
    assert sorted(names(found)) == sorted(set().union(*expected.values()))
    assert len(found["calls_s"]) == 3
    for record in found["records"]:
        assert record["batch_size"] == (16 if record["scaling"] == "strong" and record["ranks"] == 2 else 32)
        assert record["interval"] * record["cycles"] == record["steps"] >= 2 * record["interval"]
        assert len(record["busy"]["means_s"]) == record["ranks"]
        assert record["seconds"] <= record["wall_s"]
        assert record["seconds"] == pytest.approx(sum(record["phase_seconds"].values()))
        if record["ranks"] == 2:  # an all-reduce; one rank alone returns within a microsecond or two
            assert record["phase_seconds"]["average"] / record["cycles"] > 5e-6
        if record["repeat"] == 0:
            assert 0 < record["loss_after"] < record["loss_before"]


def test_two_clusters_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    import two_clusters

    monkeypatch.setattr(two_clusters, "WAYS", {"overlap": "true"})
    two_clusters.write_store(tmp_path / "market.h5", 3200)
    found = two_clusters.measure_clusters(
        *(tmp_path / "market.h5", 1, mpiexec_command()),
        gpu=False,
        units=4,
        precision="float32",
        batch=4,
        epochs=2,
    )
    for one in found["ways"]["overlap"]:
        assert one["sync"]["round"] >= 2
        assert 0 < one["sync_share"] < 1
        assert one["samples_per_second"] == pytest.approx(4 * one["steps"] / one["seconds"])
