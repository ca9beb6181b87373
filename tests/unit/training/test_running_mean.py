"""The mean loss between two agreements of the ranks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.training.running_mean import RunningMean


class OnDevice:
    """A loss that counts how often it is waited for."""

    def __init__(self, value: float) -> None:
        self.value, self.read = value, 0

    def __float__(self) -> float:
        self.read += 1
        return self.value


@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 64), st.booleans())))
def test_sum_is_weighted_by_windows_whenever_it_is_read(steps: list[tuple[float, int, bool]]) -> None:
    losses = RunningMean()
    for loss, samples, read in steps:
        losses.add(loss, samples)
        if read:
            losses.loss_sum()
    assert losses.samples == sum(samples for _, samples, _ in steps)
    assert losses.loss_sum() == pytest.approx(sum(loss * samples for loss, samples, _ in steps))


def test_the_device_is_waited_for_once_and_only_when_asked() -> None:
    losses, handle = RunningMean(), OnDevice(0.5)
    losses.add(handle, 4)
    assert handle.read == 0
    assert losses.loss_sum() == losses.loss_sum() == 2.0
    assert handle.read == 1


def test_a_stored_state_replaces_everything() -> None:
    losses = RunningMean()
    losses.add(3.0, 8)
    losses.reset(10, 5.0)
    losses.add(1.0, 2)
    assert (losses.samples, losses.loss_sum()) == (12, 7.0)
    losses.reset()
    assert (losses.samples, losses.loss_sum()) == (0, 0.0)
