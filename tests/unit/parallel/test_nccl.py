"""Joining the ranks by NCCL where it cannot be done: all ranks learn of it, and none waits for another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from simulated_ranks import name_of, outcomes

from hpc_lstm.errors import ConfigError, CudaError
from hpc_lstm.jobs.mpiexec import mpiexec_command
from hpc_lstm.parallel import nccl

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60


@pytest.mark.parametrize(("missing", "kind"), [("load", ConfigError), ("load_driver", CudaError)])
def test_what_one_rank_lacks_is_refused_on_all(
    monkeypatch: pytest.MonkeyPatch, missing: str, kind: type[Exception]
) -> None:
    """Nothing of NCCL's is called: the libraries that the others find have no functions at all."""

    def find(name: str) -> Any:
        if name == missing and threading.current_thread().name == name_of(1):
            raise kind(f"{name} finds nothing")
        return object()

    for name in ("load", "load_driver"):
        monkeypatch.setattr(nccl, name, lambda name=name: find(name))
    found = outcomes(3, nccl.Nccl)
    for rank, error in enumerate(found):
        assert type(error) is kind, error
        assert str(error) == f"{missing} finds nothing"
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)


def test_a_machine_without_a_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(place: str) -> None:
        raise OSError(place)

    monkeypatch.setattr(nccl.ctypes, "CDLL", nowhere)
    with pytest.raises(CudaError, match=r'"nccl": there is no NVIDIA driver \(libcuda\.so\.1\); use a node'):
        nccl.load_driver()


def test_an_address_that_nccl_cannot_open_ends_all_ranks_together() -> None:
    """The real NCCL, where it is installed; it looks for the network before it looks for a GPU."""
    try:
        nccl.load()
    except ConfigError as error:
        pytest.skip(str(error))
    code = """
import ctypes
from hpc_lstm.errors import CudaError
from hpc_lstm.sync import nccl
from hpc_lstm.parallel.world import connect
nccl.load_driver = lambda: ctypes.CDLL(None)  # it is not come to
world = connect()
with world.abort_on_error():
    try:
        nccl.Nccl(world)
    except CudaError as error:
        assert error.on_all_ranks and "ncclGetUniqueId: " in str(error), error
        print(f"refused on {world.rank};", flush=True)
"""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "NCCL_SOCKET_IFNAME": "=nosuch"}
    command = [*mpiexec_command(), "-n", "2", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.replace("\n", "").split(";")[:-1]) == ["refused on 0", "refused on 1"]
