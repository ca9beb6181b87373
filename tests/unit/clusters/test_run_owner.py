"""What is said of a file that a run lacks: whether a job is at the run, and what to do."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_lstm.clusters.lease import Lease
from hpc_lstm.clusters.run_owner import NAME, OWNER, require
from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.storage.folder import FolderStore

RESUME = r"hpc-lstm train .*config\.toml --run-dir .* --resume`"
FIRST = f"{OWNER}leases/{NAME}/000001.000000000"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    return directory.at(tmp_path)


@pytest.fixture
def lease(run: RunDirectory) -> Iterator[Lease]:
    """This process is at the run."""
    own = Lease(FolderStore(run.path), OWNER, NAME, 20.0, logging.getLogger("test"), forget=True)
    yield own
    own.release()


def said_of(run: RunDirectory) -> str:
    with pytest.raises(InputError) as caught:
        require(run, run.model)
    return str(caught.value)


def test_a_run_that_no_job_is_at_is_to_be_continued(run: RunDirectory) -> None:
    with pytest.raises(
        InputError, match=rf"model\.keras: missing: the run is not complete; continue.*{RESUME}"
    ):
        require(run, run.model)
    run.model.write_text("")
    assert require(run, run.model) == run.model


def test_a_run_that_still_trains_is_to_be_waited_for(run: RunDirectory, lease: Lease) -> None:
    said = said_of(run)
    assert "is still training it; wait until that has ended" in said
    assert "--resume" not in said
    lease.release()
    assert "--resume" in said_of(run)


def test_a_job_of_this_machine_that_was_killed_is_not_waited_for(run: RunDirectory) -> None:
    code = (
        "import logging, os, sys; from pathlib import Path\n"
        "from hpc_lstm.storage.folder import FolderStore\n"
        "from hpc_lstm.clusters.lease import Lease\n"
        f"Lease(FolderStore(Path(sys.argv[1])), {OWNER!r}, {NAME!r}, 300, logging.getLogger())\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(run.path)], cwd=Path(__file__).parents[3], check=False)
    assert (run.path / FIRST).exists()
    assert "the run is not complete; continue it with" in said_of(run)


def test_of_a_job_elsewhere_both_are_said(run: RunDirectory) -> None:
    owner = {"host": "gpu07", "machine": "another boot/pid:[1]", "pid": 7, "started": "7"}
    FolderStore(run.path).put_new(FIRST, json.dumps(owner).encode())
    said = said_of(run)
    assert (
        "a job on gpu07 has not ended yet, or was killed; wait until it has ended, or if it was killed"
        in said
    )
    assert "--resume" in said


@pytest.mark.parametrize("number", ["9" * 13, f"{10**9 + 1}"])
def test_leases_that_cannot_be_understood_hide_nothing(run: RunDirectory, number: str) -> None:
    FolderStore(run.path).put_new(f"{OWNER}leases/{NAME}/{number}.000000000", b"{}")
    assert "the run is not complete; continue it with" in said_of(run)
