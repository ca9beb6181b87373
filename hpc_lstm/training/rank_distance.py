"""How far the ranks have drifted apart before an average, as rank 0 sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hpc_lstm.parallel.averaging import Averaged


@dataclass
class Distance:
    """A distance, None before it is known."""

    value: float | None = None


@contextmanager
def rank_distance(engine: Averaged, wanted: bool) -> Iterator[Distance]:
    """The distance of this rank's weights from what the block makes of them, over the norm of the latter.

    Args:
        engine: whose weights are averaged in the block.
        wanted: whether it is measured, which copies the weights twice.
    """
    distance = Distance()
    before = engine.parameters().copy() if wanted else None
    yield distance
    if before is not None:
        after = engine.parameters()
        norm = float(np.linalg.norm(after))
        distance.value = float(np.linalg.norm(before - after)) / norm if norm else 0.0
