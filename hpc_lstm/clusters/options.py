"""How a cluster takes part in the rounds: ``[sync]`` of the configuration as the protocol reads it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

from hpc_lstm.clusters.encoding import Encoding
from hpc_lstm.config import SyncConfig


@dataclass(frozen=True)
class SyncOptions:
    """The options of one cluster, as in ``[sync]``.

    Attributes:
        lease: number of its lease.
        run_id: random name that it gives the run if it is the first.
        place: of the store.
        accept_older: take a signed run that names no place or another one, or has no ``id``.
    """

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
    run_id: str = field(default_factory=lambda: secrets.token_hex(16))
    place: str = ""
    accept_older: bool = False


def sync_options(sync: SyncConfig, lease: int, place: str, *, accept_older: bool) -> SyncOptions:
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
        place=place,
        accept_older=accept_older,
    )
