"""The rounds of clusters under every interleaving, crash, delay and loss that Hypothesis thinks of."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from round_simulation import KEY, LENGTH, SCHEMA, SETTINGS, Broken, Cluster, World

from hpc_lstm.errors import ConfigError, StorageError
from hpc_lstm.sync import documents
from hpc_lstm.sync.rounds import Terms
from hpc_lstm.sync.seal import Seal

# `make soak` sets it.
SCHEDULES = int(os.environ.get("HPC_LSTM_SCHEDULES", "1000"))
NAMES = ["alpha", "beta", "gamma", "delta"]


def terms(name: str, expected: int, **more: object) -> Terms:
    return Terms(cluster=name, expected=expected, **{"quorum": 1, "deadline_s": 20.0, "keep": 2, **more})  # type: ignore[arg-type]


def run_all(world: World, alive: list[Cluster], limit: int = 20_000) -> None:
    """In turns, without faults, to the end of every living cluster."""
    for _ in range(limit):
        if sum(cluster.step() for cluster in alive) == 0:
            return
    raise Broken(f"no end: {[(c.terms.cluster, c.said[-3:]) for c in alive]}")


class Clusters(RuleBasedStateMachine):
    """Safety is checked by the simulated store as each round closes; progress at the end."""

    @initialize(
        count=st.integers(1, 4),
        periods=st.integers(1, 3),
        overlap=st.booleans(),
        late=st.sampled_from(["fold", "drop"]),
        payload=st.sampled_from(["float32", "bfloat16"]),
        outer=st.sampled_from(["average", "nesterov"]),
        absent=st.integers(0, 1),
        data=st.data(),
    )
    def begin(self, count, periods, overlap, late, payload, outer, absent, data) -> None:  # type: ignore[no-untyped-def]
        expected = count + absent
        quorum = data.draw(st.integers(1, count))
        one = [
            terms(name, expected, late=late, payload=payload, outer=outer, quorum=quorum)
            for name in NAMES[:count]
        ]
        self.world = World(one, periods, overlap)
        for cluster in self.world.clusters:
            cluster.start()

    @rule(which=st.integers(0, 3), operations=st.integers(1, 25), lag=st.integers(0, 6))
    def go(self, which: int, operations: int, lag: int) -> None:
        cluster = self.world.clusters[which % len(self.world.clusters)]
        for _ in range(operations):
            cluster.step(lag)

    @rule(which=st.integers(0, 3))
    def crash(self, which: int) -> None:
        self.world.clusters[which % len(self.world.clusters)].crash()

    @rule(which=st.integers(0, 3), operations=st.integers(1, 25))
    def crash_while_putting(self, which: int, operations: int) -> None:
        """The put arrives later, when nobody waits for it any more."""
        cluster = self.world.clusters[which % len(self.world.clusters)]
        for _ in range(operations):
            cluster.step(lose=lambda put: True)

    @rule(which=st.integers(0, 3))
    def restart(self, which: int) -> None:
        cluster = self.world.clusters[which % len(self.world.clusters)]
        if cluster.life is None and cluster.result is None:
            cluster.start()

    @rule(which=st.integers(0, 3))
    def lose_the_disk(self, which: int) -> None:
        cluster = self.world.clusters[which % len(self.world.clusters)]
        if cluster.life is None and cluster.result is None:
            cluster.saved = None

    @precondition(lambda self: self.world.store.late_puts)
    @rule(which=st.integers(0, 9))
    def land(self, which: int) -> None:
        late = self.world.store.late_puts
        self.world.store.put(late.pop(which % len(late)))

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def samples_are_conserved(self) -> None:
        if hasattr(self, "world"):
            assert len(self.world.store.counted) <= self.world.next_window

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        clusters = self.world.clusters
        for cluster in clusters:
            if cluster.life is None and cluster.result is None:
                cluster.start()
        run_all(self.world, clusters)
        assert all(cluster.result is not None for cluster in clusters)
        last = max(self.world.store.round_weights)
        for cluster in clusters:
            if not cluster.missing:
                assert cluster.result is not None
                assert cluster.result.tobytes() == self.world.store.round_weights[last].tobytes()


def test_rounds_are_safe_and_go_on_under_random_schedules() -> None:
    profile = settings(
        max_examples=SCHEDULES,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Clusters, settings=profile)


@pytest.mark.parametrize("outer", ["average", "nesterov"])
@pytest.mark.parametrize("payload", ["float32", "bfloat16"])
def test_clusters_without_faults_count_every_window_once(outer: str, payload: str) -> None:
    world = World([terms(name, 3, outer=outer, payload=payload) for name in NAMES[:3]], 4, overlap=False)
    for cluster in world.clusters:
        cluster.start()
    run_all(world, world.clusters)
    assert len(world.store.counted) == world.next_window == 12
    assert len({cluster.result.tobytes() for cluster in world.clusters}) == 1  # type: ignore[union-attr]
    # 4 rounds and the final one; of the newest three the vectors are there, of which two are to be kept.
    assert sorted({key.split("/")[1] for key in world.store.objects if key.startswith("payloads/")}) == [
        "000000",
        "000003",
        "000004",
        "000005",
    ]


def test_a_cluster_that_never_returns_holds_the_others_up_only_to_the_deadline() -> None:
    world = World([terms(name, 3, quorum=2) for name in NAMES[:3]], 2, overlap=False)
    alpha, beta, gamma = world.clusters
    for cluster in world.clusters:
        cluster.start()
    for _ in range(12):
        gamma.step()
    gamma.crash()
    run_all(world, [alpha, beta])
    assert alpha.result is not None
    assert np.array_equal(alpha.result, beta.result)
    assert alpha.missing == beta.missing == 1


def test_without_a_quorum_nothing_is_merged() -> None:
    world = World([terms(name, 3, quorum=2) for name in NAMES[:1]], 2, overlap=False)
    world.clusters[0].start()
    with pytest.raises(Broken, match="no end"):
        run_all(world, world.clusters, limit=500)
    assert not any(key.endswith("merged.json") for key in world.store.objects)
    assert any("2 are needed (sync.quorum)" in text for text in world.clusters[0].said)


def test_a_damaged_payload_is_refused_removed_and_put_again() -> None:
    world = World([terms(name, 2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    beta.start()
    while not any("rounds/000001/contributions/beta" in key for key in world.store.objects):
        beta.step()
    (key,) = world.store.list("payloads/000001/")
    whole = world.store.objects[key]
    world.store.objects[key] = whole[:-1] + bytes([whole[-1] ^ 1])
    alpha.start()
    for _ in range(60):  # alpha comes to merge, while beta is slow
        alpha.step()
    assert key not in world.store.objects
    run_all(world, [alpha, beta])
    assert any("its bytes are not what its name says" in text for text in alpha.said)
    assert np.array_equal(alpha.result, beta.result)
    assert len(world.store.counted) == 4, "what beta brought is counted all the same"


def test_a_contribution_without_the_key_does_not_move_the_weights() -> None:
    world = World([terms("alpha", 2, deadline_s=5.0)], 1, overlap=False)
    (alpha,) = world.clusters
    vector = np.full(LENGTH, 1e6, np.float32).tobytes()
    name = documents.digest(vector)
    forged = documents.Contribution(
        round=1,
        cluster="beta",
        samples=10**9,
        staleness=0,
        lease=1,
        final=False,
        payload=documents.Payload(sha256=name),
    )
    key = documents.contribution_key(1, "beta")
    world.store.objects[documents.payload_key(1, name)] = vector
    world.store.objects[key] = documents.write(forged, key, Seal(b"not the key of the others"))
    world.store.listings.append(sorted(world.store.objects))
    alpha.start()
    run_all(world, [alpha])
    assert any(f"{key}: refused: is not signed" in text for text in alpha.said)
    assert alpha.result is not None
    assert abs(alpha.result).max() <= 1


def test_a_forged_merge_ends_the_run_rather_than_being_adopted() -> None:
    world = World([terms("alpha", 1)], 1, overlap=False)
    (alpha,) = world.clusters
    world.store.objects[documents.merged_key(1)] = b'{"round": 1}'
    alpha.start()
    with pytest.raises(StorageError, match="is not signed"):
        run_all(world, [alpha])


def test_clusters_that_train_something_else_are_refused_by_the_key_that_differs() -> None:
    world = World([terms("alpha", 1)], 1, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    run_all(world, [alpha])
    from hpc_lstm.sync.rounds import Get, Rounds

    def answered(generator):  # type: ignore[no-untyped-def]
        answer = None
        while True:
            wanted = generator.send(answer)
            answer = world.store.objects.get(wanted.key) if isinstance(wanted, Get) else None

    zeros = np.zeros(LENGTH, np.float32)
    with pytest.raises(ConfigError, match=r"model\.units: is 4 here and 3 in the run"):
        answered(Rounds(terms("beta", 1), KEY).join(zeros, {"model.units": 4}, SCHEMA))
    with pytest.raises(ConfigError, match="a network of other parameters"):
        answered(Rounds(terms("beta", 1), KEY).join(zeros, SETTINGS, "1" * 64))
