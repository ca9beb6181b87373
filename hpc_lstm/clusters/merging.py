"""Closing a round: from the contributions to it to the new weights, and the document that names them.

All who merge the same contributions make the same bytes, so it does not matter who is first.
"""

from __future__ import annotations

import numpy as np

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, Member, Payload, RoundResult
from hpc_lstm.clusters.encoding import decode_vector
from hpc_lstm.clusters.outer_step import WeightedMean, nesterov_step
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import Log, Steps


def merge(session: Session, contributions: dict[str, Contribution], *, expired: bool) -> Steps[bool]:
    """Merge the contributions to the next round, and put its result if nobody else has.

    Args:
        contributions: by key; those whose vector cannot be read are removed.
        expired: the deadline has passed, so that a quorum is enough.

    Returns:
        False if it is worth waiting for vectors that cannot be read now.
    """
    options, state, repository = session.options, session.state, session.repository
    number, wanted, finished = state.round + 1, len(contributions), session.finished_clusters

    def enough() -> bool:
        present = finished | {one.cluster for one in contributions.values()}
        return len(contributions) == wanted or (
            len(contributions) > 0 and expired and len(present) >= options.quorum
        )

    # A missing vector is put again by its cluster, or withdrawn; until then there is no need to read the others.
    stored = yield from repository.payload_keys(number)
    for key, one in list(contributions.items()):
        payload_key = documents.payload_key(number, one.payload.sha256)
        if payload_key not in stored and not (session.upload and session.upload[0] == payload_key):
            del contributions[key]
    if not enough():
        return False

    mean, members = WeightedMean(state.base), []
    for key, one in sorted(contributions.items(), key=lambda item: item[1].cluster):
        change = yield from contributed_change(session, one)
        if change is None:
            del contributions[key]
        else:
            mean.add(change, one.samples)
            members.append(one)
    if not enough():
        return False
    update = yield from outer_update(session, mean.result(), reset_momentum=expired)
    if update is None:
        return False

    weights, momentum = update
    result = yield from _put_vectors(session, members, weights, momentum)
    if (yield from repository.put_document(documents.result_key(number), result)):
        session.expired_round = number - options.keep
    return True


def _put_vectors(
    session: Session, members: list[Contribution], weights: np.ndarray, momentum: np.ndarray | None
) -> Steps[RoundResult]:
    """Put the vectors of a result; returns the document that names them."""
    repository, number = session.repository, session.state.round + 1
    momentum_payload: Payload | None = None
    if momentum is not None:
        momentum_payload, _ = yield from repository.put_vector(number, momentum, "float32", "change")
    payload, _ = yield from repository.put_vector(number, weights, "float32", "weights")
    repository.merged_here = {documents.payload_key(number, payload.sha256): weights}
    if momentum is not None and momentum_payload is not None:
        repository.merged_here[documents.payload_key(number, momentum_payload.sha256)] = momentum
    final = {one.cluster for one in members if one.final}
    return RoundResult(
        round=number,
        members=[
            Member(
                cluster=one.cluster,
                samples=one.samples,
                staleness=one.staleness,
                payload=one.payload.sha256,
            )
            for one in members
        ],
        # A cluster that was final once and contributes again, from an older checkpoint, is not finished any more.
        departed=sorted(session.finished_clusters - {one.cluster for one in members} | final),
        samples=(session.newest.samples if session.newest else 0) + sum(one.samples for one in members),
        payload=payload,
        momentum=momentum_payload,
        previous=repository.name_of(session.state.result),
    )


def contributed_change(session: Session, one: Contribution) -> Steps[np.ndarray | None]:
    """A contribution to the next round as a change against the base, float64 [P]; None if it cannot be read now."""
    base, payload, number = session.state.base, one.payload, session.state.round + 1
    vector: np.ndarray | None
    if session.upload is not None and session.upload[0] == documents.payload_key(number, payload.sha256):
        vector = decode_vector(session.upload[1], payload.encoding, len(base))
    else:
        vector = yield from session.repository.get_vector(number, payload, len(base))
    if vector is None:
        return None
    change = vector.astype(np.float64)
    if payload.what == "weights":
        change -= base
    return change


def outer_update(
    session: Session, averaged: np.ndarray, *, reset_momentum: bool
) -> Steps[tuple[np.ndarray, np.ndarray | None] | None]:
    """Take the outer optimizer's step.

    Args:
        averaged: float64 [P], the base plus the mean change.
        reset_momentum: start from zero where the momentum of the round before cannot be read.

    Returns:
        New weights and momentum, float32 [P] each, the latter None if there is none; None instead of both if the
        momentum of the round before has to be waited for.
    """
    options, state = session.options, session.state
    if options.outer == "average":
        return averaged.astype(np.float32), None
    before = yield from _momentum_before(session)
    if before is None:
        if not reset_momentum:
            return None
        yield from Log(f"the momentum of round {state.round} cannot be read: it is reset to zero")
        before = np.zeros(len(state.base), np.float32)
    weights, momentum = nesterov_step(state.base, averaged, before, options.outer_lr, options.outer_momentum)
    return weights.astype(np.float32), momentum


def _momentum_before(session: Session) -> Steps[np.ndarray | None]:
    """The outer optimizer's momentum after round ``state.round``, float32 [P]; None if it cannot be read now."""
    length = len(session.state.base)
    if session.newest is None or session.newest.momentum is None:
        return np.zeros(length, np.float32)
    if session.momentum is None:
        session.momentum = yield from session.repository.get_vector(
            session.newest.round, session.newest.momentum, length
        )
    return session.momentum
