"""Indicators that charts of prices show below them."""

from __future__ import annotations

import numpy as np

from hpc_lstm.features.ema import exponential_moving_average


def relative_strength_index(prices: np.ndarray, length: int = 14) -> np.ndarray:
    """Wilder's relative strength index, 0 to 100; float64 [n], NaN in the first ``length`` rows.

    Wilder, "New Concepts in Technical Trading Systems" (1978): gains and losses are averaged over the first ``length``
    changes, from then on smoothed by 1 / ``length``. 50 where the price does not change at all.

    Args:
        prices: float64 [n], without NaN.
    """
    index = np.full(len(prices), np.nan)
    if len(prices) <= length:
        return index
    changes = np.diff(prices)
    gains, losses = np.maximum(changes, 0), np.maximum(-changes, 0)
    gain, loss = gains[:length].mean(), losses[:length].mean()
    index[length] = _index(gain, loss)
    for row in range(length, len(changes)):
        gain += (gains[row] - gain) / length
        loss += (losses[row] - loss) / length
        index[row + 1] = _index(gain, loss)
    return index


def macd(
    prices: np.ndarray, fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """Moving average convergence/divergence and its signal line, each float64 [n] (Appel 1979).

    Args:
        prices: float64 [n].
        fast, slow, signal: spans of the exponential averages.
    """
    line = exponential_moving_average(prices, fast) - exponential_moving_average(prices, slow)
    return line, exponential_moving_average(line, signal)


def _index(gain: float, loss: float) -> float:
    return 50.0 if gain + loss == 0 else 100.0 * gain / (gain + loss)
