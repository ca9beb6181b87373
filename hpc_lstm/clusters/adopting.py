"""How a cluster adopts closed rounds, and what becomes of its own change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.clusters import documents, recovery
from hpc_lstm.clusters.contributing import rounding_error
from hpc_lstm.clusters.documents import Member, RoundResult
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import Log, Steps, Wait
from hpc_lstm.errors import StorageError


@dataclass(frozen=True)
class RoundUpdate:
    """What closed rounds mean for this cluster.

    Attributes:
        round: the newest round, which it has adopted.
        weights: float32 [P], of that round, the same for all clusters.
        origin: float32 [P]; the cluster's change since these weights is added to the new ones; None: nothing is.
        counted: the cluster's contribution took part.
        missing: clusters without a final contribution when ``Rounds.finish`` stopped waiting for them.
        contributed: what was counted was put by this start, in this call.
    """

    round: int
    weights: np.ndarray
    origin: np.ndarray | None
    counted: bool
    missing: int = 0
    contributed: bool = False

    def apply(self, weights: np.ndarray) -> np.ndarray:
        """The cluster's weights after the update, float32 [P], from those that it has now."""
        if self.origin is None or np.array_equal(self.origin, weights):
            return self.weights
        own = weights.astype(np.float64)
        own -= self.origin
        own += self.weights
        return own.astype(np.float32)


def catch_up(session: Session, number: int, weights: np.ndarray, samples: int) -> Steps[RoundUpdate]:
    """Adopt round ``number`` or a newer one, and decide what becomes of this cluster's own change.

    Args:
        weights, samples: of this cluster now, as for ``Rounds.synchronize``.
    """
    state = session.state
    before, base, pending = state.round, state.base, state.pending
    newest, results = yield from load_round(session, number)
    counted = _rounds_counted_in(session, results)
    first = counted.get(before + 1)
    pending_counted = pending is not None and first is not None and pending.payload in ("", first.payload)
    contributed = pending_counted and session.upload is not None
    windows = sum(member.samples for member in counted.values())
    # The checkpoint is from just before the final contribution, and an earlier start trained no further. Where changes
    # that come late are dropped, it may have.
    folds = session.options.late == "fold"
    ended = session.rejoining and session.has_finished and folds and windows == samples - state.samples
    state.finished |= ended
    state.pending = session.upload = session.contribution = None

    if ended or len(counted) > (1 if pending_counted else 0):
        # An earlier start of this cluster got further than the checkpoint: at least this change is in there.
        if not session.rejoining:  # a checkpoint's own windows are the first of those that were contributed
            state.dropped += samples - state.samples
        state.samples, state.staleness = samples, 0
        state.residual = state.residual[:0]
        return RoundUpdate(newest, state.base, weights, True)
    if pending_counted and pending is not None:
        state.residual = rounding_error(session, base, pending.weights)
        state.samples, state.staleness = pending.samples, 0
        return RoundUpdate(newest, state.base, pending.weights, True, contributed=contributed)
    if state.finished and samples == state.samples:
        return RoundUpdate(newest, state.base, base, True)  # it only follows, and contributes nothing

    if session.options.late == "fold":
        state.staleness += newest - before
        yield from Log(
            f"round {newest}: too late to be counted; the change is added to the next contribution"
        )
        return RoundUpdate(newest, state.base, base, False)
    upto = pending.samples if pending is not None else samples
    state.dropped += upto - state.samples
    state.samples, state.staleness = upto, 0
    yield from Log(f"round {newest}: too late to be counted; the change is dropped")
    return RoundUpdate(newest, state.base, pending.weights if pending is not None else weights, False)


def load_round(
    session: Session, number: int, *, joining: bool = False
) -> Steps[tuple[int, list[RoundResult]]]:
    """Adopt the weights of round ``number``, or of a newer one if they are gone.

    Args:
        joining: the cluster knows no round before.

    Returns:
        Which, and the results of all rounds since the one that the cluster stood at.

    Raises:
        StorageError: the rounds do not follow on the one that the cluster stood at.
        RoundLostError: they are gone, and nobody has put them again for too long.
    """
    state = session.state
    attempt, since = 0, (yield from Wait(0))
    while True:
        key = documents.result_key(number)
        result = yield from session.repository.require_valid(RoundResult, key)
        if result is not None and result.round == number:
            length = len(state.base)
            vector = yield from session.repository.get_vector(number, result.payload, length)
            if vector is not None:
                results = [result] if joining else (yield from _results_up_to(session, result))
                state.round, state.base, state.result = number, vector, result.digest()
                session.newest, session.momentum = result, None
                return number, results
            if attempt % (2 * recovery.CHECK_EVERY) == recovery.CHECK_EVERY:
                yield from recovery.recompute_result(session, result)
        newer = yield from session.repository.newest_closed_round()
        if newer > number:
            number, attempt, since = newer, 0, (yield from Wait(0))
            continue
        attempt += 1
        if result is not None:
            key = documents.payload_key(number, result.payload.sha256)
        yield from recovery.wait_for_payload(
            session, attempt, since, key, f"the weights of round {number}, which is closed,"
        )


def _results_up_to(session: Session, newest: RoundResult) -> Steps[list[RoundResult]]:
    """The results of the rounds after ``state.round`` up to ``newest``, in order.

    Raises:
        StorageError: one does not build on the one before; or one is missing in a signed run.
    """
    results, known = [], session.state.result
    for number in range(session.state.round + 1, newest.round + 1):
        key, result = documents.result_key(number), newest
        if number < newest.round:
            found = yield from session.repository.require_valid(RoundResult, key)
            if found is None:
                if session.repository.is_signed:
                    raise StorageError(f"{key}: is gone, though later rounds are there; restore the store")
                known = ""
                continue
            result = found
        if not session.repository.follows(result, known):
            raise StorageError(documents.other_history(key, number))
        results.append(result)
        known = result.digest()
    return results


def _rounds_counted_in(session: Session, results: list[RoundResult]) -> dict[int, Member]:
    """How this cluster took part, by round."""
    members = {result.round: result.member(session.options.cluster) for result in results}
    return {number: member for number, member in members.items() if member is not None}
