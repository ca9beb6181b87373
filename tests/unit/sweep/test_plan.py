"""From SWEEP.toml to a list of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import ConfigError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.preprocess.slices import WindowIndex
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep import settings, stores
from hpc_lstm.sweep.plan import SweepPlan
from hpc_lstm.training.schedule import make_schedule as calendar

SWEEP = """
[sweep]
ranks = [4, 1, 2]
repeats = 3
steps = 100
warmup = 10
{sweep}
[axes]
"average.every" = [1, 16]
train.batch_size = [8, 32]
{axes}
"""


def planned(folder: Path, sweep: str = "", axes: str = "", more: str = "") -> SweepPlan:
    path = folder / "s.toml"
    path.write_text(SWEEP.format(sweep=sweep, axes=axes) + more)
    return planning.plan_sweep(*settings.load_sweep(path), str(path))


@pytest.mark.parametrize(
    ("sweep", "axes", "more", "says"),
    [
        ("rank = [1]", "", "", 'sweep.rank: no such key; did you mean "ranks"?'),
        ("", "", "[axs]\n", '[axs]: no such section; did you mean "axes"?'),
        ("", '"train.batchsize" = [1]', "", 'did you mean "train.batch_size"?'),
        ("", '"train.epochs" = [1]', "", "axes.train.epochs: the sweep sets it for its runs"),
        ("", '"train.threads" = [1]', "", "its own is sweep.threads"),
        ("", '"model.units" = 3', "", "axes.model.units: must be a list of values, got 3"),
        ("", '"model.units" = [3, 3]', "", "names a value twice"),
        ("", '"model.units" = [3, 0]', "", "model.units: must be greater than 0, got 0"),
        ("", "", '[settings]\n"average.every" = 3\n', "settings.average.every: is also an axis"),
        ("", "", "[[skip]]\nrank = [1]\n", 'skip.rank: neither ranks nor an axis; did you mean "ranks"?'),
        ("", "", "[[skip]]\nranks = [3]\n", "skip.ranks: must be a list of values out of [4, 1, 2]"),
        ("", "", "[[skip]]\nranks = [1, 2, 4]\n", "skip: leaves out every combination"),
        ('batch = "all"', "", "", 'sweep.batch: "all" is for scaling = "strong"'),
        (
            'scaling = "strong"\nbatch = "all"\nthreads = 0',
            "",
            "",
            "sweep.threads: must be greater than 0",
        ),
        ("steps = 0.5", "", "", "not valid TOML"),
        (
            "days = 100",
            "",
            '[settings]\n"data.window" = 500\n',
            "sweep.days: 100 rows of a symbol are too few",
        ),
        ("launch = 3", "", "", "sweep.launch: must be 'run', 'repeat' or 'ranks', got 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, sweep: str, axes: str, more: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, sweep, axes, more)
    assert str(caught.value).startswith(str(tmp_path / "s.toml"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_that_ranks_cannot_share(tmp_path: Path) -> None:
    tables = {"sweep": {"ranks": [3], "scaling": "strong", "batch": "all"}}
    with pytest.raises(ConfigError, match=r"3 ranks cannot share a train.batch_size of 64 equally"):
        planning.plan_sweep(*settings.parse_sweep(tables, "s.toml", tmp_path), "s.toml")


def test_a_batch_that_is_no_number(tmp_path: Path) -> None:
    tables = {
        "sweep": {"ranks": [2], "scaling": "strong", "batch": "all"},
        "settings": {"train.batch_size": "64"},
    }
    with pytest.raises(ConfigError, match=r"^s.toml: train.batch_size: .*got '64'$"):
        planning.plan_sweep(*settings.parse_sweep(tables, "s.toml", tmp_path), "s.toml")


def test_averages_that_are_rarer_than_meetings(tmp_path: Path) -> None:
    def plan(every: object) -> SweepPlan:
        tables = {"sweep": {"ranks": [2]}, "settings": {"average.every": every}}
        return planning.plan_sweep(*settings.parse_sweep(tables, "s.toml", tmp_path), "s.toml")

    for every in (64, 0, "epoch"):
        assert plan(every).points[0].steps % 64 == 0
    with pytest.raises(ConfigError, match=r"^s.toml: average.every: a sweep takes at most 64, got 65"):
        plan(65)


def test_as_few_days_as_there_may_be(tmp_path: Path) -> None:
    for days in (501, 502):
        tables = {"sweep": {"days": days}, "settings": {"data.window": 500}}
        wanted, base = settings.parse_sweep(tables, "s.toml", tmp_path)
        if days == 501:
            with pytest.raises(ConfigError, match="choose 502 or more"):
                planning.plan_sweep(wanted, base, "s.toml")
        else:
            made = planning.plan_sweep(wanted, base, "s.toml").points[0].made
            assert made is not None
            assert made.days <= days


def test_a_store_whose_epochs_are_shorter_than_an_interval(tmp_path: Path) -> None:
    made = stores.SyntheticStore(1, 130).make(tmp_path)
    with pytest.raises(
        ConfigError, match=r"data.store: an epoch of \d+ steps on \d ranks?, fewer than the 16"
    ):
        planned(tmp_path, more=f'[settings]\n"data.store" = "{made.name}"\n')


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such sweep file; examples/sweep\.toml"):
        settings.load_sweep(tmp_path / "none.toml")


def test_the_example_is_a_sweep() -> None:
    path = Path(__file__).parents[3] / "examples" / "sweep.toml"
    assert planning.plan_sweep(*settings.load_sweep(path), str(path)).runs


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, section in (
        ("sweep", settings.SweepSection),
        ("local", settings.LocalSection),
        ("slurm", settings.SlurmSection),
    ):
        for key in section.model_fields:
            assert f"`{name}.{key}`" in page


def test_every_point_in_every_repeat_once_and_in_another_order(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert len(plan.points) == 12
    orders = [[run.point.number for run in plan.runs if run.repeat == repeat] for repeat in range(3)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert all(len(launch) == 1 for launch in plan.launches)
    assert len({run.name for run in plan.runs}) == 36
    # Repeats are not one after the other of one point: what drifts meets all points alike.
    assert [run.repeat for run in plan.runs] == sorted(run.repeat for run in plan.runs)


@pytest.mark.parametrize(("launch", "sets"), [("repeat", 9), ("ranks", 3)])
def test_sets_of_processes_have_one_number_of_ranks(tmp_path: Path, launch: str, sets: int) -> None:
    plan = planned(tmp_path, f'launch = "{launch}"')
    assert len(plan.launches) == sets
    assert all(len({run.point.ranks for run in one}) == 1 for one in plan.launches)
    assert Counter(run.name for run in plan.runs) == Counter(run.name for run in planned(tmp_path).runs)


def test_skipped_combinations(tmp_path: Path) -> None:
    plan = planned(tmp_path, more='[[skip]]\nranks = [4]\n"train.batch_size" = [32]\n')
    assert len(plan.points) == 10
    assert not [p for p in plan.points if p.ranks == 4 and p.axes["train.batch_size"] == 32]


def test_weak_scaling_gives_each_rank_the_same(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    for every, warmup, steps in ((1, 10, 100), (16, 16, 112)):
        points = [p for p in plan.points if p.axes["average.every"] == every]
        assert {(p.warmup, p.steps) for p in points} == {(warmup, steps)}


def test_strong_scaling_gives_all_ranks_together_the_same(tmp_path: Path) -> None:
    points = planned(tmp_path, 'scaling = "strong"').points
    for axes in ((1, 8), (1, 32)):
        same = {p.ranks: p for p in points if tuple(p.axes.values()) == axes}
        assert {n: p.ranks * p.steps * p.config.train.batch_size for n, p in same.items()} == dict.fromkeys(
            same, 100 * axes[1]
        )
    points = planned(tmp_path, 'scaling = "strong"\nbatch = "all"').points
    assert {p.ranks: p.config.train.batch_size for p in points if tuple(p.axes.values()) == (1, 32)} == {
        1: 32,
        2: 16,
        4: 8,
    }
    assert {p.steps for p in points if p.axes["average.every"] == 1} == {100}


def test_a_made_store_holds_just_the_steps(tmp_path: Path) -> None:
    """One pass over it is the warm-up and the measured steps, and at most one step more."""
    for point in planned(tmp_path).points:
        assert point.made is not None
        data = point.config.data
        with MarketStore(point.made.make(tmp_path)) as store:
            windows = WindowIndex.by_symbol(
                store.offsets, range(len(store.symbols)), data.window, data.horizon, data.split
            ).total("train")
        steps = calendar(point.config, windows, point.ranks).steps_per_epoch
        assert point.warmup + point.steps <= steps <= point.warmup + point.steps + 1


@given(st.integers(1, 10**7), st.integers(1, 120), st.integers(1, 30), st.integers(300, 4000))
def test_made_stores_waste_little(windows: int, window: int, horizon: int, days: int) -> None:
    made = stores.smallest_store(windows, DataConfig(store="m", window=window, horizon=horizon), days)
    offsets = np.arange(made.symbols + 1, dtype=np.int64) * made.days
    total = WindowIndex.by_symbol(offsets, range(made.symbols), window, horizon, stores.SPLIT).total("train")
    assert windows <= total <= windows + 2 * made.symbols
    assert made.days <= days


def test_a_given_store_is_passed_over_as_often_as_it_takes(tmp_path: Path) -> None:
    made = stores.SyntheticStore(3, 1200).make(tmp_path)
    plan = planned(tmp_path, more=f'[settings]\n"data.store" = "{made.name}"\n')
    for point in plan.points:
        windows = stores.count_train_windows(point.config.data)
        schedule = calendar(point.config, windows, point.ranks)
        assert point.made is None
        assert schedule.epochs * schedule.steps_per_epoch >= point.warmup + point.steps
        assert point.config.data.store == str(made)
