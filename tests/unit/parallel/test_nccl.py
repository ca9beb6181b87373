"""Joining the ranks by NCCL where it cannot be done: all ranks learn of it, and none waits for another."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_ranks import name_of, on_ranks, outcomes

from hpc_lstm.errors import ConfigError, CudaError
from hpc_lstm.parallel import nccl
from hpc_lstm.parallel.averaging import Averager


@pytest.mark.parametrize(("missing", "kind"), [("load_nccl", ConfigError), ("load_driver", CudaError)])
def test_what_one_rank_lacks_is_refused_on_all(
    monkeypatch: pytest.MonkeyPatch, missing: str, kind: type[Exception]
) -> None:
    """Nothing of NCCL's is called: the libraries that the others find have no functions at all."""

    def find(name: str) -> Any:
        if name == missing and threading.current_thread().name == name_of(1):
            raise kind(f"{name} finds nothing")
        return object()

    for name in ("load_nccl", "load_driver"):
        monkeypatch.setattr(nccl, name, lambda name=name: find(name))
    found = outcomes(3, nccl.NcclAllreduce)
    for rank, error in enumerate(found):
        assert type(error) is kind, error
        assert str(error) == f"{missing} finds nothing"
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)


def test_a_machine_without_a_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(place: str) -> None:
        raise OSError(place)

    monkeypatch.setattr(ctypes, "CDLL", nowhere)
    with pytest.raises(CudaError, match=r'"nccl": there is no NVIDIA driver \(libcuda\.so\.1\); use a node'):
        nccl.load_driver()


# A library with NCCL's interface that writes each call on communicators into a string.
STUB = """
#include <string.h>
typedef struct { char internal[128]; } ncclUniqueId;
static char calls[1000];
const char *calls_so_far(void) { return calls; }
int ncclGetVersion(int *version) { *version = VERSION; return 0; }
int ncclGetUniqueId(ncclUniqueId *id) { memset(id, 7, 128); return NO_ADDRESS ? 2 : 0; }
int ncclCommInitRank(void **comm, int size, ncclUniqueId id, int rank) {
    strcat(calls, id.internal[127] == 7 && size == 3 ? "init " : "wrong ");
    *comm = calls;
    return rank == FAILING_RANK ? 2 : 0;
}
int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, void *comm, void *stream) {
    int right = from == to && n == 5000000000 && type == 7 && op == 0 && comm == calls;
    strcat(calls, !right ? "wrong " : stream == 0 ? "sum " : stream == (void *)42 ? "queued " : "wrong ");
    return 0;
}
int ncclCommDestroy(void *comm) { strcat(calls, comm == calls ? "destroy " : "wrong "); return 0; }
int ncclCommAbort(void *comm) { strcat(calls, comm == calls ? "abort " : "wrong "); return 0; }
const char *ncclGetErrorString(int status) { return "unhandled system error"; }
"""


class Driver:
    """A driver whose streams are always idle."""

    def __init__(self) -> None:
        self.waits = 0

    def call(self, name: str, *arguments: object) -> None:
        assert (name, arguments) == ("cuStreamSynchronize", (None,))
        self.waits += 1


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a library of its own in NCCL's place for each rank; the rank of the given number cannot be connected."""

    def put(
        failing_rank: int = -1, versions: tuple[int, int, int] = (22809,) * 3, no_address: bool = False
    ) -> None:
        (tmp_path / "nccl.c").write_text(STUB)
        for rank in range(3):
            path = str(tmp_path / f"libnccl-{rank}.so")
            macros = (
                f"-DFAILING_RANK={failing_rank}",
                f"-DVERSION={versions[rank]}",
                f"-DNO_ADDRESS={int(no_address)}",
            )
            command = ["cc", "-shared", "-fPIC", *macros, "-o", path, str(tmp_path / "nccl.c")]
            subprocess.run(command, check=True)
        of_thread = {name_of(rank): str(tmp_path / f"libnccl-{rank}.so") for rank in range(3)}
        monkeypatch.setattr(nccl, "load_nccl", lambda: nccl.Nccl(of_thread[threading.current_thread().name]))
        monkeypatch.setattr(nccl, "load_driver", Driver)

    return put


def calls(allreduce: nccl.NcclAllreduce) -> str:
    function = allreduce._nccl._library.calls_so_far
    function.restype = ctypes.c_char_p
    return function().decode()


@pytest.mark.parametrize(("failed", "last"), [(False, "destroy"), (True, "abort")])
def test_a_communicator_is_destroyed_once_or_aborted_after_an_error(
    stub: Callable[..., None], failed: bool, last: str
) -> None:
    stub()

    def work(world: Any) -> str:
        allreduce = nccl.NcclAllreduce(world)
        try:
            with Averager(world, "weights", allreduce):
                allreduce.allreduce_sum(2**40, 5_000_000_000)
                allreduce.allreduce_sum(2**40, 5_000_000_000, 42)
                driver: Any = allreduce._driver
                assert driver.waits == 1, "a sum on a stream is not waited for"
                assert not failed
        except AssertionError:
            pass
        allreduce.close(failed=False)
        return calls(allreduce)

    assert on_ranks(3, work) == [f"init sum queued {last} "] * 3


@pytest.mark.parametrize(
    ("versions", "variable", "wanted"),
    [
        ((22809, 21300, 22000), "", True),
        ((22809, 22809, 21212), "", False),
        ((22809, 22809, 22809), "NCCL_GRAPH_MIXING_SUPPORT", False),
        ((22809, 22809, 22809), "NCCL_GRAPH_STREAM_ORDERING", False),
    ],
)
def test_averages_are_recorded_where_all_ranks_can(
    stub: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    versions: tuple[int, int, int],
    variable: str,
    wanted: bool,
) -> None:
    stub(versions=versions)
    if variable:
        monkeypatch.setenv(variable, "0")

    def work(world: Any) -> bool:
        allreduce = nccl.NcclAllreduce(world)
        allreduce.close(failed=False)
        return allreduce.can_be_recorded

    assert on_ranks(3, work) == [wanted] * 3


@pytest.mark.parametrize("freed", [True, False])
def test_what_was_recorded_is_freed_before_the_communicator(stub: Callable[..., None], freed: bool) -> None:
    """Where that fails, on a GPU that does not answer, NCCL would wait for ever."""
    stub()
    vector = SimpleNamespace(stream=42)
    engine: Any = SimpleNamespace(
        averages_within_calls=True, steps_per_call=16, device_vectors=lambda **_: [vector]
    )

    class Call:
        """Recorded; what was called when it was freed."""

        so_far = ""

        def __init__(self, allreduce: nccl.NcclAllreduce) -> None:
            self.allreduce = allreduce

        def close(self) -> bool:
            self.so_far = calls(self.allreduce)
            return freed

    def work(world: Any) -> str:
        allreduce = nccl.NcclAllreduce(world)
        call = Call(allreduce)
        with suppress(RuntimeError), Averager(world, "weights", allreduce) as averager:
            assert averager.within_calls(engine, 17) is averager.within_calls(engine, 0) is None
            within = averager.within_calls(engine, 16)
            assert within is not None
            within.calls["a call"] = call  # type: ignore[assignment]
            within.allreduce_sum(2**40, 5_000_000_000, 42)
            raise RuntimeError
        assert not within.calls
        assert calls(allreduce) == ("init queued abort " if freed else "init queued ")
        return call.so_far

    assert on_ranks(3, work) == ["init queued "] * 3


def test_an_address_that_nccl_cannot_open_ends_all_ranks_together(stub: Callable[..., None]) -> None:
    stub(no_address=True)
    for rank, error in enumerate(outcomes(3, nccl.NcclAllreduce)):
        assert type(error) is CudaError, error
        assert "ncclGetUniqueId: unhandled system error; set NCCL_DEBUG=WARN" in str(error)
        assert error.on_all_ranks
        assert error.quiet == (rank != 0)


def test_a_rank_that_cannot_be_connected_raises_alone(stub: Callable[..., None]) -> None:
    stub(1)

    def work(world: Any) -> list[CudaError]:
        # Caught here: an error that leaves a simulated rank breaks the collectives of the others.
        try:
            nccl.NcclAllreduce(world)
        except CudaError as error:
            return [error]
        return []

    first, [error], last = on_ranks(3, work)
    assert first == last == []
    assert "ncclCommInitRank: unhandled system error; set NCCL_DEBUG=WARN" in str(error)
    assert not error.on_all_ranks
