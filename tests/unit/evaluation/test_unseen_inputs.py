"""Inputs far outside of what a scaling was fitted on are named."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_lstm.evaluation.unseen_inputs import about_unseen_inputs
from hpc_lstm.features.columns import find_columns
from hpc_lstm.preprocess.scaler import Scaler

COLUMNS = find_columns(["close", "volume"], ["close"], [1], ["close", "volume"], "test")


def scaler(kind: str) -> Scaler:
    """Fitted on a close of 100 to 200 (or of mean 150, deviation 20), and a volume that never changed."""
    first, second = (
        ([100.0, 7, 100], [200.0, 7, 200]) if kind == "minmax" else ([150.0, 7, 150], [400.0, 0, 400])
    )
    ones = np.ones((1, 3))
    return Scaler(
        ["AAA"],
        ["close", "volume", "close"],
        kind,
        (0.0, 1.0),
        ones,
        ones,
        np.array([first]),
        np.array([second]),
    )


@pytest.mark.parametrize(
    ("kind", "close", "far"),
    [
        *(("minmax", close, close in (49, 251)) for close in (49, 51, 100, 200, 249, 251)),
        *(("standard", close, close in (29, 271)) for close in (29, 31, 150, 269, 271)),
    ],
)
def test_it_is_said_where_the_last_window_lies_far_outside(kind: str, close: float, far: bool) -> None:
    rows = np.array([[9999.0, 7], [150, 7], [close, 7], [150, 7]])  # the first is not in the window
    notes = about_unseen_inputs(rows, COLUMNS, 3, scaler(kind), 0)
    assert len(notes) == far
    if far:
        assert "fitted on: close." in notes[0]
