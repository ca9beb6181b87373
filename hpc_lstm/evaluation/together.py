"""Many forecasts at once: each asks for outputs of the network, which computes those of all together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np

T = TypeVar("T")
# Yields windows, scaled inputs float32 [B, window, features], and is sent their outputs, float32 [B, O]; B may differ
# from time to time. Returns what it has made of them.
Asking: TypeAlias = Generator[np.ndarray, np.ndarray, T]
# As many are under way at a time: their windows are a batch, and their rows are held in memory.
TOGETHER = 512


def forecast_together(asking: Iterator[Asking[T]], predict: Callable[[np.ndarray], np.ndarray]) -> list[T]:
    """What each of them returns, in their order.

    Args:
        predict: the network, windows to outputs.

    Raises:
        Exception: whatever one of them, or the network, raises; of several, that of the first.
    """
    found: list[T] = []
    while group := list(islice(asking, TOGETHER)):
        found += _forecast_group(group, predict)
    return found


def _forecast_group(group: Sequence[Asking[T]], predict: Callable[[np.ndarray], np.ndarray]) -> list[T]:
    returned: dict[int, T] = {}
    answers: dict[int, np.ndarray | None] = dict.fromkeys(range(len(group)))
    while answers:
        windows: dict[int, np.ndarray] = {}
        for number, outputs in answers.items():
            try:
                windows[number] = next(group[number]) if outputs is None else group[number].send(outputs)
            except StopIteration as ended:
                returned[number] = ended.value
        answers = {}
        if windows:
            ends = np.cumsum([len(one) for one in windows.values()])[:-1]
            outputs_of_all = np.asarray(predict(np.concatenate(list(windows.values()))))
            answers = dict(zip(windows, np.split(outputs_of_all, ends), strict=True))
    return [returned[number] for number in range(len(group))]
