"""Steps are executed in a store; what it refuses is raised where the step stands."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hpc_lstm.clusters.runner import Runner
from hpc_lstm.clusters.steps import Put, Steps
from hpc_lstm.errors import StorageError
from hpc_lstm.storage.folder import FolderStore

LOG = logging.getLogger("test")


def put(*, needed: bool) -> Steps[str]:
    try:
        yield Put("rounds/a.json", b"{}")
    except StorageError:
        if needed:
            raise
        return "without"
    return "with"


def test_steps_may_do_without_what_a_store_refuses(tmp_path: Path) -> None:
    assert Runner(put(needed=False), FolderStore(tmp_path / "free"), "", LOG, 1).result() == "with"
    (tmp_path / "rounds").touch()
    assert Runner(put(needed=False), FolderStore(tmp_path), "", LOG, 1).result() == "without"
    with pytest.raises(StorageError, match="rounds: Not a directory"):
        Runner(put(needed=True), FolderStore(tmp_path), "", LOG, 1).result()
