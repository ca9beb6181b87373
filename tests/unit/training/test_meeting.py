"""A rank alone whose engine is ahead of the host: what is reported comes later, and is the same."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from hpc_lstm import cli
from hpc_lstm import config as configuration
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.model.engines.native import NativeEngine
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.averaging import Agreement
from hpc_lstm.parallel.work import Work
from hpc_lstm.timing.timeline import Timeline
from hpc_lstm.training import loop, meeting
from hpc_lstm.training.running_mean import RunningMean
from hpc_lstm.training.schedule import Progress

CONFIG = """
[data]
store = "market.h5"
window = 6
[model]
layers = 1
units = 3
dropout = 0.0
[train]
batch_size = 4
epochs = 3
threads = 1
engine = "fused"
[average]
every = 5
[checkpoint]
every = 7
"""
TIMES = ("samples_per_second", "elapsed_s", "memory_bytes")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a job that the process is in; what a run changes in its process is put back."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(CONFIG)
    with StoreWriter("market.h5", ["close"], "test") as store:
        walk = 100 + np.cumsum(np.random.default_rng(0).uniform(-0.3, 0.4, (200, 1)), axis=0)
        store.append("A", np.arange(15000, 15200), walk)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.getLogger("hpc_lstm").handlers.clear()


def train(run: str, *more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "job.toml", "--run-dir", run, *more])
    return int(ended.value.code or 0)


def history(run: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in Path(run, "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def test_what_is_reported_later_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("at_once") == 0
    monkeypatch.setattr(NativeEngine, "asynchronous", True)
    order: list[str] = []
    take_steps, end_meeting = loop.take_steps, loop.end_meeting

    def steps(*parts: object) -> Work | None:
        order.append("steps")
        return take_steps(*parts)  # type: ignore[arg-type]

    def end(run: object, begun: meeting.Meeting, *parts: object) -> bool:
        order.append(f"end of {begun.progress.step}")
        return end_meeting(run, begun, *parts)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "take_steps", steps)
    monkeypatch.setattr(loop, "end_meeting", end)
    assert train("later") == 0
    assert history("later") == history("at_once")
    assert [line["step"] for line in history("later") if line["kind"] == "train"][:4] == [5, 10, 15, 20]
    # Steps 1-5, 6-7 up to a checkpoint, 8-10, 11-14.
    assert order[:7] == ["steps", "steps", "end of 5", "steps", "steps", "end of 10", "steps"]


def test_a_signal_stops_a_run_whose_meeting_ends_later(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train("whole") == 0
    monkeypatch.setattr(NativeEngine, "asynchronous", True)
    take_steps = loop.take_steps

    def steps(run: meeting.Run, state: meeting.TrainState) -> Work | None:
        if state.progress.step == 5:  # of which the meeting has begun
            signal.raise_signal(signal.SIGTERM)
        return take_steps(run, state)

    monkeypatch.setattr(loop, "take_steps", steps)
    capfd.readouterr()
    assert train("run") == 75
    assert "stopped by SIGTERM at step 7 with a checkpoint" in capfd.readouterr().err
    assert train("run", "--resume") == 0
    assert history("run") == history("whole")


def test_a_rank_alone_does_not_stop_where_it_would_average(monkeypatch: pytest.MonkeyPatch) -> None:
    often = ("--set", "average.every=2", "--set", "checkpoint.every=1000")
    assert train("each", *often) == 0
    own_step = NativeEngine.step

    class Loss(float):
        def wait(self) -> int:
            return 0

    def step(
        engine: NativeEngine, inputs: Any, targets: Any, rates: Any, within: AveragesWithin | None = None
    ) -> Loss:
        assert within is None or (within.every, within.ranks) == (2, 1)
        return Loss(own_step(engine, inputs, targets, rates))

    monkeypatch.setattr(NativeEngine, "step", step)
    monkeypatch.setattr(NativeEngine, "averages_within_calls", True)
    assert train("calls", *often) == 0
    each, calls = ([line for line in history(run) if line["kind"] == "train"] for run in ("each", "calls"))
    assert [line["step"] for line in each][:4] == [2, 4, 6, 8]
    assert [line["step"] for line in calls][:3] == [2, 18, 34], "the first average of an epoch is apart"
    assert {line["step"] for line in calls} < {line["step"] for line in each}
    validations = [
        [line for line in history(run) if line["kind"] == "validation"] for run in ("each", "calls")
    ]
    assert validations[0] == validations[1]


@pytest.mark.parametrize("measured", [False, True])
def test_the_wait_for_a_queued_average_is_no_computation(measured: bool, tmp_path: Path) -> None:
    """Of two ranks this one is early; where its distance from the mean is measured, it waits before it agrees."""
    late_s = 0.2
    timeline = Timeline(tmp_path / "timing" / "rank.jsonl", 0, 2)
    timeline.enter("compute")

    def wait() -> int:
        time.sleep(max(0.0, other_arrives - time.monotonic()))
        return 1000

    def parameters() -> np.ndarray:
        if queued:
            wait()
        return np.ones(3, np.float32)

    def average(*_: object) -> SimpleNamespace:
        queued.append(True)
        return SimpleNamespace(wait=wait)

    def agree(samples: int, loss_sum: float) -> Agreement:
        wait()
        return Agreement(2 * samples, loss_sum, False)

    queued: list[bool] = []
    run: Any = SimpleNamespace(
        world=SimpleNamespace(size=2),
        schedule=SimpleNamespace(averages_at=lambda _: True, epochs_done=lambda _: 0.0, steps_per_epoch=9),
        averager=SimpleNamespace(is_queued=lambda _: True, average=average, agree=agree, shortest=int),
        engine=SimpleNamespace(parameters=parameters),
        timeline=timeline,
        config=configuration.parse({"data": {"store": "none"}}, "test"),
    )
    state: Any = SimpleNamespace(progress=Progress(5, 0, 5, 40), losses=RunningMean())
    outputs: Any = MagicMock()
    outputs.history.distance_due = measured
    state.losses.add(1.0, 8)
    before, other_arrives = timeline.seconds_by_phase(), time.monotonic() + late_s
    assert not meeting.end_meeting(run, meeting.begin_meeting(run, state, outputs), outputs)
    seconds = {phase: after - before[phase] for phase, after in timeline.seconds_by_phase().items()}
    assert seconds["wait"] + seconds["average"] > 0.8 * late_s
    assert seconds["compute"] < 0.5 * late_s
    timeline.flush()
    lines = [json.loads(line) for line in (tmp_path / "timing" / "rank.jsonl").read_text().splitlines()]
    (barrier,) = [line for line in lines if "meeting" in line]
    assert (barrier["phase"], barrier["meeting"]) == ("wait", 0)
    assert barrier["busy_ns"] > 0.8e9 * late_s


def test_the_time_of_averages_within_a_call_is_no_computation(tmp_path: Path) -> None:
    """The host waits for the loss behind them; of two ranks' GPUs this one has waited 30 ms for the other."""
    timeline = Timeline(tmp_path / "timing" / "rank.jsonl", 0, 2)
    timeline.enter("compute")

    class Call:
        def __float__(self) -> float:
            time.sleep(max(0.0, ends - time.monotonic()))
            return 1.0

        def wait(self) -> int:
            assert time.monotonic() >= ends, "asked for later than the loss"
            return 40_000_000

    def shortest(own_ns: int) -> int:
        assert own_ns == 40_000_000
        return 10_000_000

    def agree(samples: int, loss_sum: float) -> Agreement:
        return Agreement(2 * samples, loss_sum, False)

    run: Any = SimpleNamespace(
        world=SimpleNamespace(size=2),
        schedule=SimpleNamespace(averages_at=lambda _: True, epochs_done=lambda _: 0.0, steps_per_epoch=9),
        averager=SimpleNamespace(agree=agree, shortest=shortest),
        timeline=timeline,
        config=configuration.parse({"data": {"store": "none"}}, "test"),
    )
    state: Any = SimpleNamespace(progress=Progress(5, 0, 5, 40), losses=RunningMean())
    outputs: Any = MagicMock()
    call, ends = Call(), time.monotonic() + 0.1
    state.losses.add(call, 8)
    assert not meeting.end_meeting(run, meeting.begin_meeting(run, state, outputs, call), outputs)
    timeline.flush()
    lines = [json.loads(line) for line in (tmp_path / "timing" / "rank.jsonl").read_text().splitlines()]
    spans = [(line["phase"], line["busy_ns"], line.get("meeting")) for line in lines if "phase" in line]
    assert [phase for phase, _, _ in spans] == ["startup", "compute", "wait", "average", "wait"]
    assert spans[1][1] >= 0.055e9
    assert spans[2:4] == [("wait", 30_000_000, 0), ("average", 10_000_000, None)]
