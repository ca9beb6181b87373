"""Bad input on several ranks: one of them says it, all end with code 2, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from launcher import InTurn, launch, program
from small_job import write_config, write_store


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


# By name: rows of the store, what is asked for besides, what is said.
MISTAKES = {
    "key": ([150, 90, 120], ["--set", "train.epochz=3"], 'epochz: no such key; did you mean "epochs"?'),
    "store": ([150, 90, 120], ["--set", "data.store=missing.h5"], "missing.h5: no such market store"),
    "column": ([150, 90, 120], ["--set", 'data.target="clos"'], 'did you mean "close"?'),
    "windows": ([11], [], "2 train windows are fewer than 3 ranks"),
    "folder": ([150, 90, 120], ["--run-dir", "/proc/run"], "/proc/run: cannot be created"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[CompletedProcess[str], bool]]:
    """What a start on 3 ranks came to with each mistake, and whether it left all as it was."""
    folder = tmp_path_factory.mktemp("refused")
    commands, before = [], {}
    for name, (rows, more, _) in MISTAKES.items():
        (folder / name).mkdir()
        store = write_store(folder / name / "market.h5", rows)
        config = write_config(folder / name, store=store)
        commands.append(["train", str(config), "--run-dir", str(folder / name / "new" / "run"), *more])
        before[name] = tree(folder / name)
    done = InTurn(3, folder / "said", commands).finish()
    return {
        name: (one, tree(folder / name) == before[name]) for name, one in zip(MISTAKES, done, strict=True)
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_one_code(refused: dict[str, tuple[CompletedProcess[str], bool]], mistake: str) -> None:
    done, untouched = refused[mistake]
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("hpc-lstm: error: ")
    assert MISTAKES[mistake][-1] in line
    assert untouched


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
