"""What a cluster does about vectors in the store that are damaged or missing.

Whoever finds a damaged vector deletes it (``repository``). Then, in this order: whoever holds it puts it again; a lost
result is computed again from its contributions; a contribution without its vector is withdrawn; and where nothing
helps, the clusters end, after a while, with their state in a checkpoint.
"""

from __future__ import annotations

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, Document, RoundResult
from hpc_lstm.clusters.encoding import encode_vector
from hpc_lstm.clusters.merging import contributed_change, outer_update
from hpc_lstm.clusters.outer_step import WeightedMean
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import Delete, Get, Log, Put, Steps, Wait
from hpc_lstm.errors import RoundLostError

# Polls between two checks that what this cluster has put is still there.
CHECK_EVERY = 4
# A missing vector is waited for as long as other clusters are, but not less than this.
MIN_RECOVERY_S = 60.0


def restore_documents(session: Session) -> Steps[None]:
    """Put the newest result and this start's contribution again where somebody has deleted them.

    Clusters that have not seen them would wait for ever.
    """
    if session.newest is not None:
        yield from _restore(session, documents.result_key(session.newest.round), session.newest)
    if session.contribution is not None:
        one = session.contribution
        yield from _restore(session, documents.contribution_key(one.round, one.cluster), one)


def restore_payloads(session: Session) -> Steps[None]:
    """Put again what others need and this cluster holds, where somebody found it damaged and deleted it."""
    state, repository = session.state, session.repository
    stored = yield from repository.payload_keys(state.round + 1)
    if state.pending is not None and session.upload is not None and session.upload[0] not in stored:
        yield from Put(*session.upload)
    stored = yield from repository.payload_keys(state.round)
    held = {
        key: vector
        for key, vector in repository.merged_here.items()
        if documents.round_of_payload(key) == state.round
    }
    if session.newest is not None:
        held[documents.payload_key(state.round, session.newest.payload.sha256)] = state.base
    elif state.round == 0:
        held[session.initial_key] = state.base
    for key, vector in held.items():
        if key not in stored:
            yield from Put(key, encode_vector(vector, "float32"))


def recompute_result(session: Session, result: RoundResult) -> Steps[None]:
    """Put the vectors of the next round's result again, computed from its contributions, if all of them can be read."""
    state, repository = session.state, session.repository
    number = result.round
    if number != state.round + 1:
        return
    mean = WeightedMean(state.base)
    for member in result.members:
        key = documents.contribution_key(number, member.cluster)
        one = yield from repository.find_document(Contribution, key)
        if one is None or one.payload.sha256 != member.payload:
            return
        change = yield from contributed_change(session, one)
        if change is None:
            return
        mean.add(change, member.samples)
    update = yield from outer_update(session, mean.result(), reset_momentum=False)
    for vector, payload in zip(update or (), (result.payload, result.momentum), strict=False):
        if vector is not None and payload is not None:
            data = encode_vector(vector, "float32")
            # It has another hash where the momentum was reset: nobody could use it.
            if documents.payload_hash(data) == payload.sha256:
                yield from Put(documents.payload_key(number, payload.sha256), data)


def withdraw_contribution(session: Session, known: dict[str, Contribution]) -> Steps[bool]:
    """Give up a contribution that an earlier start made, if it or its vector is gone: nobody can put that again.

    Args:
        known: the round's contributions by key, from which it is removed.

    Returns:
        Whether it is no longer there, so that the cluster can contribute anew.
    """
    state, number = session.state, session.state.round + 1
    key = documents.contribution_key(number, session.options.cluster)
    if session.upload is not None:
        return False
    one = yield from session.repository.find_document(Contribution, key)
    gone = key
    if one is not None:
        gone = documents.payload_key(number, one.payload.sha256)
        if gone in (yield from session.repository.payload_keys(number)):
            return False
    yield from Log(f"{gone}: is gone; this cluster's contribution is withdrawn, to contribute again")
    if one is not None:
        yield from Delete(key)
    known.pop(key, None)
    state.pending = None
    return True


def _restore(session: Session, key: str, document: Document) -> Steps[None]:
    if (yield from Get(key, document.max_bytes)) is None:
        yield from Log(f"{key}: is gone, and is put again")
        yield from session.repository.put_document(key, document)


def wait_for_payload(session: Session, attempt: int, since: float, key: str, what: str) -> Steps[None]:
    """Wait before the next attempt to read a vector that somebody may put again.

    Args:
        since: when the first attempt failed, by the clock of ``Wait``.
        what: the vector, as the log calls it.

    Raises:
        RoundLostError: nobody has for ``sync.deadline_s``, or a minute if that is longer.
    """
    if attempt == CHECK_EVERY:
        yield from Log(f"{what} cannot be read; waiting for them ({key})")
    waited = (yield from Wait(attempt)) - since
    if waited > max(session.options.deadline_s, MIN_RECOVERY_S):
        raise RoundLostError(
            f"{key}: {what} cannot be read, and no cluster has uploaded them again within {waited:.0f} s; restore this "
            "object and run the same command with --resume, or start another sync.run"
        )
