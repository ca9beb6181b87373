"""The rounds of clusters under every interleaving, crash, delay and loss that chance and Hypothesis think of."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

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
from round_simulation import KEY, LENGTH, SCHEMA, SETTINGS, Broken, Cluster, Store, World, drive

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.closing import ALONE_S
from hpc_lstm.clusters.ending import end_alike
from hpc_lstm.clusters.joining import agree_on_manifest
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.rounds import Rounds
from hpc_lstm.clusters.state import ClusterState
from hpc_lstm.clusters.steps import Log, Steps
from hpc_lstm.errors import ConfigError, RoundLostError, StorageError
from hpc_lstm.storage.signing import Signer

# `make fuzz` and `make soak` look for new schedules; `make soak` says how many of each kind.
EXPLORES = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
SCHEDULES = int(os.environ.get("HPC_LSTM_SCHEDULES", "1000" if EXPLORES else "0"))
DRAWN, THOUGHT_OF = SCHEDULES or 400, SCHEDULES or 60
STEPS = 30
NAMES = ["alpha", "beta", "gamma", "delta"]


def options(name: str, expected: int, **more: object) -> SyncOptions:
    return SyncOptions(
        cluster=name, expected=expected, **{"quorum": 1, "deadline_s": 20.0, "keep": 2, **more}
    )  # type: ignore[arg-type]


def run_all(world: World, alive: list[Cluster], limit: int = 20_000) -> None:
    """In turns, without faults, to the end of every living cluster."""
    for _ in range(limit):
        if sum(cluster.step() for cluster in alive) == 0:
            return
    raise Broken(f"no end: {[(c.options.cluster, c.logged[-3:]) for c in alive]}")


def run_all_again(world: World, clusters: list[Cluster], times: int = 3) -> None:
    """To the end of every cluster; who has given up a round's weights begins again where others wait for it.

    It gives up after a while, and its message asks to run the same command again: meanwhile another cluster may have
    put the weights again, and the quorum may need all of them.
    """
    for _ in range(times):
        try:
            return run_all(world, clusters)
        except Broken:
            given_up = [cluster for cluster in clusters if cluster.ended_by]
            if not given_up:
                raise
        for cluster in given_up:
            cluster.ended_by = None
            cluster.start()
    return run_all(world, clusters)


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
        of_quorum=st.integers(0, 11),
    )
    def begin(self, count, periods, overlap, late, payload, outer, absent, of_quorum) -> None:  # type: ignore[no-untyped-def]
        expected = count + absent
        quorum = 1 + of_quorum % count
        one = [
            options(name, expected, late=late, payload=payload, outer=outer, quorum=quorum)
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

    @rule(which=st.integers(0, 99))
    def damage(self, which: int) -> None:
        """What a vector holds is lost; what its cluster, or whoever can make it anew, puts again is whole."""
        keys = [key for key in self.world.store.objects if key.startswith("payloads/")]
        if keys:
            self.world.store.damage(keys[which % len(keys)])

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
                cluster.ended_by = None
                cluster.start()
        run_all_again(self.world, clusters)
        # Where a round's weights can be had nowhere any more, its clusters end with an error.
        clusters = [cluster for cluster in clusters if not cluster.ended_by]
        assert all(cluster.result is not None for cluster in clusters)
        last = max(self.world.store.round_weights)
        for cluster in clusters:
            if not cluster.missing:
                assert cluster.result is not None
                assert cluster.result.tobytes() == self.world.store.round_weights[last].tobytes()


def draw_schedule(chance: random.Random) -> None:
    """Run one schedule of the rules above, of which some do not occur in it.

    Hypothesis takes longer to think of a schedule than the schedule takes, and most of its schedules are alike. What
    it is needed for is to make one small that fails.
    """
    machine = Clusters()
    machine.begin(
        count=chance.randint(1, 4),
        periods=chance.randint(1, 3),
        overlap=chance.random() < 0.5,
        late=chance.choice(["fold", "drop"]),
        payload=chance.choice(["float32", "bfloat16"]),
        outer=chance.choice(["average", "nesterov"]),
        absent=chance.randint(0, 1),
        of_quorum=chance.randint(0, 11),
    )
    faults: dict[str, Callable[[int], object]] = {
        "crash": machine.crash,
        "crash while putting": lambda which: machine.crash_while_putting(which, chance.randint(1, 25)),
        "restart": machine.restart,
        "lose the disk": machine.lose_the_disk,
        "land": lambda which: machine.world.store.late_puts and machine.land(chance.randint(0, 9)),
        "damage": lambda which: machine.damage(chance.randint(0, 99)),
        "time passes": lambda which: machine.time_passes(chance.uniform(0, 60)),
    }
    possible = [name for name in faults if chance.random() < 0.7]
    going = chance.randint(1, 4)
    for _ in range(STEPS):
        which, name = chance.randint(0, 3), chance.choice(["go"] * going + possible)
        if name == "go":
            machine.go(which, chance.randint(1, 25), chance.choice([0, chance.randint(0, 6)]))
        else:
            faults[name](which)
        machine.samples_are_conserved()
    machine.teardown()


def test_rounds_are_safe_and_go_on_under_drawn_schedules() -> None:
    first = int.from_bytes(os.urandom(6), "big") if EXPLORES else 0
    for seed in range(first, first + DRAWN):
        try:
            draw_schedule(random.Random(seed))
        except Exception as error:
            raise AssertionError(f"draw_schedule(random.Random({seed}))") from error


def test_rounds_are_safe_and_go_on_under_random_schedules() -> None:
    profile = settings(
        max_examples=THOUGHT_OF,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Clusters, settings=profile)


@pytest.mark.parametrize("outer", ["average", "nesterov"])
@pytest.mark.parametrize("payload", ["float32", "bfloat16"])
def test_clusters_without_faults_count_every_window_once(outer: str, payload: str) -> None:
    world = World([options(name, 3, outer=outer, payload=payload) for name in NAMES[:3]], 4, overlap=False)
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
    world = World([options(name, 3, quorum=2) for name in NAMES[:3]], 2, overlap=False)
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
    world = World([options(name, 3, quorum=2) for name in NAMES[:1]], 2, overlap=False)
    world.clusters[0].start()
    with pytest.raises(Broken, match="no end"):
        run_all(world, world.clusters, limit=500)
    assert not any(key.endswith("merged.json") for key in world.store.objects)
    assert any("2 are needed (sync.quorum)" in text for text in world.clusters[0].logged)


def test_a_cluster_that_waits_alone_asks_once_what_else_lies_in_the_store() -> None:
    world = World([options("alpha", 2, quorum=2, deadline_s=1e9)], 2, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    run_for(alpha, 100)
    assert world.now < ALONE_S
    assert not alpha.asked
    run_for(alpha, 400)
    assert world.now > 2 * ALONE_S
    (text,) = alpha.asked
    assert text.startswith("round 1: 1 of 2 clusters have contributed or finished after 6")


def test_a_damaged_payload_is_refused_removed_and_put_again() -> None:
    world = World([options(name, 2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    beta.start()
    while not any("rounds/000001/contributions/beta" in key for key in world.store.objects):
        beta.step()
    (key,) = world.store.list("payloads/000001/")
    world.store.damage(key)
    alpha.start()
    for _ in range(60):  # alpha comes to merge, while beta is slow
        alpha.step()
    assert key not in world.store.objects
    run_all(world, [alpha, beta])
    assert any("its bytes do not have the hash" in text for text in alpha.logged)
    assert np.array_equal(alpha.result, beta.result)
    assert len(world.store.counted) == 4, "what beta brought is counted all the same"


def closed_round(outer: str = "average") -> World:
    """Alpha has merged round 1 and is killed before its next checkpoint; beta waits for round 1."""
    world = World([options(name, 2, outer=outer, deadline_s=5.0) for name in NAMES[:2]], 3, overlap=False)
    alpha, beta = world.clusters
    for cluster in world.clusters:
        cluster.start()
    while not any("rounds/000001/contributions/beta" in key for key in world.store.objects):
        beta.step()
    while documents.result_key(1) not in world.store.objects:
        alpha.step()
    alpha.crash()
    return world


@pytest.mark.parametrize("outer", ["average", "nesterov"])
def test_weights_that_all_holders_have_lost_are_made_anew(outer: str) -> None:
    world = closed_round(outer)
    alpha, beta = world.clusters
    for payload in merged(world, 1):
        world.store.damage(payload)
    run_for(beta, 60)
    alpha.start()
    run_all(world, [alpha, beta])
    assert alpha.result is not None
    assert alpha.result.tobytes() == beta.result.tobytes()
    assert len(world.store.counted) == world.next_window


def test_weights_that_can_be_had_nowhere_end_the_run_in_one_line() -> None:
    world = closed_round()
    (key,) = merged(world, 1)
    for name in world.store.list("payloads/000001/"):
        world.store.damage(name)
    beta = world.clusters[1]
    run_all(world, [beta])
    assert isinstance(beta.ended_by, RoundLostError)
    assert str(beta.ended_by).startswith(f"{key}: the weights of round 1, which is closed, cannot be read")
    assert any("waiting for them" in text for text in beta.logged)


@pytest.mark.parametrize("holder", ["lives", "is dead"])
def test_a_lost_momentum_is_put_again_or_begins_anew(holder: str) -> None:
    world = closed_round("nesterov")
    alpha, beta = world.clusters
    momentum = merged(world, 1)[1]
    if holder == "lives":
        alpha.start()  # it has forgotten what it merged, but not beta
        run_until(beta, lambda: "round 2" in "".join(beta.logged) or "contributions/beta" in listed(world, 2))
    world.store.damage(momentum)
    for cluster in world.clusters:
        cluster.life or cluster.start()
    run_all(world, [alpha, beta])
    assert alpha.result is not None
    assert alpha.result.tobytes() == beta.result.tobytes()


@pytest.mark.parametrize("outer", ["average", "nesterov"])
def test_a_finished_cluster_that_comes_back_moves_nothing(outer: str) -> None:
    """It was killed between its last checkpoint and its results."""
    world = World([options(name, 2, outer=outer) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    for cluster in world.clusters:
        cluster.start()
    while alpha.saved is None or not alpha.saved.state.finished:
        for cluster in world.clusters:
            cluster.step()
    alpha.crash()
    run_all(world, [beta])
    assert alpha.contributed
    rounds = len(world.store.round_weights)
    alpha.start()
    run_all(world, [alpha])
    assert alpha.result is not None
    assert alpha.result.tobytes() == beta.result.tobytes()
    assert len(world.store.round_weights) == rounds
    assert not alpha.contributed, "nor does it say that it has brought anything now"


@pytest.mark.parametrize("payload", ["float32", "bfloat16"])
def test_a_finished_cluster_trains_on_from_the_checkpoint_before_its_final_contribution(payload: str) -> None:
    """A step has one checkpoint, so that of the last step may know nothing of what followed it."""
    world = World([options(name, 2, payload=payload) for name in NAMES[:2]], 2, overlap=False)
    alpha = world.clusters[0]
    for cluster in world.clusters:
        cluster.start()
    before = None
    while alpha.saved is None or not alpha.saved.state.finished:
        before = alpha.saved
        for cluster in world.clusters:
            cluster.step()
    run_all(world, world.clusters)
    assert world.store.counted == {1, 2, 3, 4}
    alpha.saved, alpha.result, alpha.asked_for_more = before, None, True
    alpha.start()
    run_all(world, [alpha])
    assert alpha.state.finished
    assert alpha.state.dropped == 0
    assert world.store.counted == {1, 2, 3, 4, 5}


def test_a_finished_cluster_does_not_wait_for_a_vector_that_died_with_its_sender() -> None:
    world = World([options(name, 2) for name in NAMES[:2]], 1, overlap=False)
    alpha, beta = world.clusters
    for cluster in world.clusters:
        cluster.start()
    while alpha.saved is None or not alpha.saved.state.finished:
        for cluster in world.clusters:
            cluster.step()
        if "contributions/alpha" in listed(world, 2):
            beta.crash()
    beta.start()
    run_until(beta, lambda: "contributions/beta" in listed(world, 3))
    beta.crash()
    for key in world.store.list("payloads/000003/"):
        world.store.damage(key)
    run_all(world, [alpha])
    assert alpha.missing == 1


def test_a_contribution_whose_vector_died_with_its_sender_is_withdrawn() -> None:
    world = World([options(name, 2, quorum=2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    alpha.start()
    run_until(alpha, lambda: "contributions/alpha" in listed(world, 1))
    alpha.crash()
    (key,) = world.store.list("payloads/000001/")
    world.store.damage(key)
    beta.start()
    run_for(beta, 60)
    alpha.start()
    run_all(world, [alpha, beta])
    assert any("is withdrawn" in text for text in alpha.logged)
    assert alpha.result is not None
    assert alpha.result.tobytes() == beta.result.tobytes()
    assert len(world.store.counted) == world.next_window


def test_a_result_that_only_one_cluster_has_seen_is_put_again() -> None:
    """As where the bucket is put back just after a round has closed."""
    world = World([options(name, 2, quorum=2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    for cluster in world.clusters:
        cluster.start()
        run_until(cluster, lambda: any("contributions" in key for key in listed(world, 1).split()))
    while "contributions/beta" not in listed(world, 1):
        beta.step()
    run_until(alpha, lambda: alpha.state.round == 1)
    assert beta.state.round == 0
    for key in [key for key in world.store.objects if "/000001/" in key]:
        world.store.delete(key)
    run_all(world, [alpha, beta])
    assert any("rounds/000001/merged.json: is gone, and is put again" in text for text in alpha.logged)


def test_contributions_that_are_deleted_are_made_again() -> None:
    """As where the bucket is put back while clusters wait for each other."""
    world = World([options(name, 2, quorum=2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    alpha.start()
    run_until(alpha, lambda: "contributions/alpha" in listed(world, 1))
    run_for(alpha, 20)
    world.store.delete(documents.contribution_key(1, "alpha"))
    beta.start()
    run_all(world, [alpha, beta])
    assert any("contributions/alpha.json: is gone, and is put again" in text for text in alpha.logged)

    world = World([options(name, 2, quorum=2) for name in NAMES[:2]], 2, overlap=False)
    alpha, beta = world.clusters
    alpha.start()
    run_until(alpha, lambda: "contributions/alpha" in listed(world, 1))
    alpha.crash()
    alpha.start()
    run_until(alpha, lambda: any("has already contributed" in text for text in alpha.logged))
    world.store.delete(documents.contribution_key(1, "alpha"))
    beta.start()
    run_all(world, [alpha, beta])
    assert any(
        "alpha.json: is gone; this cluster's contribution is withdrawn" in text for text in alpha.logged
    )


def test_what_rounding_left_over_survives_a_kill_while_a_round_closes() -> None:
    base = np.zeros(LENGTH, np.float32)
    weights, residual = base.copy(), base.copy()
    weights[:8], residual[:8] = 1.0003, 0.0001
    state = ClusterState(base=base, residual=residual)
    rounds = Rounds(options("alpha", 1, payload="bfloat16"), KEY, state)
    store = Store()
    drive(store, agree_on_manifest(rounds._session, base, SETTINGS, SCHEMA))
    saved = state.while_contributing(weights, 8)
    drive(store, rounds.synchronize(weights, 8))
    again = Rounds(options("alpha", 1, payload="bfloat16"), KEY, saved)
    drive(store, again.rejoin(weights, 8, SETTINGS, SCHEMA))
    assert np.abs(rounds.state.residual).max() > 0
    assert again.state.residual.tobytes() == rounds.state.residual.tobytes()


def test_an_earlier_starts_contribution_that_arrives_late_is_not_taken_for_this_ones() -> None:
    world = World([options("alpha", 1, deadline_s=5.0)], 2, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    key = documents.contribution_key(1, "alpha")
    while alpha.life is not None:
        alpha.step(lose=lambda put: put.key == key)
    alpha.start()
    run_until(alpha, lambda: alpha.saved is not None and alpha.saved.samples == 2)
    world.store.put(world.store.late_puts.pop())
    run_all(world, [alpha])
    assert alpha.state.dropped == 2, "the second start cannot know what of its own is in there"
    assert world.store.counted == {1, 3}


def test_what_run_json_says_is_told_in_one_short_line() -> None:
    store, zeros = Store(), np.zeros(LENGTH, np.float32)
    hostile = {"\x1b[2J": "y" * 10_000, "model.units": ["\n\x07"] * 10_000}
    drive(store, Rounds(options("alpha", 1), KEY).join(zeros, hostile, SCHEMA))
    with pytest.raises(ConfigError) as caught:
        drive(store, Rounds(options("beta", 1), KEY).join(zeros, SETTINGS, SCHEMA))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2000


def test_names_that_no_cluster_can_have_are_not_even_read() -> None:
    world = World([options("alpha", 2, deadline_s=5.0)], 1, overlap=False)
    (alpha,) = world.clusters
    for name in ("../../beta", "\x1b[2J", "be ta", ".beta", "b/c"):
        world.store.objects[documents.contribution_key(1, name)] = b"{}"
    world.store.listings.append(sorted(world.store.objects))
    alpha.start()
    run_all(world, [alpha])
    assert not any("refused" in text for text in alpha.logged)


def test_a_newcomer_needs_only_the_newest_round() -> None:
    world = World([options("alpha", 1)], 2, overlap=False)
    world.clusters[0].start()
    run_all(world, world.clusters)
    for key in world.store.list("payloads/000000/"):
        world.store.damage(key)
    late = Cluster(world, options("beta", 1), 1, False)
    late.start()
    run_all(world, [late])
    assert late.result is not None


def merged(world: World, number: int) -> list[str]:
    """Keys of what a round has come to."""
    found = json.loads(world.store.objects[documents.result_key(number)])
    return [
        documents.payload_key(number, payload["sha256"])
        for payload in (found["payload"], found["momentum"])
        if payload
    ]


def listed(world: World, number: int) -> str:
    return " ".join(world.store.list(f"rounds/{number:06d}/"))


def run_for(cluster: Cluster, operations: int) -> None:
    for _ in range(operations):
        cluster.step()


def run_until(cluster: Cluster, condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        cluster.step()
    raise AssertionError(cluster.logged)


def test_a_contribution_without_the_key_does_not_move_the_weights() -> None:
    world = World([options("alpha", 2, deadline_s=5.0)], 1, overlap=False)
    (alpha,) = world.clusters
    vector = np.full(LENGTH, 1e6, np.float32).tobytes()
    name = documents.payload_hash(vector)
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
    world.store.objects[key] = documents.encode_document(forged, key, Signer(b"not the key of the others"))
    world.store.listings.append(sorted(world.store.objects))
    alpha.start()
    run_all(world, [alpha])
    assert any(f"{key}: refused: is not signed" in text for text in alpha.logged)
    assert alpha.result is not None
    assert abs(alpha.result).max() <= 1


def test_a_forged_merge_ends_the_run_rather_than_being_adopted() -> None:
    world = World([options("alpha", 1)], 1, overlap=False)
    (alpha,) = world.clusters
    world.store.objects[documents.result_key(1)] = b'{"round": 1}'
    alpha.start()
    with pytest.raises(StorageError, match="is not signed"):
        run_all(world, [alpha])


def closed_alone(name: str, store: Store | None = None, periods: int = 1) -> World:
    """A cluster that has trained to its end without the other one, which may come yet."""
    world = World([options(name, 2, quorum=1, deadline_s=3.0)], periods, overlap=False)
    world.store = store or world.store
    world.store.counted.clear()
    world.clusters[0].start()
    run_all(world, world.clusters)
    return world


def replay(source: Store, target: Store, key: str) -> None:
    target.objects[key] = source.objects[key]
    target.put_first.setdefault(key, source.objects[key])
    target.listings.append(sorted(target.objects))


def test_what_an_earlier_run_of_the_same_name_has_signed_is_of_no_use() -> None:
    earlier, world = closed_alone("beta"), World([options("alpha", 2, deadline_s=5.0)], 1, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    run_until(alpha, lambda: documents.manifest_key() in world.store.objects)
    replayed = documents.contribution_key(1, "beta")
    for key in (replayed, *(key for key in earlier.store.objects if key.startswith("payloads/000001/"))):
        replay(earlier.store, world.store, key)
    run_all(world, [alpha])
    assert any(f"{replayed}: refused: is not signed" in text for text in alpha.logged)

    again = World([options("alpha", 2)], 1, overlap=False)
    again.clusters[0].start()
    run_until(again.clusters[0], lambda: documents.manifest_key() in again.store.objects)
    replay(earlier.store, again.store, documents.result_key(1))
    with pytest.raises(StorageError, match=r"rounds/000001/merged\.json: is not signed"):
        run_all(again, again.clusters)


def test_two_results_of_one_round_are_noticed() -> None:
    """Whoever may delete objects can show two clusters two results, each of which one of them has signed."""
    world = World([options("alpha", 2, quorum=1, deadline_s=3.0)], 3, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    run_until(alpha, lambda: alpha.state.round == 1)
    store = world.store
    for key in (documents.result_key(1), documents.contribution_key(1, "alpha")):
        store.delete(key)
    closed_alone("beta", store)
    with pytest.raises(StorageError, match="does not build on the round 1 that this cluster knows"):
        run_all(world, [alpha])


def test_two_results_of_the_last_round_are_noticed_by_who_ends_later() -> None:
    """It has no next round, which would name one of them."""
    world = closed_alone("alpha")
    store = world.store
    ends = [key for key in store.objects if "/ends/" in key]
    assert ends == [documents.end_key(2, "alpha")]
    for key in [key for key in store.objects if key.startswith("rounds/") and key not in ends]:
        store.delete(key)
    with pytest.raises(
        StorageError, match=r"ends/alpha\.json: cluster alpha has ended with another result of round 2"
    ):
        closed_alone("beta", store)


def test_a_store_that_takes_no_end_costs_no_model() -> None:
    def refused(key: str, document: documents.Document) -> Steps[None]:
        raise StorageError(f"{key}: a file is in the way")
        yield

    session: Any = SimpleNamespace(
        state=SimpleNamespace(round=2, result="0" * 64),
        options=SimpleNamespace(cluster="alpha"),
        repository=SimpleNamespace(put_document=refused),
    )
    (said,) = list(end_alike(session))
    assert isinstance(said, Log)
    assert "could not be compared: rounds/000002/ends/alpha.json: a file is in the way" in said.text


def test_ends_that_are_none_are_passed_over() -> None:
    world = World([options("alpha", 1)], 1, overlap=False)
    (alpha,), store = world.clusters, world.store
    forged = documents.RunEnd(round=2, cluster="beta", result="0" * 64)
    for name in ("beta", "gamma"):
        key = documents.end_key(2, name)
        signer = Signer(b"not the key of the others") if name == "beta" else KEY
        store.objects[key] = documents.encode_document(forged, key, signer)
    store.objects[f"{documents.ends_prefix(2)}../x"] = b""
    store.listings.append(sorted(store.objects))
    alpha.start()
    run_all(world, [alpha])
    assert alpha.result is not None
    assert alpha.state.round == 2
    assert any("ends/beta.json: refused: is not signed" in text for text in alpha.logged)


def test_a_cluster_that_ends_again_ends_alike() -> None:
    world = closed_alone("alpha")
    (alpha,) = world.clusters
    alpha.result = None
    alpha.start()
    run_all(world, [alpha])
    assert alpha.result is not None


def test_a_store_that_was_put_back_is_noticed() -> None:
    world = closed_alone("alpha", periods=2)
    (alpha,), store = world.clusters, world.store
    assert alpha.state.round == 3
    for key in [key for key in store.objects if "/000003/" in key]:
        store.delete(key)
    with pytest.raises(StorageError, match=r"rounds/000003/merged\.json: is gone"):
        rejoin(alpha, store)


def test_a_store_that_was_put_back_under_a_running_cluster_takes_nothing_from_it() -> None:
    world = World([options("alpha", 1)], 4, overlap=False)
    (alpha,), store = world.clusters, world.store
    alpha.start()
    run_until(alpha, lambda: alpha.state.round == 1)
    saved = copy.deepcopy(alpha.saved)
    run_until(alpha, lambda: alpha.state.round == 3)
    for key in [key for key in store.objects if "/000002" in key or "/000003" in key]:
        store.delete(key)
    run_all(world, [alpha])
    assert alpha.result is not None
    assert alpha.result.sum() == 4, "the windows of all periods"
    alpha.saved = saved
    with pytest.raises(
        StorageError, match=r"rounds/000002/merged\.json: is gone, though later rounds are there"
    ):
        rejoin(alpha, store)


def test_a_run_json_that_is_gone_is_not_put_anew_by_a_cluster_that_has_joined() -> None:
    world = closed_alone("alpha")
    store = world.store
    store.delete(documents.manifest_key())
    with pytest.raises(
        StorageError, match=r"run\.json: is gone, though this cluster has joined its run; restore"
    ):
        rejoin(world.clusters[0], store)
    assert documents.manifest_key() not in store.objects, "the run's own may be put back there"


def test_a_result_that_was_replaced_while_its_cluster_was_away_is_noticed() -> None:
    world = closed_alone("alpha")
    (alpha,), store = world.clusters, world.store
    for key in [key for key in store.objects if key.startswith("rounds/")]:
        store.delete(key)
    closed_alone("beta", store)
    with pytest.raises(StorageError, match="does not build on the round 2 that this cluster knows"):
        rejoin(alpha, store)


def test_another_run_json_than_the_one_joined_is_refused() -> None:
    world, other = closed_alone("alpha"), closed_alone("alpha")
    world.store.objects[documents.manifest_key()] = other.store.objects[documents.manifest_key()]
    with pytest.raises(StorageError, match=r"run\.json: is of another run than this cluster has joined"):
        rejoin(world.clusters[0], world.store)


def rejoin(cluster: Cluster, store: Store) -> None:
    saved = cluster.saved
    assert saved is not None
    rounds = Rounds(cluster.options, KEY, saved.state)
    drive(store, rounds.rejoin(saved.weights, saved.samples, SETTINGS, SCHEMA))


def join(store: Store, key: Signer = KEY, **more: object) -> np.ndarray:
    return drive(
        store, Rounds(options("beta", 2, **more), key).join(np.zeros(LENGTH, np.float32), SETTINGS, SCHEMA)
    )


def test_a_cluster_without_the_key_does_not_join_a_signed_run() -> None:
    store = closed_alone("alpha").store
    with pytest.raises(StorageError, match=r"run\.json: is signed; set HPC_LSTM_SYNC_KEY"):
        join(store, Signer())


def test_a_run_that_was_copied_to_another_place_is_joined_only_if_asked_for() -> None:
    store = closed_alone("alpha").store
    with pytest.raises(StorageError, match=r"run\.json: was signed for '' and lies in 's3://other/place'"):
        join(store, place="s3://other/place")
    join(store, place="s3://other/place", accept_older=True)


def test_a_signed_run_of_an_older_version_is_joined_only_if_asked_for_and_then_goes_on_as_it_was() -> None:
    store = Store()
    old = Rounds(options("alpha", 1, run_id=""), KEY)
    with pytest.raises(StorageError, match="was signed by an older version"):
        drive(store, old.join(np.zeros(LENGTH, np.float32), SETTINGS, SCHEMA))
    accepting = Rounds(options("alpha", 1, run_id="", accept_older=True), KEY)
    drive(store, accepting.join(np.zeros(LENGTH, np.float32), SETTINGS, SCHEMA))
    drive(store, accepting.synchronize(np.zeros(LENGTH, np.float32), 0))
    for key in (documents.manifest_key(), documents.result_key(1)):
        assert json.loads(store.objects[key]).keys().isdisjoint({"id", "place", "previous"})
    # From then on the cluster knows which run it is.
    again = Rounds(options("alpha", 1), KEY, accepting.state)
    drive(store, again.rejoin(np.zeros(LENGTH, np.float32), 0, SETTINGS, SCHEMA))


def test_clusters_that_train_something_else_are_refused_by_the_key_that_differs() -> None:
    world = World([options("alpha", 1)], 1, overlap=False)
    (alpha,) = world.clusters
    alpha.start()
    run_all(world, [alpha])
    zeros = np.zeros(LENGTH, np.float32)
    with pytest.raises(ConfigError, match=r"model\.units: is 4 here and 3 in the run"):
        drive(world.store, Rounds(options("beta", 1), KEY).join(zeros, {"model.units": 4}, SCHEMA))
    with pytest.raises(ConfigError, match="a network with other parameters"):
        drive(world.store, Rounds(options("beta", 1), KEY).join(zeros, SETTINGS, "1" * 64))
