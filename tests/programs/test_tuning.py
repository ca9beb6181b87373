"""A search for settings: what is drawn, what is refused, and that the test part has no say."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import logging
import math
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from simulated_ranks import on_ranks, outcomes
from small_runs import walk, write_store

from hpc_lstm import config
from hpc_lstm.clusters.lease import Lease
from hpc_lstm.errors import (
    CheckpointError,
    CheckpointWriteError,
    ConfigError,
    CudaError,
    GpuMemoryError,
    InputError,
    StopRequested,
)
from hpc_lstm.files import whole_file
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.stop_signals import FROM_SYSTEM, FROM_USER
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.prepare import window_index
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.training.ownership import OWNER
from hpc_lstm.tuning import trials as module
from hpc_lstm.tuning.command import run_command
from hpc_lstm.tuning.search import candidates
from hpc_lstm.tuning.settings import TuneConfig, load_tune, with_settings
from hpc_lstm.tuning.tpe import suggest
from hpc_lstm.tuning.trials import Trial, run_trials, without_test

CONFIG = """
[data]
store = "market.h5"
window = 5
{more}
[model]
layers = 1
units = 2
dropout = 0.0
[train]
epochs = 1
batch_size = 64
threads = 1
"""
TUNE = """
[tune]
config = "job.toml"
search = "{search}"
trials = {trials}
[space]
{space}
"""
SPACE = """
"model.units" = [2, 3]
"train.learning_rate" = {low = 1e-3, high = 1e-1, log = true}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_store(tmp_path / "market.h5", {"AAA": walk(1, 200), "BBB": walk(2, 150)})
    (tmp_path / "job.toml").write_text(CONFIG.format(more=""))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_tune(space: str = SPACE, search: str = "random", trials: int = 4) -> str:
    Path("tune.toml").write_text(TUNE.format(space=space, search=search, trials=trials))
    return "tune.toml"


def drawn(**more) -> list[dict]:
    return candidates(load_tune(write_tune(**more))[0])


def test_the_example_is_a_search() -> None:
    tune, base = load_tune(Path(__file__).parents[2] / "examples" / "tune.toml")
    assert len(candidates(tune)) == tune.tune.trials == 12
    assert base.train.schedule == "cosine"


def test_a_grid_is_every_combination(folder: Path) -> None:
    space = '"model.units" = [2, 3]\n[space.train]\noptimizer = ["sgd", "adam"]'
    found = drawn(space=space, search="grid")
    assert len(found) == 4
    assert {(each["model.units"], each["train.optimizer"]) for each in found} == {
        (units, name) for units in (2, 3) for name in ("sgd", "adam")
    }


def test_draws_lie_in_their_ranges_and_more_trials_change_none(folder: Path) -> None:
    space = """
        "model.units" = {low = 2, high = 4}
        "model.dropout" = {low = 0.1, high = 0.2}
        "train.learning_rate" = {low = 1e-4, high = 1e-1, log = true}
        "data.window" = [5, 6]
        "train.batch_size" = {low = 1, high = 64, log = true}
    """
    found = drawn(space=space, trials=300)
    assert found[:50] == drawn(space=space, trials=50)
    assert {each["model.units"] for each in found} == {2, 3, 4}
    assert {each["data.window"] for each in found} == {5, 6}
    assert all(0.1 <= each["model.dropout"] <= 0.2 for each in found)
    rates = np.log10([each["train.learning_rate"] for each in found])
    assert (rates >= -4).all()
    assert (rates <= -1).all()
    assert np.mean(rates < -2.5) == pytest.approx(0.5, abs=0.1), "evenly over the logarithm"
    sizes = np.array([each["train.batch_size"] for each in found])
    assert (sizes.min(), sizes.max()) == (1, 64)
    assert np.mean(sizes < 8) == pytest.approx(0.5, abs=0.1)


def test_the_same_draw_is_one_trial(folder: Path) -> None:
    assert len(drawn(space='"model.units" = [2, 3]', trials=50)) == 2


LARGER_SPACE = """
"model.units" = {low = 2, high = 60, log = true}
"model.dropout" = {low = 0.0, high = 0.9}
"train.optimizer" = ["sgd", "adam", "rmsprop"]
"data.features" = [["close"], ["close", "log-returns(close)"]]
"""


def pretended(number: int, values: dict) -> Trial:
    """A trial whose error is known without training: least at 20 units, dropout 0.3, Adam and two features."""
    if values["train.optimizer"] == "rmsprop":
        return Trial(number, values, None, failure="it always fails")
    error = abs(math.log(values["model.units"] / 20)) + abs(values["model.dropout"] - 0.3)
    error += (values["train.optimizer"] != "adam") + (len(values["data.features"]) != 2)
    return Trial(number, values, error, 1)


def search_by_suggestions(tune: TuneConfig, trials: int, at_once: int) -> list[Trial]:
    done: list[Trial] = []
    while len(done) < trials:
        first = len(done) + 1
        done += [
            pretended(number, values) for number, values in enumerate(suggest(tune, done, at_once), first)
        ]
    return done


def good(trials: list[Trial]) -> float:
    return float(np.mean([trial.error is not None and trial.error < 1 for trial in trials]))


@pytest.mark.parametrize("at_once", [1, 4])
def test_suggestions_learn_from_the_trials_before(folder: Path, at_once: int) -> None:
    tune, _ = load_tune(write_tune(space=LARGER_SPACE, search="tpe", trials=40))
    done = search_by_suggestions(tune, 40, at_once)
    by_chance = good([pretended(0, values) for values in drawn(space=LARGER_SPACE, trials=400)])
    assert by_chance < 0.15
    assert good(done[-20:]) > 2 * by_chance
    for trial in done:
        with_settings(config.load("job.toml"), trial.values, "trial")
        assert 2 <= trial.values["model.units"] <= 60
        assert 0 <= trial.values["model.dropout"] <= 0.9
    assert len({json.dumps(trial.values) for trial in done}) == 40
    assert search_by_suggestions(tune, 40, at_once) == done


def test_suggestions_end_with_the_space(folder: Path) -> None:
    said: list[str] = []
    shown: list[list[dict]] = []
    file = write_tune(space='"model.units" = [2, 3]', search="tpe", trials=9)
    run_command(file, "out", World(), said.append, shown.append)
    rows = list(csv.DictReader(Path("out/trials.csv").read_text().splitlines()))
    assert sorted(row["model.units"] for row in rows) == ["2", "3"]
    assert "Best of 2 trials on validation" in said[-1]
    assert [str(trial["trial"]) for trial in shown[0]] == [row["trial"] for row in rows]
    assert [str(trial["settings"]["model.units"]) for trial in shown[0]] == [
        row["model.units"] for row in rows
    ]


def test_a_search_by_suggestions_goes_on_with_other_ranks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ranks in threads share one process, and with it what training catches of it: one trial after the other.
    turn = threading.Lock()
    trained, train = [], module.train

    def counted(settings, files, world, **more) -> None:
        with turn:
            trained.append(files.path.name)
            train(settings, files, world, **more)

    monkeypatch.setattr(module, "train", counted)
    monkeypatch.setattr(module, "_quiet", contextlib.nullcontext)
    monkeypatch.setattr(World, "handle_signals", lambda world: None)  # only a process's first thread can

    def found() -> list[dict[str, str]]:
        return list(csv.DictReader(Path("out/trials.csv").read_text().splitlines()))

    file = write_tune(search="tpe", trials=3)
    on_ranks(2, lambda world: run_command(file, "out", world, lambda line: None))
    assert sorted(trained) == ["trial-001", "trial-002", "trial-003"]
    before = found()
    write_tune(search="tpe", trials=4)
    run_command(file, "out", World(), lambda line: None)
    assert trained[3:] == ["trial-004"]
    assert [row for row in found() if row["trial"] != "4"] == before
    assert len(json.loads(Path("out/suggested.json").read_text())) == 4
    Path("out/suggested.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"suggested\.json: is damaged .*; remove the folder"):
        run_command(file, "out", World(), lambda line: None)


def test_without_optuna_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs Optuna: pip install \"hpc-lstm\[tune\]\""):
        run_command(write_tune(search="tpe"), "out", World(), lambda line: None)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("space", "search", "said"),
    [
        (
            '"model.unit" = [2]',
            "random",
            'space.model.unit: no such setting of a run; did you mean "model.units"',
        ),
        ('"data.split" = [[0.5, 0.2, 0.3]]', "random", "space.data.split: is the same for all trials"),
        ('"sync.cluster" = ["a", "b"]', "random", "space.sync.cluster: is the same for all trials"),
        ('"model.units" = 3', "random", "space.model.units: must be a list of values"),
        ('"model.units" = [3, 3]', "random", "space.model.units: names a value twice"),
        ('"model.units" = {low = 3, high = 3}', "random", "space.model.units: must be {low"),
        ('"model.units" = {low = 2, high = 3}', "grid", 'search = "grid" takes lists'),
        (
            '"model.units" = {low = 2, high = 3, step = 1}',
            "random",
            "step: no such key; known: low, high, log",
        ),
        ('"model.dropout" = {low = 0.0, high = 0.3, log = true}', "random", "log = true needs low above 0"),
        (
            '"train.learning_rate" = {low = 1e-4, high = inf}',
            "random",
            "space.train.learning_rate: must be a finite",
        ),
        ('"train.learning_rate" = {low = nan, high = 1.0}', "random", "with low < high"),
        (
            '"train.seed" = {low = 1, high = 9223372036854775807}',
            "tpe",
            "space.train.seed: must be less than",
        ),
        (
            '"model.units" = {low = 4.0, high = 8.0}',
            "random",
            "space.model.units: must be a whole number, got 4.0",
        ),
        ('"train.optimizer" = ["adam", "sdg"]', "grid", "got 'sdg'; did you mean"),
    ],
)
def test_a_wrong_space_is_told(folder: Path, space: str, search: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tune(write_tune(space=space, search=search))
    assert said in str(caught.value)
    assert str(caught.value).startswith("tune.toml: ")


def test_the_best_on_validation_is_written_down(folder: Path) -> None:
    said: list[str] = []
    run_command(write_tune(), "out", World(), said.append)
    rows = list(csv.DictReader(Path("out/trials.csv").read_text().splitlines()))
    errors = [float(row["validation_rmsse"]) for row in rows]
    assert len(rows) == 4
    assert errors == sorted(errors)
    best = config.load("out/best.toml")
    assert best.model.units == int(rows[0]["model.units"])
    assert best.train.learning_rate == float(rows[0]["train.learning_rate"])
    assert best.data == config.load("job.toml").data, "split as before, with its test part"
    assert f"Best of 4 trials on validation: trial {rows[0]['trial']}." in "\n".join(said)


def test_trials_do_not_see_the_test_part(folder: Path) -> None:
    settings = without_test(config.load("job.toml"), World())
    (trial,) = run_trials(settings, [{"model.units": 2}], folder / "before", World())
    metrics = (folder / "before" / "trial-001" / "metrics.json").read_text()
    assert '"test": null' in metrics
    # All prices after validation are others.
    first = int(np.datetime64(settings.data.until).astype(int)) + 1 - 15000
    changed = {"AAA": walk(1, 200), "BBB": walk(2, 150)}
    for number, series in enumerate(changed.values()):
        series[first:] = 7 * walk(50 + number, 200)[first : len(series)]
    assert not np.array_equal(changed["AAA"], walk(1, 200))
    write_store(folder / "market.h5", changed)
    (again,) = run_trials(settings, [{"model.units": 2}], folder / "after", World())
    assert again == trial


def test_trials_are_judged_on_the_validation_part_of_the_config(folder: Path) -> None:
    """The embargo before test is left out once."""
    base = config.load("job.toml", ["data.embargo=4"])
    settings = without_test(base, World())
    with MarketStore("market.h5") as store:
        (whole, cut), (index, trial) = (window_index(store, c.data, World()) for c in (base, settings))
    assert (trial.train_end, trial.validation_end) == (cut.train_end, cut.validation_end)
    assert index.total("validation") == whole.total("validation")
    assert (index.total("train"), index.total("test")) == (whole.total("train"), 0)


@pytest.mark.parametrize("embargo", [0, 1])
def test_no_trial_is_judged_by_a_day_of_which_a_part_is_tested(folder: Path, embargo: int) -> None:
    """Of intraday prices, shares may cut a day."""
    hours = np.datetime64("2020-01-01T09", "ns") + np.array(
        [np.timedelta64(24 * day + hour, "h") for day in range(40) for hour in range(7)]
    )
    with StoreWriter(folder / "market.h5", ["open", "close"], "test", date_unit="ns") as writer:
        prices = walk(1, len(hours))
        writer.append(
            "AAA", hours.astype("datetime64[ns]").astype(np.int64), np.column_stack([prices, prices])
        )
    base = config.load("job.toml", [f"data.embargo={embargo}", "data.split=[0.6, 0.27, 0.13]"])
    settings = without_test(base, World())
    with MarketStore("market.h5") as store:
        (_, cut), (index, trial) = (window_index(store, c.data, World()) for c in (base, settings))
    opens = cut.validation_end if cut.test_opens is None else cut.test_opens
    tested = hours[np.searchsorted(hours.astype("datetime64[ns]").astype(np.int64), opens, side="right")]
    assert str(tested)[11:13] != "09", "the border lies within a day"
    assert np.datetime64(trial.validation_end, "ns").astype("datetime64[D]") < tested.astype("datetime64[D]")
    assert (index.total("test"), index.total("validation") > 0) == (0, True)


def test_ranks_share_the_trials_and_find_the_same(folder: Path) -> None:
    tune, base = load_tune(write_tune(trials=5))
    settings = without_test(base, World())
    alone = run_trials(settings, candidates(tune), folder / "alone", World())
    # Ranks in threads share one process, and with it the log: one after the other.
    lines: list[str] = []

    def work(world: World) -> list:
        return run_trials(settings, candidates(tune), folder / "alone", world, lines.append)

    for found in on_ranks(2, work):
        assert found == alone
    assert len(lines) == 5


def test_a_repeated_call_trains_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command(write_tune(trials=3), "out", World(), lambda line: None)
    before = Path("out/trials.csv").read_text()
    trained = []
    train = module.train

    def counted(settings, files, world, **more) -> None:
        trained.append(files.path.name)
        train(settings, files, world, **more)

    monkeypatch.setattr(module, "train", counted)
    run_command(write_tune(trials=3), "out", World(), lambda line: None)
    assert (trained, Path("out/trials.csv").read_text()) == ([], before)
    run_command(write_tune(trials=4), "out", World(), lambda line: None)
    assert trained == ["trial-004"]


def test_trials_of_another_space_are_not_mixed_in(folder: Path) -> None:
    run_command(write_tune(trials=1), "out", World(), lambda line: None)
    with pytest.raises(InputError, match="out: holds trials of another file, config or store"):
        run_command(write_tune(space='"model.units" = [4]'), "out", World(), lambda line: None)


def test_trials_on_other_prices_are_not_mixed_in(folder: Path) -> None:
    run_command(write_tune(trials=1), "out", World(), lambda line: None)
    revised = {"AAA": walk(1, 200).copy(), "BBB": walk(2, 200)}
    revised["AAA"][20] *= 2
    write_store(folder / "market.h5", revised)
    with pytest.raises(InputError, match=r"trial-001: was trained on other prices: AAA .*runs again"):
        run_command(write_tune(trials=2), "out", World(), lambda line: None)


def test_other_prices_that_one_rank_alone_finds_are_refused_by_all(folder: Path) -> None:
    tune, base = load_tune(write_tune(trials=2))
    settings = without_test(base, World())
    run_trials(settings, candidates(tune)[:1], folder / "out", World())
    write_store(folder / "market.h5", {"AAA": 2 * walk(1, 200), "BBB": walk(2, 200)})

    def work(world: World) -> list[Trial]:
        return run_trials(settings, candidates(tune), folder / "out", world)

    for found in outcomes(2, work):
        assert isinstance(found, InputError), found
        assert "trial-001: was trained on other prices" in str(found)
    assert not (folder / "out" / "trial-002").exists()


def test_a_signal_at_the_end_of_a_trial_is_heeded_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, base = load_tune(write_tune(trials=2))
    train = module.train

    def asked_to_stop(*arguments, **more) -> None:
        train(*arguments, **more)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(module, "train", asked_to_stop)
    before = {number: signal.getsignal(number) for number in FROM_SYSTEM + FROM_USER}
    try:
        with pytest.raises(StopRequested, match="run the same command again to continue"):
            run_trials(without_test(base, World()), candidates(tune), folder / "out", World())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (folder / "out/trial-001/metrics.json").exists()
    assert not (folder / "out/trial-002/metrics.json").exists()


def test_a_damaged_note_of_a_failed_trial_is_named(folder: Path) -> None:
    (folder / "out/trial-001").mkdir(parents=True)
    (folder / "out/trial-001/failed.json").write_text('{"failure"')
    tune, base = load_tune(write_tune(trials=1))
    with pytest.raises(InputError, match=r"failed\.json: is damaged; remove it"):
        run_trials(without_test(base, World()), candidates(tune), folder / "out", World())


def test_a_trial_that_fails_does_not_stop_the_others(folder: Path) -> None:
    said: list[str] = []
    run_command(write_tune(space='"data.window" = [5, 500]', search="grid"), "out", World(), said.append)
    rows = list(csv.DictReader(Path("out/trials.csv").read_text().splitlines()))
    assert [row["data.window"] for row in rows] == ["5", "500"]
    assert rows[1]["validation_rmsse"] == ""
    assert "data.window = 500" in rows[1]["failure"]
    assert "Best of 2 trials (1 failed) on validation" in said[-1]


def test_a_full_disk_ends_a_search_at_once_and_the_trial_is_made_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module.train

    def full(settings, files, world, **more) -> None:
        if files.path.name == "trial-001":
            with whole_file(files.model):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(settings, files, world, **more)

    monkeypatch.setattr(module, "train", full)
    (folder / "out/trial-001").mkdir(parents=True)
    said: list[str] = []
    with pytest.raises(InputError, match=r"trial 1: .*model\.keras: .*; then run the same command again"):
        run_command(write_tune(trials=2), "out", World(), said.append)
    # The other one would have met the same disk.
    assert (said, [path.name for path in sorted(Path("out").glob("*"))]) == ([], ["trial-001", "tune.toml"])
    monkeypatch.setattr(module, "train", write)
    run_command(write_tune(trials=2), "out", World(), said.append)
    assert "Best of 2 trials on validation" in said[-1]


def test_a_damaged_trial_does_not_end_a_search() -> None:
    assert not module._concerns_all_trials(CheckpointError("none of the 2 checkpoints is complete"))
    assert module._concerns_all_trials(CheckpointWriteError("checkpoints cannot be written: rank 0, full"))


def test_a_trial_that_another_job_is_at_is_made_anew(folder: Path) -> None:
    files = folder / "out/trial-001"
    files.mkdir(parents=True)
    store = FolderStore(files)
    other = Lease(store, OWNER, "run", 20.0, logging.getLogger("test"), forget=True)
    beat = threading.Timer(0.5, lambda: store.put_new(f"{OWNER}leases/run/000001.000000001", b"{}"))
    beat.start()  # a sign of life, long before the next one is due
    said: list[str] = []
    run_command(write_tune(trials=2), "out", World(), said.append)
    assert "Best of 2 trials (1 failed) on validation" in said[-1]
    assert any("a job on" in line for line in said)
    other.release()
    run_command(write_tune(trials=2), "out", World(), said.append)
    assert "Best of 2 trials on validation" in said[-1]


@pytest.mark.parametrize(
    ("error", "failures"), [(CudaError("the driver is gone"), 0), (GpuMemoryError("too small"), 1)]
)
def test_what_a_gpu_lacks_counts_against_the_settings_only_where_they_ask_for_too_much(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, failures: int
) -> None:
    train = module.train

    def broken(settings, files, world, **more) -> None:
        if files.path.name == "trial-001":
            raise error
        train(settings, files, world, **more)

    monkeypatch.setattr(module, "train", broken)
    run_command(write_tune(trials=2), "out", World(), lambda line: None)
    assert len(list(folder.rglob(module.FAILED))) == failures


def test_nothing_to_judge_on_is_refused(folder: Path) -> None:
    Path("job.toml").write_text(CONFIG.format(more="split = [0.8, 0.0, 0.2]"))
    with pytest.raises(InputError, match=r"data\.split: has no validation part"):
        run_command(write_tune(), "out", World(), lambda line: None)
    Path("job.toml").write_text(CONFIG.format(more='split_by = "symbol"'))
    with pytest.raises(InputError, match=r'data\.split_by = "symbol": tuning needs days'):
        run_command(write_tune(), "out", World(), lambda line: None)
    assert not Path("out").exists()
