"""What users do with a completed run: new rows, corrected prices, more epochs, a start from its model."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_lstm import cli
from hpc_lstm.checkpoint.manifest import complete_steps, read_manifest, step_prefix
from hpc_lstm.checkpoint.provenance import Provenance, unsealed
from hpc_lstm.checkpoint.state_file import pack_state, unpack_state
from hpc_lstm.errors import InputError
from hpc_lstm.market.known_rows import KnownRows
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.preprocess import split as splitting
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.runs import directory
from hpc_lstm.runs.run_file import read_run_file
from hpc_lstm.storage.folder import FolderStore
from hpc_lstm.timing.spans import load_timing
from hpc_lstm.training import loop, setup
from hpc_lstm.training import results as ending
from hpc_lstm.training.state import TrainState

CONFIG = """
[data]
store = "market.h5"
window = 6
features = ["close"]
target = "close"
scaling = "minmax"
[model]
layers = 1
units = 3
dropout = 0.0
[train]
batch_size = 16
epochs = 2
threads = 1
seed = 4
[checkpoint]
every = "epoch"
"""
ROWS = {"AAA": 120, "BBB": 90, "CCC": 6}  # CCC is too short to train on
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def prices(symbol: str, rows: int) -> np.ndarray:
    """Close and volume, float64 [rows, 2]; more rows begin with the same ones."""
    chance = np.random.default_rng(ord(symbol[0]))
    walk = 100 + np.cumsum(chance.uniform(-0.3, 0.5, 400))
    return np.column_stack([walk, chance.uniform(1e4, 1e6, 400)])[:rows]


def write_store(path: Path, rows: dict[str, int]) -> None:
    with StoreWriter(path, ["close", "volume"], "test") as store:
        for name, count in rows.items():
            store.append(name, np.arange(15000, 15000 + count, dtype=np.int64), prices(name, count))


@pytest.fixture(autouse=True)
def kept_process() -> Iterator[None]:
    """Puts back what a run changes in its process."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for handler in list(logging.getLogger("hpc_lstm").handlers):
        logging.getLogger("hpc_lstm").removeHandler(handler)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: ``market.h5``, ``job.toml``, and ``run``, a completed run of 2 epochs."""
    folder = tmp_path_factory.mktemp("completed")
    write_store(folder / "market.h5", ROWS)
    (folder / "job.toml").write_text(CONFIG)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert hpc_lstm("train", "job.toml", "--run-dir", "run") == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(completed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which the process is in; ``run`` names the copy's store."""
    copy = tmp_path / "user"
    shutil.copytree(completed, copy)
    config = copy / "run/config.toml"
    config.write_text(config.read_text().replace(str(completed), str(copy)))
    monkeypatch.chdir(copy)
    return copy


def hpc_lstm(*arguments: str) -> int:
    """The exit code of the program, in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


def train(run: str, *more: str) -> int:
    return hpc_lstm("train", "job.toml", "--run-dir", run, *more)


def resume(epochs: int, *more: str) -> int:
    return train("run", "--resume", "--set", f"train.epochs={epochs}", *more)


def said(run: str = "run") -> str:
    return Path(run, "log/rank-00000.log").read_text()


def newest_state(run: str) -> dict[str, Any]:
    """The state of rank 0 in a run's newest checkpoint."""
    store, prefix = FolderStore(Path(run)), "checkpoints/main"
    step = complete_steps(store, prefix)[-1]
    return unpack_state(
        store.get(f"{step_prefix(prefix, step)}/{read_manifest(store, prefix, step).files[0].name}")
    )


def history(run: str, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in Path(run, "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def metrics(run: str) -> dict[str, Any]:
    return json.loads(Path(run, "metrics.json").read_text())


def record(run: str) -> dict[str, Any]:
    return json.loads(Path(run, "run.json").read_text())


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("hpc-lstm")
    return line


def told(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join(capfd.readouterr().out.split())


def results(run: str) -> dict[str, bytes]:
    files = (
        Path(run, name)
        for name in ("model.keras", "metrics.json", "history.jsonl", "scaler.h5", "config.toml")
    )
    return {path.name: path.read_bytes() for path in files}


# -- the store -------------------------------------------------------------------------------------------------


def test_a_run_notes_what_it_was_given(folder: Path) -> None:
    known = KnownRows.load("run/rows.h5")
    assert known.symbols == tuple(ROWS)
    assert known.columns == ("close",)
    assert known.rows.tolist() == [120, 90, 6]
    state = newest_state("run")
    assert json.loads(state["known/symbols"]) == list(ROWS)
    assert (state["known/digests"] == known.digests).all()
    noted = record("run")
    assert (noted["init_from"], noted["scaling"]) == (None, "fitted")
    assert (noted["data"]["rows"], noted["data"]["symbols"]) == (216, 3)
    assert noted["data"]["last"] == str(np.datetime64(15119, "D"))
    assert noted["checkpoints"] == {"url": "", "prefix": "checkpoints/main", "step": 20}
    assert re.fullmatch("[0-9a-f]{32}", noted["id"])


def write_other(rows: int = 120, *, change: int | None = None, column: int = 0) -> None:
    """``market.h5`` with a symbol that the run is not trained on; ``change``: a row of it that differs."""
    with StoreWriter(Path("market.h5"), ["close", "volume"], "test") as store:
        for name, count in (("AAA", 120), ("BBB", rows)):
            values = prices(name, count)
            if name == "BBB" and change is not None:
                values[change, column] *= 1.01
            store.append(name, np.arange(15000, 15000 + count, dtype=np.int64), values)


def test_other_symbols_of_which_features_take_the_mean_count_as_well(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    only = ("--set", 'data.symbols=["AAA"]', "--set", 'data.features=["close", "market(close)"]')
    write_other()
    assert train("mean", *only) == 0
    state = newest_state("mean")
    assert (json.loads(state["known/symbols"]), json.loads(state["others/symbols"])) == (["AAA"], ["BBB"])
    capfd.readouterr()
    write_other(change=40)
    again = (*only, "--resume", "--set", "train.epochs=3")
    assert train("mean", *again) == 2
    assert "BBB differs somewhere" in (line := one_line(capfd))
    assert "of which features take the mean of all symbols; put the old store back" in line
    changed = "BBB differs somewhere up to 2011-05-25, of which features take the mean of all symbols."
    before = results("mean")
    for command in (["evaluate", "mean"], ["predict", "mean", "--symbol", "AAA"]):
        assert hpc_lstm(*command) == 0
        assert f"other prices than the run was trained on: {changed}" in told(capfd)
    assert results("mean") == before, "as it is where prices of the run's own symbols have changed"
    write_other(130, change=40, column=1)  # newer rows, and a column that no feature is computed from
    for command in (["evaluate", "mean"], ["predict", "mean", "--symbol", "AAA"]):
        assert hpc_lstm(*command) == 0
        assert "other prices" not in told(capfd)
    assert train("mean", *again) == 0


def test_other_symbols_of_which_features_take_nothing_do_not_count(folder: Path) -> None:
    only = ("--set", 'data.symbols=["AAA"]')
    write_other()
    assert train("alone", *only) == 0
    assert not any(name.startswith("others/") for name in newest_state("alone"))
    write_other(change=40)
    assert train("alone", *only, "--resume", "--set", "train.epochs=3") == 0


def test_newer_rows_are_trained_on(folder: Path) -> None:
    before = newest_state("run")
    # 0.7 of the 114 days with a target are 79, for both symbols; of 154 they are 107, which all others end before:
    # windows of AAA 107, of BBB 84, of CCC 34, of DDD 44.
    write_store(folder / "market.h5", {"AAA": 160, "BBB": 90, "CCC": 40, "DDD": 50})
    assert resume(4) == 0
    text = said()
    assert (
        "the market store has 74 new rows of 2 symbols after 2011-01-31 to 2011-05-25 and 1 new symbol since the "
        "checkpoint: train windows 158 -> 269, validation and test begin later; the scaling is fitted again, and moves "
        "for 2 of 2 symbols; early stopping starts over"
    ) in text
    state = newest_state("run")
    assert int(state["position/epoch"]) == 4
    steps = int(state["position/step"]) - int(before["position/step"])
    assert steps == 2 * math.ceil(269 / 16), "two epochs of all windows that there are now"
    assert KnownRows.load("run/rows.h5").rows.tolist() == [160, 90, 40, 50]
    assert record("run")["data"]["rows"] == 340
    assert Scaler.load("run/scaler.h5").symbols == ["AAA", "BBB", "CCC", "DDD"]
    assert json.loads(Path("run/metrics.json").read_text())["test"]["symbols"] == 1, "the others end before"


def test_the_best_model_so_far_is_measured_on_the_windows_of_now(folder: Path) -> None:
    write_store(folder / "market.h5", {"AAA": 160, "BBB": 120, "CCC": 6})
    old = float(newest_state("run")["best/loss"])
    assert resume(3) == 0
    line = next(line for line in said().splitlines() if "best model so far" in line)
    measured, before = (
        float(word) for word in line.split(": ")[-1].replace(",", "").split() if word[0].isdigit()
    )
    assert before == pytest.approx(old, rel=1e-5)
    loss = history("run", "validation")[-1]
    assert loss["best"] == (loss["loss"] < measured)
    assert float(newest_state("run")["best/loss"]) == pytest.approx(min(loss["loss"], measured), rel=1e-5)
    kept = [line for line in said().splitlines() if "with the best validation loss: " in line][-1]
    assert float(kept.rsplit(" ", 1)[1]) == pytest.approx(min(loss["loss"], measured), rel=1e-5)


def test_a_complete_run_stays_as_it_is_when_rows_come(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_store(folder / "market.h5", {"AAA": 121, "BBB": 90, "CCC": 6})
    before, rows = results("run"), Path("run/rows.h5").read_bytes()
    starts = read_run_file(directory.at("run")).starts
    assert resume(2) == 0
    assert (results("run"), Path("run/rows.h5").read_bytes()) == (before, rows)
    assert read_run_file(directory.at("run")).starts == starts, (
        "a start with nothing to do computes with nothing"
    )
    text = said()
    assert "the market store has 1 new row of 1 symbol after 2011-05-25 since the checkpoint\n" in text
    assert "nothing to do: the run is complete" in text
    assert resume(3) == 0, "and may still be trained further"


def test_rows_that_came_are_known_from_then_on(folder: Path) -> None:
    write_store(folder / "market.h5", {"AAA": 130, "BBB": 95, "CCC": 6})
    assert resume(3) == 0
    assert resume(4) == 0
    assert said().count("the market store has") == 1


@pytest.mark.parametrize("row", [0, 60, 89])
def test_changed_prices_are_refused(folder: Path, capfd: pytest.CaptureFixture[str], row: int) -> None:
    before = results("run")
    write_store(folder / "market.h5", {"AAA": 125, "BBB": 90, "CCC": 6})
    with h5py.File("market.h5", "r+") as file:
        file["values"][125 + row, 0] /= 10
    assert resume(3) == 2
    line = one_line(capfd)
    assert (
        f"holds other prices than this run was started with: BBB differs from {np.datetime64(15000 + row, 'D')} on"
        in line
    )
    assert f"--init-from {folder / 'run'} with another --run-dir" in line
    assert results("run") == before


def test_columns_that_the_run_does_not_use_may_change(folder: Path) -> None:
    with h5py.File("market.h5", "r+") as file:
        file["values"][:, 1] *= 2
    assert resume(3) == 0
    assert "the market store has" not in said()


def test_a_symbol_that_is_gone_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_store(folder / "market.h5", {"AAA": 120, "CCC": 6})
    assert resume(3) == 2
    assert "other prices than this run was started with: it has no symbol BBB" in one_line(capfd)


def rewrite_states(change: Any) -> None:
    """Replace the state in every checkpoint of ``run`` as ``change`` says."""
    import hashlib

    for manifest in Path("run/checkpoints/main").glob("*/checkpoint.json"):
        content = json.loads(manifest.read_text())
        for file in content["files"]:
            path = manifest.parent / file["name"]
            data = pack_state(change(unpack_state(path.read_bytes())))
            path.write_bytes(data)
            file |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest.write_text(json.dumps(Provenance().seal("", unsealed(content))))


def of_an_older_version(folder: Path) -> None:
    """Take from ``run`` what a version without known rows does not write."""
    rewrite_states(lambda s: {n: v for n, v in s.items() if n != "scaling" and not n.startswith("known/")})
    for name in ("rows.h5", "run.json"):
        (folder / "run" / name).unlink()


def test_a_run_of_an_older_version_goes_on_and_says_what_is_not_known(folder: Path) -> None:
    of_an_older_version(folder)
    assert resume(3) == 0
    assert said().count("of a version that did not record its prices row by row") == 1
    assert KnownRows.load("run/rows.h5").rows.tolist() == [120, 90, 6]
    assert record("run")["data"]["rows"] == 216
    write_store(folder / "market.h5", {"AAA": 130, "BBB": 90, "CCC": 6})
    assert resume(4) == 0
    assert "the market store has 10 new rows of 1 symbol" in said()


@pytest.fixture
def begun_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Settings of ``intraday``, a run of three moments a day by a version whose embargo was of moments, not of days."""
    hours = np.datetime64("2024-01-01T09", "ns") + np.arange(40)[:, None] * np.timedelta64(24, "h")
    dates = (hours + np.arange(3) * np.timedelta64(1, "h")).ravel().astype("datetime64[ns]").astype(np.int64)
    with StoreWriter(folder / "hours.h5", ["close", "volume"], "test", date_unit="ns") as store:
        store.append("AAA", dates, prices("AAA", 120))
    settings = ("--set", "data.store=hours.h5", "--set", "data.embargo=2", "--set", "train.batch_size=2")
    with monkeypatch.context() as patch:
        patch.setattr(
            splitting, "_without_embargo", lambda edge, dates, data, unit, where: edge - data.embargo
        )
        assert train("intraday", *settings) == 0
    return settings


def test_a_run_goes_on_as_it_was_cut_though_a_later_version_cuts_otherwise(
    begun_before: tuple[str, ...],
) -> None:
    before = record("intraday")["data"]
    assert train("intraday", *begun_before, "--resume", "--set", "train.epochs=4") == 0
    assert record("intraday")["data"] == before
    windows = re.findall(r"(\d+) train windows", said("intraday"))
    assert windows == [windows[0]] * 2
    assert "train windows were others" not in said("intraday")
    assert train("new", *begun_before) == 0
    assert record("new")["data"]["train_ends"] < before["train_ends"]


def test_a_run_whose_cut_is_not_known_goes_on_in_a_new_order(begun_before: tuple[str, ...]) -> None:
    Path("intraday/run.json").unlink()
    assert train("intraday", *begun_before, "--resume", "--set", "train.epochs=4") == 0
    assert "the checkpoint's train windows were others than this version takes" in said("intraday")
    assert len(history("intraday", "validation")) == 4


def test_a_run_of_an_older_version_cannot_tell_new_rows_from_others(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    of_an_older_version(folder)
    write_store(folder / "market.h5", {"AAA": 130, "BBB": 90, "CCC": 6})
    assert resume(3) == 2
    line = one_line(capfd)
    assert "other prices" in line
    assert "--init-from" in line


# -- checkpoints that are gone ---------------------------------------------------------------------------------


def test_a_completed_run_without_its_checkpoints_is_not_trained_anew(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("run/checkpoints")
    before = results("run")
    for epochs in (2, 3):
        assert resume(epochs) == 2
        line = one_line(capfd)
        assert "run: holds the results of a run, but there is no checkpoint to continue from" in line
        assert "--init-from" in line
    assert results("run") == before


def test_a_history_is_not_dropped_because_the_storage_was_forgotten(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = ("--set", f"storage.url=file://{folder}/shared")
    assert train("other", *storage) == 0
    for name in ("metrics.json", "model.keras"):
        Path("other", name).unlink()
    before = Path("other/history.jsonl").read_bytes()
    assert train("other", "--resume") == 2
    line = one_line(capfd)
    assert "holds the history of a run, but there is no checkpoint" in line
    assert f'they went to storage.url = "file://{folder}/shared"' in line
    assert Path("other/history.jsonl").read_bytes() == before
    capfd.readouterr()
    assert train("other", "--resume", *storage) == 0


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(folder: Path) -> None:
    shutil.rmtree("run/checkpoints")
    for name in ("metrics.json", "model.keras", "scaler.h5"):
        Path("run", name).unlink()
    noted = record("run")
    Path("run/run.json").write_text(json.dumps({**noted, "checkpoints": None}))
    assert resume(2) == 0
    assert "no complete checkpoint: starting from the beginning" in said()


def test_a_run_that_patience_ended_is_not_told_to_raise_its_epochs(folder: Path) -> None:
    rest = ("--set", "train.patience=1", "--set", "train.learning_rate=10")
    assert train("early", "--set", "train.epochs=50", *rest) == 0
    assert train("early", "--resume", "--set", "train.epochs=60", *rest) == 0
    text = said("early")
    assert "nothing to do: the run was stopped early" in text
    assert "raise train.patience" in text
    assert "raise train.epochs" not in text


# -- more epochs -----------------------------------------------------------------------------------------------


def test_a_schedule_that_is_stretched_is_said(folder: Path) -> None:
    cosine = ("--set", "train.schedule=cosine", "--set", "train.learning_rate=0.01")
    assert train("cosine", *cosine) == 0
    assert train("cosine", "--resume", "--set", "train.epochs=4", *cosine) == 0
    text = said("cosine")
    assert (
        "the learning rate continues at 0.005 instead of 0: train.epochs = 4 instead of 2 stretches" in text
    )
    rates = {entry["epoch"]: entry["learning_rate"] for entry in history("cosine", "train")}
    assert rates[2.0] == pytest.approx(0, abs=1e-9), "as it was written at the end of the run"
    assert rates[3.0] == pytest.approx(0.005 * (1 + math.cos(0.75 * math.pi)))
    assert resume(3) == 0
    assert "the learning rate continues" not in said("run"), "it is constant"


def test_a_run_that_was_trained_further_and_stopped_at_its_end_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, take_steps = results("run"), loop.take_steps

    def stopped_at_the_last(run: setup.Run, state: TrainState) -> Any:
        averages = take_steps(run, state)
        if run.schedule.is_done(state.progress):
            signal.raise_signal(signal.SIGTERM)
        return averages

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_steps", stopped_at_the_last)
        assert resume(3) == 75
    assert "stopped by SIGTERM at step 30 with a checkpoint" in one_line(capfd)
    after = results("run")
    assert [name for name in before if before[name] == after[name]] == [
        "model.keras",
        "metrics.json",
        "scaler.h5",
    ]
    assert hpc_lstm("predict", "run", "--symbol", "AAA") == 0
    assert resume(3) == 0
    assert (metrics("run")["steps"], metrics("run")["epochs"]) == (30, 3.0)
    assert results("run")["model.keras"] != before["model.keras"]
    assert "nothing to do" not in said()
    assert resume(3) == 0
    assert "nothing to do: the run is complete" in said()


def test_a_start_with_nothing_to_do_leaves_no_trace_but_in_the_log(folder: Path) -> None:
    timing, line = Path("run/timing/rank-00000.jsonl"), '{"phase": "compu'
    timing.write_text(timing.read_text() + line)  # of a start that was killed
    Path("run/history.jsonl").write_text(Path("run/history.jsonl").read_text() + line)

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}

    before = files()
    assert resume(2) == 0
    after = files()
    assert {name for name in after if before.get(name) != after[name]} == {"run/log/rank-00000.log"}
    assert "nothing to do: the run is complete" in said()
    assert load_timing("run").starts == 1


@pytest.mark.parametrize(
    ("killed_in", "missing"), [("record_known_rows", "model.keras"), ("_measure", "metrics.json")]
)
def test_files_of_two_ends_never_pass_as_one_run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    killed_in: str,
    missing: str,
) -> None:
    def killed(*_: Any) -> None:
        raise InputError("killed")

    write_store(folder / "market.h5", {"AAA": 160, "BBB": 90, "CCC": 6})
    with monkeypatch.context() as patch:
        patch.setattr(ending, killed_in, killed)
        assert resume(3) == 2
    assert not {missing, "metrics.json", "intervals.json"} & {path.name for path in Path("run").iterdir()}
    capfd.readouterr()
    command = ("predict", "run", "--symbol", "AAA") if missing == "model.keras" else ("report", "run")
    assert hpc_lstm(*command) == (2 if missing == "model.keras" else 0)
    if missing == "model.keras":
        assert "run/model.keras: missing: the run is not complete; continue it with" in one_line(capfd)
    assert resume(3) == 0
    assert metrics("run")["steps"] == int(newest_state("run")["position/step"])
    assert KnownRows.load("run/rows.h5").rows.tolist() == [160, 90, 6]
    assert not Path("run/model.new.keras").exists()


def test_a_run_without_a_step_left_is_not_finished_on_rows_that_it_was_not_trained_on(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("metrics.json", "model.keras"):  # killed once its last checkpoint was whole
        Path("run", name).unlink()
    shutil.copy("market.h5", "before.h5")
    rows, noted = Path("run/rows.h5").read_bytes(), record("run")
    write_store(folder / "market.h5", {"AAA": 160, "BBB": 90, "CCC": 6})
    assert resume(2) == 2
    line = one_line(capfd)
    assert "run: is trained to its end, train.epochs = 2, but has no results of that yet" in line
    assert "raise train.epochs to train further on the new rows, or resume with the store as it was" in line
    assert (Path("run/rows.h5").read_bytes(), record("run")) == (rows, noted)
    shutil.copytree("run", "further")
    shutil.copy("before.h5", "market.h5")
    assert resume(2) == 0
    assert (metrics("run")["steps"], record("run")["data"]["rows"]) == (20, 216)
    write_store(folder / "market.h5", {"AAA": 160, "BBB": 90, "CCC": 6})
    assert train("further", "--resume", "--set", "train.epochs=3") == 0
    assert record("further")["data"]["rows"] == 256


def test_metrics_that_were_computed_anew_are_those_of_a_complete_run(folder: Path) -> None:
    Path("run/metrics.json").unlink()
    assert hpc_lstm("evaluate", "run") == 0
    assert resume(2) == 0
    assert "nothing to do: the run is complete" in said()


# -- a start from another run's model --------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_run_starts_with_the_weights_of_another(folder: Path, engine: str) -> None:
    # With a learning rate of nearly 0 the weights stay what they were at the start.
    rate = (
        "--set",
        "train.learning_rate=1e-12",
        "--set",
        f"train.engine={engine}",
        "--set",
        "train.epochs=1",
    )
    assert train("warm", "--init-from", "run", *rate) == 0
    weights = newest_state("run")["best/weights"]
    warm = newest_state("warm")
    np.testing.assert_allclose(warm["weights"], weights, rtol=0, atol=1e-7)
    assert int(warm["position/epoch"]) == 1
    assert int(warm["position/step"]) == math.ceil(158 / 16), "it counts its own steps"
    assert "starting with the model of " + str(folder / "run") in said("warm")
    assert record("warm")["init_from"] == str(folder / "run")
    assert record("warm")["scaling"] == "fitted"
    assert train("cold", *rate) == 0
    assert np.abs(newest_state("cold")["weights"] - weights).max() > 1e-3


def test_a_model_that_has_seen_the_days_that_are_measured_is_told_of(folder: Path) -> None:
    for name, split in (("same", "[0.7, 0.15, 0.15]"), ("earlier", "[0.5, 0.25, 0.25]")):
        assert train(name, "--init-from", "run", "--set", f"data.split={split}") == 0
    assert "days that this run is measured on" not in said("same")
    until = read_run_file(directory.at("run")).data["train_ends"]
    assert f"{folder / 'run'} was trained on days up to {until}, and the validation part" in said("earlier")


def test_scaling_is_fitted_anew_or_kept(folder: Path) -> None:
    write_store(folder / "market.h5", {"AAA": 160, "BBB": 90})
    old = Scaler.load("run/scaler.h5")
    assert train("fitted", "--init-from", "run") == 0
    assert train("kept", "--init-from", "run", "--keep-scaling", "--resume") == 0
    fitted, kept = Scaler.load("fitted/scaler.h5"), Scaler.load("kept/scaler.h5")
    first = prices("AAA", 160)[: 107 + 6, 0]  # rows of the train windows and their targets
    assert fitted.first[0, 0] == pytest.approx(first.min())
    assert fitted.second[0, 0] == pytest.approx(first.max())
    assert (fitted.scale != old.scale).any()
    np.testing.assert_array_equal(kept.scale, old.scale)
    np.testing.assert_array_equal(kept.shift, old.shift)
    assert "prices are scaled by the train rows of this run" in said("fitted")
    assert "prices are scaled as that run scaled them" in said("kept")
    assert (record("fitted")["scaling"], record("kept")["scaling"]) == ("fitted", "kept")
    # It is kept for good: on resume, on new rows, also where the command says it again.
    write_store(folder / "market.h5", {"AAA": 170, "BBB": 90})
    shutil.rmtree("run")
    assert train("kept", "--resume", "--set", "train.epochs=3") == 0
    again = ("--init-from", "run", "--keep-scaling")
    assert train("kept", "--resume", "--set", "train.epochs=4", *again) == 0
    np.testing.assert_array_equal(Scaler.load("kept/scaler.h5").scale, old.scale)
    assert "the scaling is kept" in said("kept")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("model.units=4", "model.units = 3, this run has 4"),
        ("model.layers=2", "model.layers = 1, this run has 2"),
        ('data.features=["close","volume"]', "data.features = ['close'], this run has ['close', 'volume']"),
        ("data.target=volume", "data.target = 'close', this run has 'volume'"),
        ("data.scaling=standard", "data.scaling = 'minmax', this run has 'standard'"),
    ],
)
def test_another_network_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], setting: str, says: str
) -> None:
    assert train("warm", "--init-from", "run", "--set", setting) == 2
    line = one_line(capfd)
    assert f"--init-from run: its model was trained with {says}" in line
    assert not Path("warm").exists()


def test_other_settings_may_differ_and_are_said(folder: Path) -> None:
    more = ("--set", "data.window=5", "--set", "model.dropout=0.1", "--set", "train.optimizer=sgd")
    assert train("warm", "--init-from", "run", *more) == 0
    assert "data.window 6 -> 5, model.dropout 0.0 -> 0.1" in said("warm")


def test_what_cannot_be_a_start_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train("warm", "--init-from", "nothing") == 2
    assert "nothing: no such run directory" in one_line(capfd)
    assert train("run", "--resume", "--init-from", "run") == 2
    assert "this run began from the seed" in one_line(capfd)
    assert train("warm", "--init-from", "warm") == 2
    assert "is the run directory itself" in one_line(capfd)
    assert train("warm", "--keep-scaling") == 2
    assert "--keep-scaling needs --init-from" in one_line(capfd)
    Path("run/model.keras").unlink()
    assert train("warm", "--init-from", "run") == 2
    assert "run/model.keras: missing: the run is not complete" in one_line(capfd)
    assert not Path("warm").exists()


def test_a_scaling_without_a_symbol_is_not_kept(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_store(folder / "market.h5", {"AAA": 120, "BBB": 90, "DDD": 90})
    assert train("warm", "--init-from", "run", "--keep-scaling") == 2
    refusal = one_line(capfd)
    assert "symbol DDD: the run was not trained on it, so its scaling is not known" in refusal
    assert "name symbols of the run in data.symbols (AAA, BBB" in refusal
    assert train("warm", "--init-from", "run") == 0


def test_a_resumed_run_began_where_it_began(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train("warm", "--init-from", "run") == 0
    shutil.copytree("run", "third")
    for arguments in (("--init-from", "third"), ("--init-from", "run", "--keep-scaling")):
        capfd.readouterr()
        assert train("warm", "--resume", *arguments) == 2
        assert f"this run began from the model of {folder / 'run'}; resume it without" in one_line(capfd)
    assert train("warm", "--resume", "--init-from", "run", "--set", "train.epochs=3") == 0
    assert "resuming from the checkpoint" in said("warm")


def test_a_kept_scaling_is_not_lost_with_the_run_directory(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = ("--set", f"storage.url=file://{folder}/shared")
    assert train("kept", "--init-from", "run", "--keep-scaling", *storage) == 0
    shutil.rmtree("kept")
    capfd.readouterr()
    assert train("kept", "--resume", *storage, "--set", "train.epochs=3") == 2
    assert "give --init-from and --keep-scaling as it was started" in one_line(capfd)
    assert not Path("kept").exists()
    again = ("--init-from", "run", "--keep-scaling", "--set", "train.epochs=3")
    assert train("kept", "--resume", *storage, *again) == 0
    assert "resuming from the checkpoint" in said("kept")
