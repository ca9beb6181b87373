"""The backtest against loops written out, and what it must say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.evaluation.backtest import BacktestSettings, Bets, backtest
from hpc_lstm.evaluation.backtest_table import BacktestTable
from hpc_lstm.evaluation.positions import POSITION_RULES, ForecastPrices
from hpc_lstm.parallel.world import World


def panel(seed: int, days: int = 90, symbols: int = 3):
    """Windows of a few symbols, symbol by symbol in order of date; one begins later."""
    random = np.random.default_rng(seed)
    symbol = np.repeat(np.arange(symbols), days)[5:]
    dates = np.tile(np.arange(days), symbols)[5:]
    last = random.uniform(5, 100, len(symbol))
    actual = last * (1 + random.normal(0, 0.02, len(symbol)))
    forecast = last + random.choice([-1.0, 0.0, 1.0], len(symbol))
    return symbol, last, actual, dates, forecast


def table(found: dict) -> str:
    return BacktestTable.of(found).text()


def traded(columns, how: BacktestSettings, horizon: int = 1, world: World | None = None, before=None) -> dict:
    """What a backtest finds; ``before``: prices of the rows before the target rows, where not ``last``."""
    bets = Bets(how)
    world = world or World()
    symbol, last, actual, dates, forecast, *ends = columns
    low, high = ends or (np.full(len(last), np.nan),) * 2
    size = len(symbol)
    before = last if before is None else before
    mine = np.arange(size * world.rank // world.size, size * (world.rank + 1) // world.size)
    for batch in np.array_split(mine, 3):
        prices = ForecastPrices(last[batch], forecast[batch], low[batch], high[batch])
        bets.add(symbol[batch], dates[batch], (before[batch], actual[batch]), prices)
    found = backtest(bets, horizon, "D", world)
    assert found is not None
    return found


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("short", [True, False])
def test_figures_are_those_of_plain_loops(horizon: int, short: bool) -> None:
    symbol, last, actual, dates, forecast = columns = panel(1)
    before = np.random.default_rng(7).uniform(5, 100, len(last)) if horizon > 1 else last
    found = traded(columns, BacktestSettings(0.001, short), horizon, before=before)
    returns, moves, sizes = np.zeros(90), np.zeros(90), np.zeros(90)
    sides = np.sign(forecast - last)
    sides = sides if short else np.maximum(sides, 0)
    for day in range(90):
        rows = np.flatnonzero(dates == day)
        for row in rows:
            # Open over this row: the position of its own window, and those that began since, up to the row before.
            held = [
                np.mean(
                    [sides[r] for r in range(at, at + horizon) if r < len(sides) and symbol[r] == symbol[at]]
                )
                for at in (row, row - 1)
            ]
            if row == 0 or symbol[row - 1] != symbol[row]:
                held[1] = 0.0
            returns[day] += held[0] * (actual[row] / before[row] - 1) / len(rows)
            moves[day] += abs(held[0] - held[1]) / len(rows)
            sizes[day] += abs(held[0]) / len(rows)
    net = returns - 0.001 * moves
    year = 365.25
    model = found["model"]
    assert model["annual_return"] == pytest.approx(net.mean() * year)
    assert model["volatility"] == pytest.approx(net.std(ddof=1) * math.sqrt(year))
    ratio = net.mean() / net.std(ddof=1)
    assert model["sharpe"] == pytest.approx(ratio * math.sqrt(year))
    assert found["independent_bets"] == 90 // horizon
    assert model["sharpe_standard_error"] == pytest.approx(math.sqrt((1 + ratio**2 / 2) / 90 * year))
    assert model["turnover"] == pytest.approx(moves.mean())
    assert model["invested"] == pytest.approx(sizes.mean())
    wealth, peak, deepest = 1.0, 1.0, 0.0
    for gain in net:
        wealth *= 1 + gain
        peak = max(peak, wealth)
        deepest = max(deepest, 1 - wealth / peak)
    assert model["maximum_drawdown"] == pytest.approx(deepest)
    json.dumps(found, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 6), horizon=st.integers(1, 25))
def test_any_number_of_ranks_trades_as_one(seed: int, size: int, horizon: int) -> None:
    columns, how = panel(seed, days=30), BacktestSettings(0.002)
    whole = traded(columns, how, horizon)
    for found in on_ranks(size, lambda world: traded(columns, how, horizon, world)):
        for name in ("model", "buy_and_hold"):
            assert found[name] == pytest.approx(whole[name], rel=1e-9)


def test_always_long_is_buy_and_hold() -> None:
    symbol, last, actual, dates, _ = panel(2)
    # Where all symbols begin on the same day: one that joins later is bought then.
    first = dates >= 5
    columns = [column[first] for column in (symbol, last, actual, dates, last + 1)]
    found = traded(columns, BacktestSettings(0.001))
    for key, value in found["model"].items():
        assert found["buy_and_hold"][key] == pytest.approx(value), key


def walk(seed: int, rows: int) -> np.ndarray:
    return 50 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0004, 0.01, rows)))


def windows_of(
    series: dict[int, tuple[np.ndarray, np.ndarray]], horizon: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """All windows of symbols, each with its dates and prices, and the prices before the targets; all are to rise."""
    rows = []
    for symbol, (dates, prices) in series.items():
        for row in range(horizon, len(prices)):
            last = prices[row - horizon]
            rows.append((symbol, last, prices[row], dates[row], last + 1, prices[row - 1]))
    symbol, last, actual, date, forecast, before = map(np.array, zip(*rows, strict=True))
    return [symbol, last, actual, date, forecast], before


@pytest.mark.parametrize("horizon", [5, 20])
def test_holding_for_longer_is_neither_calmer_nor_better(horizon: int) -> None:
    """The same prices, always held: the figures are those of the prices, whatever the horizon."""
    dates = np.arange(500)
    prices = [walk(symbol, 500) for symbol in range(3)]
    found = []
    for each, begin in ((1, horizon - 1), (horizon, 0)):  # with the same first target
        columns, before = windows_of({n: (dates[begin:], p[begin:]) for n, p in enumerate(prices)}, each)
        found.append(traded(columns, BacktestSettings(0.001), each, before=before))
    for who in ("model", "buy_and_hold"):
        assert found[1][who] == pytest.approx(found[0][who]), who


def test_money_in_a_symbol_is_not_free_while_its_exchange_is_closed() -> None:
    """One symbol of five trades at weekends: a fifth of the money is in it, then as on other days."""
    everyday = np.arange(698)  # to a Friday
    weekdays = everyday[everyday % 7 < 5]
    series = {symbol: (weekdays, np.full(500, 10.0)) for symbol in range(4)}
    prices = walk(9, 698)
    series[4] = (everyday, prices)
    columns, before = windows_of(series, 1)
    found = traded(columns, BacktestSettings(0.0), before=before)
    returns = (prices[1:] / prices[:-1] - 1) / 5
    for who in ("model", "buy_and_hold"):
        assert found[who]["volatility"] == pytest.approx(returns.std(ddof=1) * math.sqrt(365.25))
        assert found[who]["annual_return"] == pytest.approx(returns.mean() * 365.25)
    for of_ranks in on_ranks(3, lambda world: traded(columns, BacktestSettings(0.0), 1, world)):
        assert of_ranks["model"] == pytest.approx(found["model"])


def test_one_who_knows_earns_and_pays_for_every_change() -> None:
    symbol, last, actual, dates, _ = panel(3)
    free = traded([symbol, last, actual, dates, actual], BacktestSettings(0.0))
    dear = traded([symbol, last, actual, dates, actual], BacktestSettings(0.01))
    assert free["model"]["annual_return"] == pytest.approx(365.25 * 0.016, rel=0.15)
    assert free["model"]["maximum_drawdown"] == 0
    assert free["model"]["annual_return"] - dear["model"]["annual_return"] == pytest.approx(
        dear["model"]["annual_cost"]
    )


def positions(rule: str, forecast: float, low: float, high: float, cost: float = 0.01) -> float:
    """The position of a rule with a last price of 100."""
    prices = ForecastPrices(*(np.array([value]) for value in (100.0, forecast, low, high)))
    return float(POSITION_RULES[rule].positions(prices, cost)[0])


def test_a_bet_on_the_interval_needs_all_of_it_beyond_the_cost() -> None:
    assert positions("interval", 104, 101.5, 107) == 1
    assert positions("interval", 104, 100.5, 107) == 0
    assert positions("interval", 96, 93, 98.5) == -1
    assert positions("interval", 96, 93, 99.5) == 0
    assert positions("interval", 104, 100.5, 107, cost=0) == 1
    assert positions("interval", 104, np.nan, np.nan) == 0


def test_a_scaled_bet_grows_with_certainty() -> None:
    assert positions("scaled", 102, 92, 112) == pytest.approx(0.2)
    assert positions("scaled", 98, 92, 118) == pytest.approx(-0.1)
    assert positions("scaled", 102, 101, 103) == 1
    assert positions("scaled", 102, 102, 102) == positions("scaled", 102, 103, 104) == 1
    assert positions("scaled", 100, 90, 110) == 0
    assert np.isnan(positions("scaled", 102, np.nan, np.nan))


@settings(max_examples=50, deadline=None)
@given(
    forecast=st.floats(50, 200),
    below=st.floats(0.1, 60),
    above=st.floats(0.1, 60),
    rule=st.sampled_from(["interval", "scaled"]),
)
def test_a_bet_is_on_the_side_of_the_forecast_and_at_most_everything(
    forecast: float, below: float, above: float, rule: str
) -> None:
    found = positions(rule, forecast, forecast - below, forecast + above, cost=0)
    assert found == 0 or np.sign(found) == positions("sign", forecast, 0, 0)
    assert abs(found) <= 1
    sure = positions("interval", forecast, forecast - below, forecast + above, cost=0)
    if sure:
        assert found == sure


def test_one_who_is_rarely_sure_trades_rarely() -> None:
    symbol, last, actual, dates, _ = panel(6)
    forecast = (last + actual) / 2
    sure = np.abs(actual / last - 1) > 0.02
    half = np.where(sure, 0.001, 1.0) * last
    columns = [symbol, last, actual, dates, forecast, forecast - half, forecast + half]
    found = traded(columns, BacktestSettings(0.0, rule="interval"))
    assert found["model"]["invested"] == pytest.approx(
        np.mean([sure[dates == day].mean() for day in range(90)])
    )
    gained = [np.where(sure, np.abs(actual / last - 1), 0)[dates == day].mean() for day in range(90)]
    assert found["model"]["annual_return"] == pytest.approx(365.25 * np.mean(gained))
    text = table(found)
    assert "intervals that lie wholly above or below the last price" in text
    assert "nothing to earn" not in text
    never = traded([*columns[:5], forecast - last, forecast + last], BacktestSettings(0.001, rule="interval"))
    assert never["model"]["invested"] == never["model"]["annual_return"] == 0
    assert "No forecast was sure enough for a position" in table(never)


def test_figures_of_an_older_version_are_shown() -> None:
    found = traded(panel(7), BacktestSettings(0.001))
    del found["rule"], found["model"]["invested"], found["buy_and_hold"]["invested"]
    assert "backtest on test: the sign of the forecast, 10 basis points" in table(found)


def test_few_bets_say_nothing() -> None:
    text = table(traded(panel(4, days=59), BacktestSettings(0.001)))
    assert "rests on 59 independent bets only, fewer than 60: it says nothing." in text
    assert "Not investment advice." in text
    assert "independent bets only" not in table(traded(panel(4, days=60), BacktestSettings(0.001)))
    assert "rests on 30 independent bets" in table(traded(panel(4), BacktestSettings(0.001), 3))


def test_a_model_that_diverged_holds_nothing() -> None:
    symbol, last, actual, dates, _ = panel(5)
    found = traded([symbol, last, actual, dates, np.full(len(last), np.nan)], BacktestSettings(0.001))
    assert found["model"]["annual_return"] == found["model"]["turnover"] == 0
    assert found["model"]["sharpe"] is None
    assert " - " in table(found)


def test_no_bets_no_figures() -> None:
    assert backtest(Bets(BacktestSettings(0.001)), 1, "D", World()) is None
