"""How a cluster ends: it writes down which result it ended with, for whoever ends later to compare.

A round's result names the one before, so two results of one round are noticed in the next. The last has no next.
"""

from __future__ import annotations

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import RunEnd
from hpc_lstm.clusters.session import Session
from hpc_lstm.clusters.steps import List, Log, Steps
from hpc_lstm.errors import StorageError


def end_alike(session: Session) -> Steps[None]:
    """Put the result that this cluster ends with, and compare it with those of the clusters that ended before.

    Nobody is waited for: of two clusters that end at the same round, the later one compares. Those that ended at other
    rounds, as after ``sync.deadline_s``, have nothing to compare.

    Raises:
        StorageError: another cluster, or an earlier start of this one, has ended with another result of this round.
    """
    number, cluster = session.state.round, session.options.cluster
    if not number:
        return
    own = RunEnd(round=number, cluster=cluster, result=session.state.result)
    try:
        others = yield from _exchange(session, own)
    except StorageError as error:  # whatever is in its way, the run has ended, and its model is whole
        yield from Log(
            f"whether other clusters have ended with the same result could not be compared: {error}"
        )
        return
    for key, other in others:
        if other.result != own.result:
            raise StorageError(
                f"{key}: {documents.other_end(other.cluster, number)} than this cluster: objects of this run were "
                "replaced, or put back to an earlier state; no model is written; start another sync.run"
            )


def _exchange(session: Session, own: RunEnd) -> Steps[list[tuple[str, RunEnd]]]:
    """Put how this cluster has ended, and return how others have, by key."""
    number, found = own.round, []
    yield from session.repository.put_document(documents.end_key(number, own.cluster), own)
    for key in sorted((yield from List(documents.ends_prefix(number)))):
        if not documents.END_KEY.fullmatch(key):
            continue
        other = yield from session.repository.find_document(RunEnd, key)
        if other is not None and documents.end_key(other.round, other.cluster) == key:
            found.append((key, other))
    return found
