"""What a cluster contributes to the next round: its weights, or its change with fewer bytes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution
from hpc_lstm.clusters.encoding import decode_vector, encode_vector
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.state import PendingContribution
from hpc_lstm.clusters.steps import Steps


def contribute(session: Session, weights: np.ndarray, samples: int, final: bool) -> Steps[None]:
    """Put this cluster's contribution to the next round, unless an earlier start's is there, which then counts.

    Args:
        weights, samples, final: as for ``Rounds.synchronize``.
    """
    options, state = session.options, session.state
    number = state.round + 1
    what: Literal["weights", "change"] = "weights"
    vector = weights
    if options.payload != "float32":  # rounding costs a change far less than the weights
        what, vector = "change", session.outgoing_change(state.base, weights)
    payload, data = yield from session.repository.put_vector(number, vector, options.payload, what)
    contribution = Contribution(
        round=number,
        cluster=options.cluster,
        samples=samples - state.samples,
        staleness=state.staleness,
        lease=options.lease,
        final=final,
        payload=payload,
        previous=session.repository.name_of(state.result),
    )
    key = documents.contribution_key(number, options.cluster)
    if not (yield from session.repository.put_document(key, contribution)):
        stored = yield from session.repository.find_document(Contribution, key)
        if stored is not None and stored.model_copy(update={"lease": options.lease}) != contribution:
            return
    session.upload = (documents.payload_key(number, payload.sha256), data)
    session.contribution = contribution
    state.pending = PendingContribution(weights.copy(), samples, payload.sha256)


def rounding_error(session: Session, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What rounding has lost of a contribution, float32 [P]; in float32 nothing.

    Args:
        base, weights: float32 [P], between which the change was contributed.
    """
    if session.options.payload == "float32":
        return session.state.residual
    change = session.outgoing_change(base, weights)
    return change - decode_vector(encode_vector(change, "bfloat16"), "bfloat16", len(change))
