"""How a round closes: a cluster waits for the others, then one merges, and all adopt the same result."""

from __future__ import annotations

import numpy as np

from hpc_lstm.clusters import documents, recovery
from hpc_lstm.clusters.adopting import RoundUpdate, catch_up
from hpc_lstm.clusters.documents import Contribution
from hpc_lstm.clusters.merging import merge
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import List, Log, LogStoredRuns, Steps, Wait

# Seconds that each cluster gives the one before it, in order of name, to merge first.
STAGGER_S = 1.0
# After this many seconds of waiting for other clusters the log says, once, what else lies in the store.
ALONE_S = 60.0


def close_round(
    session: Session, weights: np.ndarray, samples: int, following: bool = False
) -> Steps[RoundUpdate | None]:
    """Wait until the next round is closed, or close it.

    Args:
        weights, samples: of this cluster now, as for ``Rounds.synchronize``.
        following: this cluster has made its final contribution and only follows the others.

    Returns:
        None if nobody contributed in time to a round that this cluster only follows, or if this cluster has
        withdrawn its contribution.
    """
    options = session.options
    number, finished = session.state.round + 1, session.finished_clusters
    contributions: dict[str, Contribution] = {}
    now = since = yield from Wait(0)
    ready_since: float | None = None
    attempt, logged_quorum = 0, False
    while True:
        keys = yield from List(documents.round_prefix(number))
        if documents.result_key(number) in keys:
            return (yield from catch_up(session, number, weights, samples))
        if attempt and attempt % recovery.CHECK_EVERY == 0:
            yield from recovery.restore_documents(session)
            yield from recovery.restore_payloads(session)
            if not following and (yield from recovery.withdraw_contribution(session, contributions)):
                return None
        yield from _delete_expired_rounds(session)  # here, where there may be time
        if session.state.pending:  # a listing may lag behind what this cluster has put itself
            keys = [*keys, documents.contribution_key(number, options.cluster)]
        yield from session.repository.read_contributions(number, keys, contributions, session.state.result)

        present = finished | {one.cluster for one in contributions.values()}
        expired = now - since >= options.deadline_s
        quorum = expired and len(present) >= options.quorum
        if contributions and (quorum or len(present) >= options.expected):
            ready_since = now if ready_since is None else ready_since
            if now - ready_since >= _merge_delay_s(session, contributions) and (
                yield from merge(session, contributions, expired=expired)
            ):
                return (yield from catch_up(session, number, weights, samples))
        elif expired and not logged_quorum and (contributions or not following):
            logged_quorum = True
            yield from Log(
                f"round {number}: {len(present)} of {options.expected} clusters have contributed or finished "
                f"after {now - since:.0f} s, {options.quorum} are needed (sync.quorum); waiting"
            )
        if expired and following and not contributions:  # or none that can be read
            return None
        if now - since >= ALONE_S and len(present) < options.expected and not session.logged_runs:
            session.logged_runs = True
            yield from LogStoredRuns(
                f"round {number}: {len(present)} of {options.expected} clusters have contributed or finished "
                f"after {now - since:.0f} s"
            )
        attempt += 1
        now = yield from Wait(attempt)


def _merge_delay_s(session: Session, contributions: dict[str, Contribution]) -> float:
    """How long this cluster lets others merge first: all would make the same bytes, but one is cheaper."""
    names = sorted(one.cluster for one in contributions.values())
    own = session.options.cluster
    return (names.index(own) if own in names else len(names)) * STAGGER_S


def _delete_expired_rounds(session: Session) -> Steps[None]:
    newest, session.expired_round = session.expired_round, 0
    if newest >= 1:
        yield from session.repository.delete_rounds(newest)
