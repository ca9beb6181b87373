"""Whether a model is asked about prices far outside of those that its scaling was fitted on."""

from __future__ import annotations

import numpy as np

from hpc_lstm.features.columns import ModelColumns, compute_columns
from hpc_lstm.features.rows import RowDates
from hpc_lstm.preprocess.scaler import Scaler

# How far beyond the extremes of the train rows an input may lie, as a share of their range, before it is said.
FAR = 0.5
# The same for inputs that were scaled by mean and variance, in standard deviations from the mean.
FAR_DEVIATIONS = 6.0


def about_unseen_inputs(
    rows: np.ndarray,
    columns: ModelColumns,
    window: int,
    scaler: Scaler,
    symbol: int,
    about: RowDates | None = None,
) -> list[str]:
    """A sentence that names the inputs of the last window that lie far outside; none if they all lie within.

    Args:
        rows: float64 [n, C], a symbol's last known rows.
        window: rows that the network looks at.
        symbol: the symbol's index in the scaler.
        about: whose rows, and of when; needed where ``columns.dated``.
    """
    features = len(columns.features)
    values = compute_columns(rows, np.array([0, len(rows)]), columns, None if about is None else [about])[
        -window:, :features
    ]
    first, second = scaler.first[symbol, :features], scaler.second[symbol, :features]
    if scaler.kind == "minmax":
        width = second - first
        beyond = np.maximum(first - values.min(axis=0), values.max(axis=0) - second)
        far = (width > 0) & (beyond > FAR * width)
    else:
        deviation = np.sqrt(second)
        far = (deviation > 0) & (np.abs(values - first).max(axis=0) > FAR_DEVIATIONS * deviation)
    names = [column.name for column, is_far in zip(columns.features, far, strict=True) if is_far]
    if not names:
        return []
    return [
        f"The last rows lie far outside of what the scaling was fitted on: {', '.join(names)}. The network has seen no "
        "such inputs; after a split, fetch the symbol again or train on the new prices."
    ]
