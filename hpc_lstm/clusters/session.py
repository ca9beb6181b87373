"""One start of a cluster: what it works with while it lives. Only ``state`` outlives it, in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.clusters.documents import Contribution, RoundResult
from hpc_lstm.clusters.options import SyncOptions
from hpc_lstm.clusters.repository import Repository
from hpc_lstm.clusters.state import ClusterState


@dataclass
class Session:
    """What protocol, merging and recovery share.

    Attributes:
        options: how the cluster takes part.
        state: how far it has come; of a checkpoint, or fresh.
        repository: the run's objects.
        newest: result of round ``state.round``; None in round 0, and until it has been read.
        momentum: float32 [P], the outer optimizer's after that round; None until it has been read.
        upload: key and bytes of the vector of the pending contribution, if this start has put it.
        contribution: that contribution.
        initial_key: key of the initial weights.
        expired_round: newest round whose vectors this cluster is to delete; 0: none.
        logged_runs: the log has said what else lies in the store.
        rejoining: ``state`` is still that of a checkpoint, beyond which an earlier start may have gone.
    """

    options: SyncOptions
    state: ClusterState
    repository: Repository
    newest: RoundResult | None = None
    momentum: np.ndarray | None = None
    upload: tuple[str, bytes] | None = None
    contribution: Contribution | None = None
    initial_key: str = ""
    expired_round: int = 0
    logged_runs: bool = False
    rejoining: bool = False

    @property
    def finished_clusters(self) -> set[str]:
        """Clusters whose final contribution has been counted."""
        return set(self.newest.departed if self.newest else ())

    @property
    def has_finished(self) -> bool:
        """True if this cluster's own final contribution has been counted."""
        return self.options.cluster in self.finished_clusters

    def outgoing_change(self, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The change against ``base`` plus the rounding error of earlier contributions, float32 [P]."""
        change = (weights.astype(np.float64) - base).astype(np.float32)
        return change + self.state.residual if len(self.state.residual) else change
