"""What is told before and between steps: stages, epochs, how far ranks have drifted."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from hpc_lstm import config
from hpc_lstm.model.engines import native_kernels
from hpc_lstm.model.engines.registry import choose_engine
from hpc_lstm.parallel import gpu_discovery
from hpc_lstm.training import stages
from hpc_lstm.training.epoch_summary import EpochSummary
from hpc_lstm.training.rank_distance import rank_distance
from hpc_lstm.training.stages import Stages


def test_only_long_stages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FIRST_S", 0.05)
    monkeypatch.setattr(stages, "EVERY_S", 0.02)
    told: list[str] = []
    quick = Stages(True, told.append)
    quick.begin("importing")
    quick.close()
    assert told == []
    slow = Stages(True, told.append)
    slow.begin("importing")
    slow.begin("reading prices")
    while len(told) < 2:
        time.sleep(0.005)
    slow.close()
    slow.close()
    assert set(told) == {"reading prices, 0 s since the start"}
    silent = Stages(False, told.append)
    silent.begin("importing")
    silent.close()


def test_stages_follow_each_other_until_the_last_is_closed() -> None:
    stages = Stages(False)
    assert stages.spans() == []
    before = time.perf_counter_ns()
    stages.begin("importing")
    stages.begin("reading prices")
    stages.close()
    closed = stages.spans()
    stages.close()
    assert stages.spans() == closed
    (first, start, middle), (second, also, end) = closed
    assert (first, second) == ("importing", "reading prices")
    assert before <= start <= middle == also <= end <= time.perf_counter_ns()


def test_a_stage_that_is_begun_again_goes_on() -> None:
    stages = Stages(False)
    for name in ("importing", "compiling kernels", "compiling kernels"):
        stages.begin(name)
    assert [name for name, _, _ in stages.spans()] == ["importing", "compiling kernels"]


def test_the_c_compiler_runs_in_the_stage_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(gpu_discovery, "installed_gpus", list)
    monkeypatch.setattr(native_kernels, "load_kernels", lambda: begun.append("the compiler"))
    fused = config.parse({"data": {"store": "none"}, "train": {"engine": "fused"}}, "test")
    choose_engine(fused, begin=begun.append)
    assert begun == ["opening the device", "compiling kernels", "the compiler"]


def test_an_epochs_loss_is_the_mean_over_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    epoch = EpochSummary()
    epoch.add(16, 1.0)
    epoch.add(20, 2.0)
    now[0] += 3
    assert epoch.finish() == (pytest.approx((16 * 1.0 + 4 * 2.0) / 20), 3.0)
    epoch.add(30, 0.5)
    assert epoch.finish() == (0.5, 0.0)
    assert math.isnan(epoch.finish()[0])


def test_an_epoch_goes_on_after_a_resume() -> None:
    entries = [
        {"kind": "train", "step": 16, "loss": 9.0},
        {"kind": "train", "step": 20, "loss": 9.0},
        {"kind": "validation", "step": 20, "loss": 8.0},
        {"kind": "train", "step": 30, "loss": 1.0},
    ]
    epoch = EpochSummary(entries, 32)  # the checkpoint is two steps later
    epoch.add(40, 2.0)
    assert epoch.finish()[0] == pytest.approx((10 * 1.0 + 8 * 2.0) / 18)


def test_the_distance_is_relative_to_the_mean() -> None:
    class Engine:
        weights = np.array([3.0, 4.0], np.float32)

        def parameters(self) -> np.ndarray:
            return self.weights

    engine = Engine()
    with rank_distance(engine, True) as distance:  # type: ignore[arg-type]
        engine.weights = np.array([3.0, 0.0], np.float32)
    assert distance.value == pytest.approx(4 / 3)
    with rank_distance(engine, False) as distance:  # type: ignore[arg-type]
        engine.weights = np.array([1.0, 0.0], np.float32)
    assert distance.value is None
