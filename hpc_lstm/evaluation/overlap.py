"""Whether a model is tested on days on which it was trained, with other symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.evaluation.dates import date_text
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.slices import WindowIndex


def overlap_in_time(store: MarketStore, index: WindowIndex, world: World) -> str:
    """A sentence on how many test windows lie on or before the last training day; empty if none does. Collective.

    What moves all symbols on a day is known from training on it. Only a split of each symbol by itself does that.
    """
    trained = _target_dates(store, index, "train", world)
    last = int(world.allreduce_max(np.array([trained.max(initial=np.iinfo(np.int64).min)]))[0])
    tested = _target_dates(store, index, "test", world)
    early = int(world.allreduce_sum(np.array([np.count_nonzero(tested <= last)]))[0])
    if not early:
        return ""
    return (
        f"{early:,} of {index.total('test'):,} test windows lie on or before {date_text(last, store.date_unit)}, "
        "the last day that the model was trained on: from other symbols it knows what moved all of them on these "
        'days. Set data.split_by = "date" to test on later days alone.'
    )


def first_train_day(store: MarketStore, index: WindowIndex, world: World) -> str | None:
    """The first day of a target of the train part of all ranks, as text; None if it has no window. Collective."""
    share = index.slice("train", world.rank, world.size)
    rows = (share.first + index.window + index.horizon - 1)[share.count > 0]
    dates = np.concatenate([np.empty(0, np.int64), *(store.dates(row, row + 1) for row in rows.tolist())])
    first = world.allreduce_min(np.array([dates.min(initial=np.iinfo(np.int64).max)]))[0]
    return date_text(int(first), store.date_unit) if index.total("train") else None


def _target_dates(store: MarketStore, index: WindowIndex, part: str, world: World) -> np.ndarray:
    """Dates of the targets of this rank's windows of a part, int64; of train windows each symbol's last one alone."""
    share = index.slice(part, world.rank, world.size)
    stop = share.first + share.count + index.window + index.horizon - 1
    start = stop - (1 if part == "train" else share.count)
    rows = zip(start.tolist(), stop.tolist(), strict=True)
    return np.concatenate([np.empty(0, np.int64), *(store.dates(*each) for each in rows)])
