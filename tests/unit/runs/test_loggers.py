"""Loggers take a run's curves to where they belong, and never end it."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.runs import directory, history
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import History
from hpc_lstm.runs.loggers import background, registry
from hpc_lstm.runs.loggers.background import BackgroundLogger, Point

SETTINGS = {"train.epochs": 5, "data.features": ["close"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(history, "EVENTS_EVERY_S", 0.0)
    monkeypatch.setattr(background, "EVERY_S", 0.05)
    (tmp_path / "first").mkdir()
    return directory.at(tmp_path / "first")


@pytest.fixture
def mlflow_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow's own store in a folder."""
    from mlflow import MlflowClient

    # Set as by a user; those that a logger sets by itself are forgotten again.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return MlflowClient()


def tell(where: History, step: int, loss: float) -> None:
    where.train(
        step=step, epoch=step / 10, loss=loss, learning_rate=0.01, samples_per_second=math.nan, elapsed_s=1.0
    )


def test_mlflow_has_settings_curves_and_results(run: RunDirectory, mlflow_folder: Any) -> None:
    mine = History(run, True, 0, loggers=["mlflow"], settings=SETTINGS)
    for step in range(1, 4):
        tell(mine, step, 1 / step)
        mine.points(step, {"compute": 2.0 * step}, 0.125)
    mine.validation(step=3, epoch=1, loss=0.25, best=True)
    mine.results({"test/rmsse": 0.75}, 3)
    mine.close()
    experiment = mlflow_folder.get_experiment_by_name("hpc_lstm").experiment_id
    (found,) = mlflow_folder.search_runs([experiment])
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert found.data.params == {"train.epochs": "5", "data.features": "['close']"}
    assert found.data.metrics == {
        "train/loss": pytest.approx(1 / 3),
        "train/learning_rate": 0.01,
        "seconds/compute": 6.0,
        "ranks/distance_before_average": 0.125,
        "validation/loss": 0.25,
        "test/rmsse": 0.75,
    }  # what is not a number is left out
    losses = mlflow_folder.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert not run.tensorboard.exists(), "only where it is asked for"


def test_a_resumed_run_is_the_same_run_of_mlflow(run: RunDirectory, mlflow_folder: Any) -> None:
    for resumed_at, changed in ((0, {}), (2, {"train.epochs": 9})):
        mine = History(run, True, resumed_at, loggers=["mlflow"], settings=SETTINGS | changed)
        tell(mine, resumed_at + 1, 0.5)
        mine.close()
    experiment = mlflow_folder.get_experiment_by_name("hpc_lstm").experiment_id
    (found,) = mlflow_folder.search_runs([experiment])
    losses = mlflow_folder.get_metric_history(found.info.run_id, "train/loss")
    assert [point.step for point in losses] == [1, 3]
    (run.path / "mlflow.id").write_text("0123456789abcdef0123456789abcdef\n")  # of a server that is gone
    History(run, True, 3, loggers=["mlflow"], settings=SETTINGS).close()
    assert len(mlflow_folder.search_runs([experiment])) == 2


def test_a_server_that_does_not_answer_is_refused_in_one_line(
    run: RunDirectory, mlflow_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://alice:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        InputError, match=r"^mlflow: .*; set MLFLOW_TRACKING_URI to a tracking server"
    ) as error:
        History(run, True, 0, loggers=["mlflow"])
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "http://127.0.0.1:9" in str(error.value)


def test_a_package_that_is_missing_is_told_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.check_loggers(["tensorboard", "mlflow"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    registry.check_loggers(["tensorboard"])
    for name in ("mlflow", "wandb"):
        with pytest.raises(InputError, match=rf'pip install "hpc-lstm\[{name}\]"'):
            registry.check_loggers(["tensorboard", name])


class Server:
    """What a logger sends to; it may be down, or slow."""

    def __init__(self) -> None:
        self.sent: list[Point] = []
        self.finished = False
        self.fails = False
        self.answers = threading.Event()
        self.answers.set()

    def send(self, points: list[Point]) -> None:
        self.answers.wait(10)
        if self.fails:
            raise ConnectionError("the server\nat https://alice:hunter2@there/ is down")
        self.sent += points

    def finish(self) -> None:
        self.finished = True


def test_a_server_that_goes_away_ends_the_logging_alone(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    logger = BackgroundLogger("there", server, every_s=0.01)
    logger.scalars({"loss": 1.0}, 1)
    deadline = time.monotonic() + 10
    while not server.sent and time.monotonic() < deadline:
        time.sleep(0.01)
    server.fails = True
    with caplog.at_level(logging.WARNING, "hpc_lstm"):
        logger.scalars({"loss": 0.5}, 2)
        logger._thread.join(10)
        for step in range(3, 100):
            logger.scalars({"loss": 0.5}, step)
        logger.close()
    assert [point.values for point in server.sent] == [{"loss": 1.0}]
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "there: the server at https://there/ is down; the run continues without it"
    )
    assert logger._points.empty(), "nothing is kept for a server that is gone"


def test_a_slow_server_does_not_hold_up_training(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.answers.clear()
    logger = BackgroundLogger("there", server, every_s=0.001)
    began = time.monotonic()
    for step in range(100):
        logger.scalars({"loss": 0.5, "nothing": math.nan}, step)
        logger.flush()
    assert time.monotonic() - began < 5
    server.answers.set()
    logger.close()
    assert [(point.step, point.values) for point in server.sent] == [(n, {"loss": 0.5}) for n in range(100)]
    assert server.finished
