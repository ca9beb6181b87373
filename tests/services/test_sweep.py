"""A sweep as jobs of a real Slurm."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from slurm_cluster import Slurm

from hpc_lstm.sweep import command

SWEEP = """
[sweep]
ranks = [1, 2]
repeats = 1
steps = 8
warmup = 4
runner = "slurm"
[settings]
"data.window" = 8
"model.layers" = 1
"model.units" = 5
"train.batch_size" = 8
[slurm]
ranks_per_node = 1
time = "10"
"""


def test_a_sweep_submits_its_runs_once_and_collects_them(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    file, folder, said = tmp_path / "s.toml", tmp_path / "out", list[str]()
    file.write_text(SWEEP)
    command.run_command(str(file), str(folder), said.append)
    assert sorted(line.partition(" as job")[0] for line in said[:2]) == [
        "p0000-r00: submitted",
        "p0001-r00: submitted",
    ]
    assert said[-1].startswith("no run is measured yet")
    jobs = json.loads((folder / "jobs.json").read_text())
    command.run_command(str(file), str(folder), said.append, wait=True)
    assert json.loads((folder / "jobs.json").read_text()) == jobs
    with (folder / "scaling.csv").open() as table:
        rows = {int(row["ranks"]): row for row in csv.DictReader(table)}
    assert {ranks: int(row["samples"]) for ranks, row in rows.items()} == {
        1: 128,
        2: 256,
    }  # one interval of 16
