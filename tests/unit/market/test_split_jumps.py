"""Steps in a price that look like splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.split_jumps import FEWEST_ROWS, find_split_jumps


def walk(deviation: float, rows: int = 300) -> np.ndarray:
    return np.asarray(50 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, deviation, rows))))


@pytest.mark.parametrize("ratio", [1.5, 2, 3, 4, 7, 10, 20])
@pytest.mark.parametrize("reverse", [False, True])
def test_splits_are_found_where_they_are(ratio: float, reverse: bool) -> None:
    prices = walk(0.01)
    prices[120:] *= ratio if reverse else 1 / ratio
    prices[200:] /= 2
    assert find_split_jumps(prices).tolist() == [120, 200]


def test_what_is_no_split_is_not_taken_for_one() -> None:
    assert find_split_jumps(walk(0.03)).tolist() == []
    crash = walk(0.01)
    crash[120:] *= 0.58  # no ratio of whole shares
    assert find_split_jumps(crash).tolist() == []
    wild = walk(0.2)  # doubles often enough
    assert find_split_jumps(wild).tolist() == []
    assert find_split_jumps(np.array([100.0, 50.0] * (FEWEST_ROWS // 2 - 1))).tolist() == []
    spread = walk(0.01)
    spread[5] = -1.0
    assert find_split_jumps(spread).tolist() == []


def test_the_summary_of_an_import_tells_the_first(tmp_path: Path) -> None:
    prices = walk(0.01)
    prices[120:] /= 4
    lines = [
        f"{day},{price:.4f}"
        for day, price in zip(np.arange("2020-01-01", "2020-10-27", dtype="M8[D]"), prices, strict=True)
    ]
    (tmp_path / "ABC.csv").write_text("Date,Close\n" + "\n".join(lines) + "\n")
    summary = import_prices([tmp_path / "ABC.csv"], tmp_path / "m.h5")
    assert summary.split_jumps == 1
    text = summary.table()
    assert "steps in price that look like splits      1  kept" in text
    assert f"(first: ABC 2020-04-30, {prices[119]:.6g} to {prices[120]:.6g})" in text
