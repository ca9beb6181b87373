"""What is told of scaling over GPUs, of runs that were simulated: what was put in is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep_records import simulated
from test_benchmarks import benchmark

from hpc_lstm.sweep.model.jitter import Jitter
from hpc_lstm.sweep.model.simulation import Network

STEP_S, REPEATS = 2e-3, 3
NETWORK = Network(barrier_alpha_s=20e-6, alpha_s=30e-6, byte_s=1 / 10e9)


def axes(every: int, transport: str, units: int) -> dict[str, Any]:
    found = {"average.every": every, "average.transport": transport}
    return found | {"train.precision": "bfloat16", "model.units": units, "train.batch_size": 8192}


def runs() -> list[dict[str, Any]]:
    """Weak scaling on 1, 2 and 4 GPUs."""
    found, generator = [], np.random.default_rng(0)
    for every in (1, 16):
        for units, size in ((64, 200_000), (128, 800_000)):
            for ranks in (1, 2, 4):
                transport = "auto" if ranks == 1 else "nccl"
                for repeat in range(REPEATS):
                    compute = Jitter(every * STEP_S, 2e-6 * every**0.5)
                    gpus = [{"node": "n1", "gpu": "H", "gpu_uuid": f"G{rank}"} for rank in range(ranks)]
                    one = simulated(
                        *(compute, NETWORK, size, ranks, generator),
                        point=len(found),
                        repeat=repeat,
                        axes=axes(every, transport, units),
                        config={"average": {"every": every, "transport": transport}},
                        place={"kind": "gpus", "used": ranks, "shared": False, "nodes": 1},
                    )
                    one["environment"] = one["environment"] | {"ranks": gpus}
                    found.append(one)
    return found


def torch_runs() -> list[dict[str, Any]]:
    """Efficiency 0.8 on two GPUs in each repeat, whatever the card's speed in it."""
    return [
        {
            "scaling": "weak",
            "axes": {"train.precision": "bfloat16", "model.units": 128, "train.batch_size": 8192},
            "ranks": ranks,
            "repeat": repeat,
            "samples_per_second": (1e6 + 1e5 * repeat) * ranks * (0.8 if ranks == 2 else 1),
            "options": {"graph": True},
        }
        for repeat in range(REPEATS)
        for ranks in (1, 2)
    ]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the benchmark writes it; it is only read."""
    path, records = tmp_path_factory.mktemp("runs") / "measured.json", runs()
    environments = [one["environment"] for one in records]
    tables = {
        "format": "hpc_lstm scaling on GPUs",
        "version": 1,
        "peers": {},
        "unavailable": {},
        "clusters": {},
        "calls_s": [1.0],
        "torch": torch_runs(),
        "environments": environments,
        "configs": [one["config"] for one in records],
        "records": [one | {"environment": n, "config": n} for n, one in enumerate(records)],
    }
    path.write_text(json.dumps(tables))
    return path


def test_the_model_of_two_gpus_is_compared_with_four(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = benchmark("scaling_gpus_report", monkeypatch)
    summary = report.summarize(report.load(measured))
    (model,) = summary["model"]
    assert (model["transport"], model["ranks"], len(model["settings"])) == ("nccl", 4, 4)
    network = model["all"]
    assert network["meeting_latency_s"] == pytest.approx(NETWORK.barrier_alpha_s, rel=0.1)
    assert network["bytes_per_second"] == pytest.approx(1 / NETWORK.byte_s, rel=0.1)
    for one in model["settings"]:
        assert one["error"] == pytest.approx(0, abs=0.01)
    # An average of 800 kB costs a step of 2 ms 7 % on four GPUs: 2 x 20 + 4 x 30 + 1.5 x 80 us.
    worst = next(s for s in model["settings"] if (s["every"], s["units"]) == (1, 128))
    assert worst["measured"][0] == pytest.approx(2000 / 2280, abs=0.01)


def test_rows_and_tables(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = benchmark("scaling_gpus_report", monkeypatch)
    summary = report.summarize(report.load(measured))
    torch = [row for row in summary["rows"] if row["peer"] == "torch"]
    assert [row["efficiency"] for row in torch] == [(1.0, 1.0, 1.0), pytest.approx((0.8, 0.8, 0.8))]
    ours = [row for row in summary["rows"] if row["peer"] == "hpc_lstm" and row["ranks"] == 4]
    assert [row["repeats"] for row in ours] == [REPEATS] * 4
    text = report.tables(summary)
    reached = "2 of 2 settings reach 97 % or more by the better transport."
    assert f"**Weak scaling on 4 GPUs at every = 16**: {reached}" in text
    # The phases account for what a step takes longer: 32 ms for 16 steps on one GPU.
    one = next(row for row in ours if (row["units"], row["every"]) == (128, 16))
    assert 1 / (1 + sum(one["lost"].values())) == pytest.approx(one["efficiency"][0], abs=1e-3)
    assert one["lost"]["average"] == pytest.approx((4 * 30e-6 + 1.5 * 80e-6) / 32e-3, rel=0.1)
    assert "| weak, bfloat16, 128, 8,192 | 2 |" in text


def test_turns_of_torch_without_a_graph_do_not_count(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = benchmark("scaling_gpus_report", monkeypatch)
    found = report.load(measured)
    slow = {"samples_per_second": 1.0, "options": {"graph": False}}
    other = found["torch"][0]["axes"] | {"model.units": 64}
    found["torch"] += [one | slow for one in found["torch"]] + [
        one | slow | {"axes": other} for one in found["torch"] if one["ranks"] == 1
    ]
    summary = report.summarize(found)
    assert summary["torch_left_out"] == 2 * REPEATS
    with_graph, _, without = [row for row in summary["rows"] if row["peer"] == "torch"]
    assert (with_graph["graph"], with_graph["repeats"]) == (True, REPEATS)
    assert with_graph["samples_per_second"][0] == pytest.approx(1.1e6)
    assert (without["graph"], without["units"], without["samples_per_second"][0]) == (False, 64, 1.0)
    text = report.tables(summary)
    assert "| 0* | -; - |" in text
    assert "6 turns of torch without a CUDA graph" in text


def test_tables_go_between_the_marks_of_a_page(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = benchmark("scaling_gpus_report", monkeypatch)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    words = [str(measured), "--results", str(results), "--docs", str(page)]
    monkeypatch.setattr(sys, "argv", ["scaling_gpus_report.py", *words])
    report.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.BEGIN}\nMeasured on 4 x H;")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert capsys.readouterr().out.strip() in text
    names = {
        "scaling_gpus.json",
        "scaling_gpus-summary.json",
        "scaling_gpus.png",
        "scaling_gpus-averaging.png",
    }
    assert {path.name for path in results.iterdir()} == names
    assert (results / "scaling_gpus.json").read_bytes() == measured.read_bytes()
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="has no lines"):
        report.main()
    assert page.read_text() == "no marks"


def test_a_file_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = benchmark("scaling_gpus_report", monkeypatch)
    path = tmp_path / "other.json"
    path.write_text('{"format": "another", "version": 1}')
    with pytest.raises(SystemExit, match="holds no results on scaling"):
        report.load(path)
