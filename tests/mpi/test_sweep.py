"""A small sweep on real ranks: killed, gone on with, refused when it is another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from launcher import InTurn, kill, launch_waiting, program, start, wait_until

SWEEP = """
[sweep]
ranks = [1, 2]
repeats = 1
steps = 8
warmup = 4
launch = "repeat"
[settings]
"data.window" = 8
"model.layers" = 1
"model.units" = 5
"train.batch_size" = 8
[axes]
"average.every" = [1, 4]
"""


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    file, folder = tmp_path / "s.toml", tmp_path / "out"
    file.write_text(SWEEP)
    sweep = ["sweep", str(file), "-o", str(folder)]
    command = program(*sweep)
    first = start(0, command)
    wait_until(lambda: len(list(folder.glob("records/*.json"))) >= 1, first)
    kill(first)
    first.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    assert len(before) < 4

    done = launch_waiting(0, command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(before)} of 4 runs were measured before" in done.stdout
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    for picture in ("scaling.png", "scaling-phases.png"):
        assert (folder / picture).stat().st_size > 10_000
    assert not list((folder / "runs").iterdir())

    rows = list(csv.DictReader((folder / "scaling.csv").open()))
    assert len(rows) == 4
    other = tmp_path / "other.toml"
    other.write_text(SWEEP.replace("steps = 8", "steps = 12"))
    asked = [[*sweep, "--json"], [*sweep, "--json", "--dry-run"], ["sweep", str(other), "-o", str(folder)]]
    told, planned, refused = InTurn(0, tmp_path / "said", asked).finish()
    outcome = json.loads(told.stdout)
    assert "4 of 4 runs were measured before" in told.stderr
    assert (outcome["missing"], outcome["failures"], outcome["folder"]) == (0, {}, str(folder))
    assert [(row["run"], row["seconds"]) for row in outcome["runs"]] == [
        (row["run"], float(row["seconds"])) for row in rows
    ]
    listed = json.loads(planned.stdout)
    assert {run["run"] for run in listed} == {row["run"] for row in rows}
    for row in rows:
        ranks, steps = int(row["ranks"]), int(row["rank_steps"])
        assert steps == 8
        assert int(row["samples"]) == ranks * steps * 8
        parts = [float(row[f"{phase}_s"]) for phase in ("preprocess", "compute", "average", "wait")]
        assert 0 < sum(parts) < 60
        assert abs(sum(parts) - float(row["seconds"])) < 1e-6
        assert (float(row["average_s"]) > 0) == (ranks == 2)
        assert row["hosts"]
        assert row["version_tensorflow"]
    record = json.loads((folder / "records" / "p0001-r00.json").read_text())
    assert len(record["busy"]["means_s"]) == record["ranks"] == 2

    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "sweep.steps (was 8, now 12)" in line


def test_a_sweep_starts_its_own_ranks(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SWEEP)
    done = launch_waiting(2, program("sweep", str(file), "-o", str(tmp_path / "out")))
    assert done.returncode == 2
    assert "call it without mpiexec or srun" in done.stderr


def test_a_run_that_fails_is_recorded_and_does_not_stop_the_others(tmp_path: Path) -> None:
    file, folder = tmp_path / "s.toml", tmp_path / "out"
    # NCCL is refused once the run looks for its GPU, not before.
    file.write_text(
        SWEEP.replace('"average.every" = [1, 4]', '"average.transport" = ["host", "nccl"]').replace(
            "ranks = [1, 2]", "ranks = [2]"
        )
    )
    done = launch_waiting(0, program("sweep", str(file), "-o", str(folder)))
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "1 run failed, the first is p0001-r00: average.transport" in line
    assert [path.name for path in (folder / "records").iterdir()] == ["p0000-r00.json"]
    (failure,) = (folder / "failures").iterdir()
    assert failure.name == "p0001-r00.json"
    reason = json.loads(failure.read_text())["reason"]
    assert reason.startswith("average.transport")
    assert f"failed: p0001-r00: {reason}" in done.stdout
    assert len(list(csv.DictReader((folder / "scaling.csv").open()))) == 1
