"""How a cluster takes part in the rounds: ``[sync]`` of the configuration as the protocol reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hpc_lstm.clusters.encoding import Encoding
from hpc_lstm.config import SyncConfig


@dataclass(frozen=True)
class SyncOptions:
    """The options of one cluster; ``lease`` is the number of its lease, the rest as in ``[sync]``."""

    cluster: str
    expected: int = 1
    quorum: int = 1
    deadline_s: float = 600.0
    late: Literal["fold", "drop"] = "fold"
    outer: Literal["average", "nesterov"] = "average"
    outer_lr: float = 0.7
    outer_momentum: float = 0.9
    payload: Encoding = "float32"
    keep: int = 4
    lease: int = 0


def sync_options(sync: SyncConfig, lease: int) -> SyncOptions:
    """The options that ``[sync]`` says, with the default quorum worked out."""
    return SyncOptions(
        cluster=sync.cluster,
        expected=sync.expected,
        quorum=sync.quorum or sync.expected // 2 + 1,
        deadline_s=sync.deadline_s,
        late=sync.late,
        outer=sync.outer,
        outer_lr=sync.outer_lr,
        outer_momentum=sync.outer_momentum,
        payload=sync.payload,
        keep=sync.keep,
        lease=lease,
    )
