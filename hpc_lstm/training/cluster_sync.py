"""How training takes part in the rounds of clusters: a stop or a lost round leaves a checkpoint behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc_lstm.errors import RoundLostError
from hpc_lstm.training import log as messages
from hpc_lstm.training.outputs import Outputs, save_checkpoint
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState

if TYPE_CHECKING:
    from hpc_lstm.clusters.synchronizer import ClusterSynchronizer


def join(run: Run, state: TrainState, *, accept_older: bool) -> None:
    """Join the other clusters, for the first time or again, and start from the weights of their newest round.

    Args:
        accept_older: take a signed run that an older version began, or that was moved.

    Raises:
        StopRequested: a signal came while waiting for them.
    """
    from hpc_lstm.clusters.synchronizer import Interrupted

    with run.timeline.span("sync"):
        try:
            _clusters(run).join(
                state.progress.samples, state.cluster, state.resumed, accept_older=accept_older
            )
        except Interrupted:
            raise messages.stopped_before_training(run.world) from None
    state.cluster = None  # from here on the synchronizer keeps it


def synchronize(run: Run, state: TrainState, outputs: Outputs) -> bool:
    """Take up finished rounds, and contribute to the next one if it is due; returns whether to stop.

    Raises:
        RoundLostError: this cluster cannot continue with the others; its state is in a checkpoint.
    """
    from hpc_lstm.clusters.synchronizer import Interrupted

    due = run.schedule.synchronizes_at(state.progress)
    try:
        with run.timeline.span("sync"):
            _clusters(run).synchronize(state.progress.samples, due)
    except Interrupted:
        return True
    except RoundLostError:
        save_checkpoint(run, state, outputs, wait=True)
        raise
    return False


def finish(run: Run, state: TrainState, outputs: Outputs) -> None:
    """Make the final contribution, and follow the other clusters to the end of the run.

    Raises:
        StopRequested: a signal asked the run to stop; its state is in a checkpoint.
        RoundLostError: see ``synchronize``.
    """
    from hpc_lstm.clusters.synchronizer import Interrupted

    try:
        with run.timeline.span("sync"):
            _clusters(run).finish(state.progress.samples)
        return
    except Interrupted:
        pass
    except RoundLostError:
        save_checkpoint(run, state, outputs, wait=True)
        raise
    save_checkpoint(run, state, outputs, wait=True)
    raise messages.stopped(run.world, state.progress)


def _clusters(run: Run) -> ClusterSynchronizer:
    assert run.clusters is not None
    return run.clusters
