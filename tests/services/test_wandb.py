"""Weights & Biases takes a run's curves, with the package itself and without its server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The records of an offline run: messages of wandb's own in the log format of LevelDB
# (https://github.com/google/leveldb/blob/main/doc/log_format.md), after a header of 7 bytes.
READ = """
import json, struct, sys
from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, FULL, FIRST, MIDDLE, LAST = 32768, 7, 1, 2, 3, 4

def records(data):
    at, parts = HEADER, []
    while at + HEADER <= len(data):
        room = BLOCK - at % BLOCK
        if room < HEADER:
            at += room
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + HEADER])
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts.clear()
            yield record

def table(items):
    return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}

points, settings, name = [], {}, ""
for record in records(open(sys.argv[1], "rb").read()):
    kind = record.WhichOneof("record_type")
    if kind == "history":
        points.append(table(record.history.item))
    elif kind == "run":
        name = record.run.display_name
        settings |= table(record.run.config.update)
    elif kind == "config":
        settings |= table(record.config.update)
print(json.dumps([name, settings, points]))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wandb and what it needs."""
    folder = tmp_path_factory.mktemp("packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), "wandb>=0.19"]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def run(packages: Path, folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "HOME": str(folder), **variables}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_run_without_a_network(packages: Path, tmp_path: Path) -> None:
    made = run(packages, tmp_path, "-m", "hpc_lstm", "synth", "--symbols", "2", "--days", "300", "-o", "m.h5")
    assert made.returncode == 0, made.stderr
    config = (
        '[data]\nstore = "m.h5"\nwindow = 8\n[model]\nunits = 4\n[train]\nepochs = 2\nloggers = ["wandb"]\n'
    )
    (tmp_path / "run.toml").write_text(config)
    train = ("-m", "hpc_lstm", "train", "run.toml", "--run-dir", "first")

    refused = run(packages, tmp_path, *train)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if "error" in line]
    assert line.startswith("hpc-lstm: error: wandb: ")
    assert "set WANDB_API_KEY, or WANDB_MODE=offline" in line

    done = run(packages, tmp_path, *train, "--resume", WANDB_MODE="offline")
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "first").glob("wandb/offline-run-*/*.wandb")
    read = run(packages, tmp_path, "-c", READ, str(file))
    assert read.returncode == 0, read.stderr
    name, settings, points = json.loads(read.stdout)
    assert name == "first"
    assert (settings["train.epochs"], settings["data.window"]) == (2, 8)
    told = {key: value for point in points for key, value in point.items()}
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert told["test/rmsse"] == metrics["test"]["model"]["rmsse"]
    history = [json.loads(line) for line in (tmp_path / "first" / "history.jsonl").read_text().splitlines()]
    losses = {entry["step"]: entry["loss"] for entry in history if entry["kind"] == "validation"}
    assert {
        point["step"]: point["validation/loss"] for point in points if "validation/loss" in point
    } == losses
