"""What the state of a rank of this run may hold in a checkpoint, also in one of an older version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpc_lstm.checkpoint.state_layout import TEXT, Entry, StateLayout
from hpc_lstm.clusters.state import ClusterState, PendingContribution
from hpc_lstm.market.row_hashes import HASH_BYTES
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import TrainState

# Not in the states of version 0.1, or of ranks other than 0, or of runs without clusters.
_OPTIONAL = ("best/weights", "computed_by", "scaling", "threads", "known/", "others/", "sync/")


def saved_layout(run: Run, state: TrainState) -> StateLayout:
    """The layout of the states that this run, resumed, may find."""
    own = {name: Entry.like(value) for name, value in state.state_dict(run).items()}
    required = frozenset(name for name in own if not name.startswith(_OPTIONAL))
    vector = Entry("f", ((0,), (run.engine.schema.length,)))
    rows = Entry("i", ((None,),))
    known: dict[str, Entry] = {}
    for group in ("known", "others"):
        known |= {f"{group}/{name}": Entry(TEXT) for name in ("columns", "date_unit", "symbols")}
        known |= {f"{group}/rows": rows, f"{group}/last": rows}
        known |= {f"{group}/digests": Entry("i", ((None, HASH_BYTES),))}
    return StateLayout({**own, **known, **_of_clusters(vector), "best/weights": vector}, required)


def _of_clusters(vector: Entry) -> Mapping[str, Entry]:
    """The entries of a cluster that meets others, before and after it has contributed."""
    nothing = np.empty(0, np.float32)
    values: dict[str, Any] = ClusterState(pending=PendingContribution(nothing, 0)).state_dict()
    return {
        f"sync/{name}": vector if isinstance(value, np.ndarray) else Entry.like(value)
        for name, value in values.items()
    }
