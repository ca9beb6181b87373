"""What each rank must see, for any number of ranks: ``world_cases.py STORE``; nothing is changed for good."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.synchronizer import ClusterSynchronizer
from hpc_lstm.config import DataConfig, parse
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.averaging import Averager
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess import backends, prepare
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.timing.clocks import compare_clocks
from hpc_lstm.timing.timeline import Timeline


class VectorEngine:
    """Weights and moments without a network."""

    def __init__(self, weights: np.ndarray, moments: np.ndarray) -> None:
        self.weights, self.second = weights, moments
        self.schema = self

    def digest(self) -> str:
        """Of the schema."""
        return "0" * 64

    def parameters(self) -> np.ndarray:
        return self.weights.copy()

    def set_parameters(self, flat: np.ndarray) -> None:
        self.weights = flat.copy()

    def moments(self) -> np.ndarray:
        return self.second.copy()

    def set_moments(self, flat: np.ndarray) -> None:
        self.second = flat.copy()


def refusal(work: Callable[[], object]) -> InputError:
    """The error with which work ends; ``pytest.raises`` would cost each rank the import of pytest."""
    try:
        work()
    except InputError as error:
        return error
    raise AssertionError("was not refused")


def case_reductions(world: World) -> None:
    """On ranks that have cores of their own, and on ranks that share them."""
    mine = np.array([world.rank, -world.rank, 1.5])
    n = world.size
    for one in (world, replace(world, oversubscribed=not world.oversubscribed)):
        one.barrier()
        assert one.allreduce_sum(mine.copy()).tolist() == [n * (n - 1) / 2, -n * (n - 1) / 2, 1.5 * n]
        assert one.allreduce_min(mine.copy()).tolist() == [0, -(n - 1), 1.5]
        assert one.allreduce_max(mine.copy()).tolist() == [n - 1, 0, 1.5]
        assert (one.bcast_array(np.full(1000, n - world.rank, np.float32)) == n).all()
        gathered = one.gather_array(np.full(world.rank, world.rank, np.uint16))
        assert gathered.tolist() == ([r for r in range(n) for _ in range(r)] if world.rank == 0 else [])


def case_all_ranks_take_one_engine(world: World) -> None:
    """The last rank has no build of the C kernels, no compiler, and nothing that another has compiled."""
    from hpc_lstm.model.engines import registry as engine
    from hpc_lstm.native import library

    automatic = parse({"data": {"store": "none"}}, "test")
    fused = parse({"data": {"store": "none"}, "train": {"engine": "fused"}}, "test")
    bfloat16 = parse(
        {"data": {"store": "none"}, "train": {"engine": "fused", "precision": "bfloat16"}}, "test"
    )
    assert engine.choose_engine(automatic, world=world).arithmetic == "fused"
    kept, find_build = dict(os.environ), library.find_build
    if world.rank == world.size - 1:
        os.environ |= {"PATH": "/nowhere", "HPC_LSTM_CACHE": "/nowhere"}
        os.environ.pop("CC", None)
        library.find_build = lambda *_: None
    assert engine.choose_engine(automatic, world=world).name == "keras"
    assert engine.choose_engine(fused, world=world).arithmetic == "fused in NumPy"
    refused = refusal(lambda: engine.choose_engine(bfloat16, world=world))
    assert re.search(r'train\.engine: "fused": no GPU; .*computes in float32', str(refused))
    assert refused.quiet == (world.rank != 0)
    library.find_build = find_build
    os.environ |= kept


def case_who_waits_leaves_its_core_to_others(world: World) -> None:
    """Reductions do so where cores are few, exchanges of objects everywhere."""
    assert world.oversubscribed == (world.size > len(os.sched_getaffinity(0)))
    shared, apart = replace(world, oversubscribed=True), replace(world, oversubscribed=False)
    one = np.ones(1)
    waits: tuple[Callable[[], object], ...] = (
        apart.barrier,
        lambda: apart.allgather(1),
        lambda: apart.bcast(1),
        lambda: shared.allreduce_sum(one.copy()),
    )
    for wait in waits:
        before, begun = time.thread_time(), time.monotonic()
        if world.rank == 0:
            time.sleep(1)
        wait()
        took = time.thread_time() - before
        # The others began a little later where the machine is busy.
        assert world.size == 1 or time.monotonic() - begun >= 0.5
        assert took < 0.25


def case_objects(world: World) -> None:
    for one in (world, replace(world, oversubscribed=not world.oversubscribed)):
        assert one.allgather("r" * world.rank) == ["r" * r for r in range(world.size)]
        assert one.bcast({"from": world.rank}, root=world.size - 1) == {"from": world.size - 1}
    array = np.full(1000, world.rank, np.float32)
    assert (world.bcast_array(array) == 0).all()


def case_together(world: World) -> None:
    assert world.raise_on_all(lambda: world.rank) == world.rank

    def fail() -> None:
        if world.rank == world.size - 1:
            raise InputError("the last rank's store is missing")

    refused = refusal(lambda: world.raise_on_all(fail))
    assert "the last rank's store is missing" in str(refused)
    assert refused.on_all_ranks
    assert refused.quiet == (world.rank != 0)


def case_places_on_the_node(world: World) -> None:
    assert world.local_size == world.size
    assert sorted(world.allgather(world.local_rank)) == list(range(world.size))
    assert world.threads >= 1


def case_weighted_average(world: World) -> None:
    generator = np.random.default_rng(7)
    weights = generator.normal(size=(world.size, 1001)).astype(np.float32)
    samples = generator.integers(1, 50, world.size)
    engine = VectorEngine(weights[world.rank], weights[world.rank] * 2)
    averager = Averager(world, "weights")
    agreement = averager.agree(int(samples[world.rank]), float(world.rank))
    assert agreement.samples == samples.sum()
    averager.average(engine, int(samples[world.rank]), agreement.samples)
    expected = np.average(weights.astype(np.float64), axis=0, weights=samples)
    np.testing.assert_allclose(engine.weights, expected, rtol=0, atol=1e-6)
    assert len(set(world.allgather(engine.weights.tobytes()))) == 1, "every rank holds the same bits"
    assert np.array_equal(engine.second, weights[world.rank] * 2), "moments stay each rank's own"
    Averager(world, "weights+moments").average(engine, 1, world.size)
    np.testing.assert_allclose(engine.second, 2 * weights.mean(axis=0, dtype=np.float64), rtol=0, atol=2e-6)


def case_letters_from_rank_to_rank(world: World) -> None:
    following, before = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    if world.size == 1:
        return
    letter = np.array([world.rank, 7])
    if world.rank == 0:
        world.send(letter, following)
    while not world.probe(before):
        pass
    assert world.recv(np.zeros(2, int), before).tolist() == [before, 7]
    if world.rank:
        world.send(letter, following)


def case_clocks_of_one_machine_agree_within_the_stated_error(world: World) -> None:
    """A timeline tells the time since its process started; all by one clock here, so the offset is known."""
    timeline = Timeline()
    began = time.perf_counter()
    found = compare_clocks(world, timeline)
    took = time.perf_counter() - began
    # The machine's clock at each origin; whoever is interrupted between the two readings finds less.
    starts = world.allgather(max(time.perf_counter_ns() - timeline.now() for _ in range(50)))
    assert abs(found.offset_ns - (starts[world.rank] - starts[0])) <= found.error_ns + 50_000  # of reading it
    assert len(set(world.allgather(found.start_unix_ns))) == 1
    if world.rank == 0:
        print(f"compared clocks of {world.size} ranks in {took:.4f} s", flush=True)


def case_memory_given_by_address_is_added_up(world: World) -> None:
    """As a CUDA-aware MPI is given GPU memory; an address of the host's goes the same way."""
    values = np.full(1001, world.rank + 1, np.float32)
    world.allreduce_device(values.__array_interface__["data"][0], len(values))
    assert (values == (world.size * (world.size + 1) / 2 if world.size > 1 else 1)).all()


def case_loss_is_the_mean_over_samples(world: World) -> None:
    averager = Averager(world, "weights")
    agreement = averager.agree(world.rank + 1, 10.0 * (world.rank + 1))
    assert agreement.loss == 10.0
    assert not agreement.stop
    assert np.isnan(averager.agree(0, 0.0).loss)


def case_stop_of_one_is_known_to_all(world: World) -> None:
    import os
    import signal

    world.handle_signals()
    if world.rank == world.size - 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert world.stop_requested == (world.rank == world.size - 1)
    assert Averager(world, "weights").agree(1, 0.0).stop
    assert [name for name in world.allgather(world.stop_signal) if name] == ["SIGUSR1"]


def case_slices_are_shared_out_and_scaled_alike(world: World) -> None:
    data = DataConfig(store=sys.argv[1], window=8, features=["close", "log-returns"], scaling="minmax")
    alone_world = World()
    for scaling in ("minmax", "standard"):
        chosen = data.model_copy(update={"scaling": scaling})
        with MarketStore(sys.argv[1]) as store, MarketStore(sys.argv[1]) as whole:
            mine = prepare.prepare(store, chosen, world, backends.create_backend("host"))
            alone = prepare.prepare(whole, chosen, alone_world, backends.create_backend("host"))
            np.testing.assert_allclose(mine.scaler.scale, alone.scaler.scale, rtol=1e-12)
            np.testing.assert_allclose(mine.scaler.shift, alone.scaler.shift, rtol=1e-12, atol=1e-12)
            for part in ("train", "validation", "test"):
                pieces = world.allgather(
                    mine.load_windows(part).batch(np.arange(len(mine.load_windows(part))))
                )
                lengths = [len(inputs) for inputs, _ in pieces]
                assert max(lengths) - min(lengths) <= 1
                expected = alone.load_windows(part).batch(np.arange(sum(lengths)))
                for place in (0, 1):
                    joined = np.concatenate([piece[place] for piece in pieces])
                    np.testing.assert_allclose(joined, expected[place], rtol=2e-6, atol=2e-6)


def case_too_many_ranks_are_refused_by_all(world: World) -> None:
    data = DataConfig(store=sys.argv[1], window=148, symbols=["S0"], split=[1, 0, 0])
    windows = 150 - 148
    with MarketStore(sys.argv[1]) as store:
        if windows >= world.size:
            assert (
                prepare.prepare(store, data, world, backends.create_backend("host")).index.total("train")
                == windows
            )
            return
        refused = refusal(lambda: prepare.prepare(store, data, world, backends.create_backend("host")))
        assert f"{windows} train windows" in str(refused)
        assert refused.on_all_ranks


def case_ranks_that_rejoin_keep_what_they_trained_on_since_the_last_average(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(world.bcast(folder)))
        base, drift = np.array([1.0, -2.0, 3.0], np.float32), np.array([0.25, 0.5, 1.0], np.float32)
        own = base + drift * world.rank
        meeting = MeetingRanks(store, world)
        alpha = meeting.join("alpha", base, None)
        assert meeting.join("alpha", own, alpha).weights.tobytes() == own.tobytes()

        closed = base + 8
        meeting.join("beta", base, None, then=closed)  # closes round 1 by itself
        found = meeting.join("alpha", own, alpha).weights
        np.testing.assert_allclose(found, closed + drift * world.rank, rtol=1e-6)
        world.barrier()  # the folder is rank 0's


class MeetingRanks:
    """Ranks that join a run of clusters in a folder, each of which may close a round alone."""

    def __init__(self, store: FolderStore, world: World) -> None:
        self._store, self._world = store, world

    def join(
        self, cluster: str, weights: np.ndarray, before: Joined | None, then: np.ndarray | None = None
    ) -> Joined:
        """Join, or rejoin with the state of ``before``; contribute the weights ``then``."""
        settings = {
            "data": {"store": "market.h5"},
            "storage": {"url": "file:///shared"},
            "sync": {"cluster": cluster, "expected": 1},
        }
        engine = VectorEngine(weights, np.empty(0, np.float32))
        one = ClusterSynchronizer(
            *(self._store, "run/", self._world, parse(settings, "test"), engine),
            *(logging.getLogger("test"), Timeline()),
        )
        one.acquire_lease()
        state = None if before is None or self._world.rank else ClusterState.from_state_dict(before.state)
        one.join(8, state, before is not None)
        if then is not None:
            engine.set_parameters(then)
            one.synchronize(16, due=True)
        found = Joined(engine.parameters(), one.state_dict())
        one.close()
        self._world.barrier()  # the name is free again
        return found


@dataclass(frozen=True)
class Joined:
    """A rank's weights, and the cluster's state, which rank 0 has."""

    weights: np.ndarray
    state: dict[str, Any]


if __name__ == "__main__":
    joined = connect()
    with joined.abort_on_error():
        for name, case in sorted(globals().items()):
            if name.startswith("case_"):
                case(joined)
                joined.barrier()
                if joined.rank == 0:
                    print("passed", name, flush=True)
