"""The synthetic universe: what it promises about its best forecast is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.errors import StoreError
from hpc_lstm.market import synthetic
from hpc_lstm.market.store import MarketStore


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "market.h5"
    said = synthetic.synthesize(path, symbols=300, days=800, seed=4)
    assert "300 symbols x 800 days" in said
    return path


def kalman_errors(log_close: np.ndarray, dates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-day forecast errors in the log close and forecasts, by the filter with the true parameters, all symbols."""
    move = np.array([[1.0, synthetic.AR1], [0.0, synthetic.AR1]])
    drive = np.full((2, 2), synthetic.INNOVATION_STD**2)
    seasonal = synthetic.season(dates)
    state = np.stack([log_close[:, 0], np.zeros(len(log_close))])
    spread = np.diag([synthetic.NOISE_STD**2, synthetic.INNOVATION_STD**2 / (1 - synthetic.AR1**2)])
    errors, forecasts = [], []
    for day in range(1, log_close.shape[1]):
        state = move @ state
        state[0] += seasonal[day]
        spread = move @ spread @ move.T + drive
        error = log_close[:, day] - state[0]
        variance = spread[0, 0] + synthetic.NOISE_STD**2
        forecasts.append(np.exp(state[0] + variance / 2))
        gain = spread[:, 0] / variance
        state = state + np.outer(gain, error)
        spread = spread - np.outer(gain, spread[0])
        errors.append(error)
    return np.stack(errors, 1), np.stack(forecasts, 1)


def test_the_best_forecast_is_as_good_as_promised_and_no_better(path: Path) -> None:
    with MarketStore(path) as store:
        rows = store.rows(0, int(store.offsets[-1])).reshape(300, 800, 5)
        close, dates = rows[:, :, store.column("close")], store.dates(0, 800)
        promised_log, promised = (store.attributes[f"best_rmse_{unit}"] for unit in ("log", "price"))
    errors, forecasts = kalman_errors(np.log(close), dates)
    settled = slice(50, None)
    reached = np.sqrt(np.square(errors[:, settled]).mean())
    assert reached == pytest.approx(promised_log, rel=0.01)
    in_price = np.sqrt(np.square(close[:, 1:] - forecasts)[:, settled].mean())
    assert in_price == pytest.approx(promised, rel=0.1)
    persistence = np.sqrt(np.square(np.diff(np.log(close), axis=1)).mean())
    assert persistence > 1.1 * promised_log
    unseasonal = errors[:, settled] + synthetic.season(dates)[1:][settled]
    assert np.sqrt(np.square(unseasonal).mean()) > 1.005 * promised_log


def test_prices_are_those_of_a_market(path: Path) -> None:
    with MarketStore(path) as store:
        assert store.columns == ["open", "high", "low", "close", "volume"]
        assert store.symbols[:2] == ["SYN00000", "SYN00001"]
        opening, high, low, close, volume = store.rows(0, int(store.offsets[-1])).T
        dates = store.dates(0, 800)
    assert (low > 0).all()
    assert (high >= np.maximum(opening, close)).all()
    assert (low <= np.minimum(opening, close)).all()
    assert (volume >= 0).all()
    assert (volume == np.floor(volume)).all()
    assert (np.diff(dates) > 0).all()
    assert ((dates + 3) % 7 < 5).all()


def test_a_symbol_does_not_depend_on_how_many_there_are(path: Path, tmp_path: Path) -> None:
    synthetic.synthesize(tmp_path / "few.h5", symbols=3, days=800, seed=4)
    synthetic.synthesize(tmp_path / "other.h5", symbols=3, days=800, seed=5)
    with (
        MarketStore(path) as many,
        MarketStore(tmp_path / "few.h5") as few,
        MarketStore(tmp_path / "other.h5") as other,
    ):
        assert np.array_equal(many.rows(0, 2400), few.rows(0, 2400))
        assert not np.array_equal(other.rows(0, 2400), few.rows(0, 2400))
        assert not np.array_equal(many.rows(256 * 800, 257 * 800), many.rows(0, 800)), "chunks differ"


def test_a_missing_folder_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no folder"):
        synthetic.synthesize(tmp_path / "none" / "market.h5", symbols=2, days=10, seed=0)
    assert list(tmp_path.iterdir()) == []
