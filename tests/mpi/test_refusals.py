"""Bad input on several ranks: one of them says it, all end with code 2, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from launcher import launch, program
from small_job import write_config, write_store


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("settings", "more", "says"),
    [
        ({}, ["--set", "train.epochz=3"], 'epochz: no such key; did you mean "epochs"?'),
        ({}, ["--set", "data.store=missing.h5"], "missing.h5: no such market store"),
        ({}, ["--set", 'data.target="clos"'], 'did you mean "close"?'),
        ({"rows": [11]}, [], "2 train windows are fewer than 3 ranks"),
        ({}, ["--run-dir", "/proc/run"], "/proc/run: cannot be created"),
    ],
)
def test_one_line_one_code(tmp_path: Path, settings: dict, more: list[str], says: str) -> None:
    if "rows" in settings:
        write_store(tmp_path / "market.h5", settings["rows"])
    config = write_config(tmp_path)
    before = tree(tmp_path)
    done = launch(3, program("train", str(config), "--run-dir", str(tmp_path / "new" / "run"), *more))
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("hpc-lstm: error: ")
    assert says in line
    assert tree(tmp_path) == before


# More than any other file of a run, or memory that ranks share, has.
LARGEST_FILE = 2**32


def test_disk_full_on_one_rank(tmp_path: Path) -> None:
    config, run = write_config(tmp_path), tmp_path / "run"
    spans = run / "timing" / "rank-00001.jsonl"
    spans.parent.mkdir(parents=True)
    # As large as files may be, and sparse: the first line that is appended does not fit.
    spans.touch()
    os.truncate(spans, LARGEST_FILE)
    limited = ["bash", "-c", f'ulimit -f {LARGEST_FILE // 1024}; exec "$@"', "bash"]
    done = launch(2, [*limited, *program("train", str(config), "--run-dir", str(run))])
    said = [line for line in done.stderr.splitlines() if "hpc-lstm" in line]
    assert len(said) == 1, done.stderr
    assert "rank 1" in said[0]
    assert "File too large" in said[0]
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
