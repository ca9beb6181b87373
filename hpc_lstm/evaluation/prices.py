"""From the network's output to a price."""

from __future__ import annotations

import numpy as np

from hpc_lstm.features.columns import TargetColumn
from hpc_lstm.preprocess.scaler import Scaler


def forecast_prices(
    scaled: np.ndarray, symbol: np.ndarray, last: np.ndarray, scaler: Scaler, target: TargetColumn
) -> np.ndarray:
    """The network's output in price units, float64 [B].

    Args:
        scaled: float32 [B], the output.
        symbol: int [B], indices into ``scaler.symbols``.
        last: float64 [B], prices of the windows' last rows.
        target: what was forecast.
    """
    return target.transform.price(scaler.inverse_target(scaled, symbol, target.column), last)
