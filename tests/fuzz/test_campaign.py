"""A campaign counts what it runs, and goes on where it stopped."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from campaign import CHUNK, Record, main, tasks
from targets import TARGETS

CAMPAIGN = Path(__file__).with_name("campaign.py")


# What campaign.py --summary wrote of the campaign that docs/security.md tells of.
COUNTS = CAMPAIGN.with_name("campaign.json")
SECURITY = CAMPAIGN.parents[2] / "docs/security.md"


def arguments(record: Path, *more: str) -> list[str]:
    """Of a campaign of one kind, the cheapest."""
    return [str(CAMPAIGN), "--only", "intervals", "--record", str(record), *more]


def run_here(patch: pytest.MonkeyPatch, record: Path, *more: str) -> int:
    """The exit code of a campaign whose processes are forked from this one, which has imported what they need."""
    patch.setattr(sys, "argv", arguments(record, *more))
    return main()


def test_chunks_that_are_recorded_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fuzz.json"
    command = [sys.executable, *arguments(path, "--examples", str(CHUNK), "--jobs", "1")]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    first = Record(path).kind("intervals")
    assert first["chunks"] == [0]
    assert run_here(monkeypatch, path, "--examples", str(2 * CHUNK), "--jobs", "2") == 0
    record = Record(path)
    kind = record.kind("intervals")
    assert kind["chunks"] == [0, CHUNK]
    assert kind["read"] + kind["refused"] == 2 * CHUNK
    assert kind["read"] > first["read"]
    assert [run["jobs"] for run in record.runs] == [1, 2]


def test_no_chunk_begins_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fuzz.json"
    assert run_here(monkeypatch, path, "--examples", str(CHUNK), "--seconds", "0") == 0
    assert json.loads(path.read_text())["kinds"]["intervals"]["chunks"] == []


def test_what_is_wrong_is_recorded_by_its_seed(tmp_path: Path) -> None:
    record = Record(tmp_path / "fuzz.json")
    record.add("scaler", 0, {0: "right", 1: "refused", 2: "Traceback\nKeyError: 'x'"})
    record.save()
    kind = Record(record.path).kind("scaler")
    assert (kind["read"], kind["refused"], kind["wrong"]) == (1, 1, {"2": "Traceback\nKeyError: 'x'"})


def test_kinds_with_the_fewest_examples_come_first(tmp_path: Path) -> None:
    record = Record(tmp_path / "fuzz.json")
    record.add("scaler", 0, {})
    chunks = tasks(record, ["scaler", "option"], 2 * CHUNK)
    assert chunks == [("option", 0), ("scaler", CHUNK), ("option", CHUNK)]


def test_the_documentation_has_the_counts_of_the_campaign() -> None:
    counts, text = json.loads(COUNTS.read_text()), SECURITY.read_text()
    rows = [
        line.split(" | ") for line in text.splitlines() if re.fullmatch(r"\| .*( \| [0-9,]+){3} \|", line)
    ]
    told = [int(row[-1].strip(" |").replace(",", "")) for row in rows]
    kinds = [counts["kinds"][target.name] for target in TARGETS]
    assert told == [sum(kind.values()) for kind in kinds]
    assert f"{counts['inputs']:,} in all" in text
    for versions in counts["versions"]:
        assert f"Python {versions['python']} with HDF5 {versions['hdf5']}" in text
