"""The scaling of a symbol that a run was not trained on, fitted on the symbol's own rows."""

from __future__ import annotations

import numpy as np

from hpc_lstm.features.columns import ModelColumns, compute_columns
from hpc_lstm.features.rows import RowDates
from hpc_lstm.preprocess import host
from hpc_lstm.preprocess.scaler import Scaler, minmax, standard


def scaler_of_own_rows(rows: np.ndarray, about: RowDates, columns: ModelColumns, like: Scaler) -> Scaler:
    """A scaler of one symbol, of the same kind as the run's.

    All rows that are known count: what is forecast lies after the last of them.

    Args:
        rows: float64 [n, C], all of the symbol's rows.
        about: whose rows, and of when.
        like: the run's scaler.
    """
    offsets = np.array([0, len(rows)])
    values = compute_columns(rows, offsets, columns, [about])
    if like.kind == "minmax":
        scaler = minmax([about.symbol], like.columns, *host.fit_minmax(values, offsets), like.feature_range)
    else:
        scaler = standard([about.symbol], like.columns, *host.fit_moments(values, offsets))
    return scaler.unscaled(columns.unscaled) if columns.unscaled else scaler
