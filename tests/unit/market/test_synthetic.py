"""The synthetic universe: what it promises about its best forecast is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.market import synthetic
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.universes.autoregressive import AR1, INNOVATION_STD, Autoregressive
from hpc_lstm.market.universes.registry import UNIVERSES, universe_named


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "market.h5"
    said = synthetic.synthesize(path, symbols=300, days=800, seed=4)
    assert "300 symbols x 800 days" in said
    return path


def kalman_errors(log_close: np.ndarray, dates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-day forecast errors in the log close and forecasts, by the filter with the true parameters, all symbols."""
    noise = Autoregressive.noise_std
    move = np.array([[1.0, AR1], [0.0, AR1]])
    drive = np.full((2, 2), INNOVATION_STD**2)
    seasonal = synthetic.season(dates)
    state = np.stack([log_close[:, 0], np.zeros(len(log_close))])
    spread = np.diag([noise**2, INNOVATION_STD**2 / (1 - AR1**2)])
    errors, forecasts = [], []
    for day in range(1, log_close.shape[1]):
        state = move @ state
        state[0] += seasonal[day]
        spread = move @ spread @ move.T + drive
        error = log_close[:, day] - state[0]
        variance = spread[0, 0] + noise**2
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


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    synthetic.synthesize(tmp_path / "none" / "market.h5", symbols=2, days=10, seed=0)
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["market.h5"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("a file")
    with pytest.raises(HpcLstmError, match="none"):
        synthetic.synthesize(tmp_path / "none" / "market.h5", symbols=2, days=10, seed=0)


@pytest.mark.parametrize("kind", [universe.name for universe in UNIVERSES])
def test_the_forecast_of_each_kind_is_as_good_as_stated(kind: str, tmp_path: Path) -> None:
    synthetic.synthesize(tmp_path / "market.h5", symbols=250, days=600, seed=3, kind=kind)
    with MarketStore(tmp_path / "market.h5") as store:
        assert store.attributes["kind"] == kind
        close = store.rows(0, int(store.offsets[-1]))[:, 3].reshape(250, 600).T
        dates, promised = store.dates(0, 600), store.attributes["best_rmse_log"]
    log_close, universe = np.log(close), universe_named(kind)
    errors = {h: log_close[h:] - universe.forecast(log_close, dates, h) for h in (1, 4)}
    assert np.sqrt(np.square(errors[1][50:]).mean()) == pytest.approx(promised, rel=0.01)
    assert abs(errors[1][50:].mean()) < 1e-4, "without a bias"
    # A best forecast leaves nothing to forecast: its errors have nothing to do with what was known.
    returns = np.diff(log_close, axis=0)
    for row in (1, 2, 5):
        assert abs(np.corrcoef(errors[1][50:].ravel(), returns[49 - row + 1 : -row].ravel())[0, 1]) < 0.02
    for horizon, wrong in errors.items():
        naive = log_close[horizon:] - log_close[:-horizon]
        assert np.square(wrong[50:]).mean() < 0.95 * np.square(naive[50:]).mean()
        known = universe.forecast(log_close, dates, horizon) - log_close[:-horizon]
        slope = (known[50:] * naive[50:]).sum() / np.square(known[50:]).sum()
        assert slope == pytest.approx(1, abs=0.04), "as large a move as is to be expected"


def test_hamiltons_filter_knows_the_regime() -> None:
    universe = universe_named("regimes")
    series = universe.draw(np.random.default_rng(1), 4000, 40)
    dates = synthetic.weekdays(4000)
    log_close = np.cumsum(series + synthetic.season(dates)[:, None], axis=0)
    errors = log_close[1:] - universe.forecast(log_close, dates, 1)
    linear = 0.95 * np.square(series[1:] - 0.1 * series[:-1]).mean()
    assert np.square(errors).mean() < linear, "better than any fixed coefficient"


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match='no kind "chaos" of synthetic prices; there are ar, regimes, heavy-tails'
    ):
        synthetic.synthesize(tmp_path / "market.h5", symbols=2, days=10, seed=0, kind="chaos")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"seed": 2**63}, {"days": 10**23}, {"symbols": 10**23}, {"days": 1}])
def test_numbers_beyond_their_limits_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=rf"^{name} must be at (least|most) \d+, got {value}$"):
        synthetic.synthesize(tmp_path / "market.h5", **{"symbols": 1, "days": 2, "seed": 0} | wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_seed_is_kept(tmp_path: Path) -> None:
    said = synthetic.synthesize(tmp_path / "market.h5", symbols=1, days=2, seed=2**63 - 1)
    assert "1 symbol x 2 days in" in said
    with MarketStore(tmp_path / "market.h5") as store:
        assert store.attributes["seed"] == 2**63 - 1
