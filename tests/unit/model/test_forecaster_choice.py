"""Where forecasts are computed: by the work where nobody says, on the device that is named otherwise."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest

from hpc_lstm import config as configuration
from hpc_lstm.cuda import availability
from hpc_lstm.errors import InputError
from hpc_lstm.model.engines.forecaster_choice import (
    Workload,
    choose_gpu,
    gpu_saves_time,
    load_gpu_forecaster,
)
from hpc_lstm.model.keras_file import SavedNetwork
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.gpu_discovery import ORDER, VISIBLE
from hpc_lstm.parallel.world import World


def config(units: int) -> configuration.RunConfig:
    return configuration.parse({"data": {"store": "none"}, "model": {"units": units}}, "test")


# An evaluation of 38,100 windows in two passes on 16 threads took, the start of the program included, with 256 units
# 8.9 s on CPUs and 1.7 s on an H100, with 64 units, in another run, 2.5 s and 2.8 s.
@pytest.mark.parametrize(
    ("units", "work", "faster"),
    [
        (256, Workload(76_200, 1024, 16), True),
        (64, Workload(76_200, 1024, 16), False),
        (64, Workload(76_200, 1024, 1), True),
        (256, Workload(1, 1), False),
        (256, Workload(5_000, 1), True),
        (16, Workload(5_000, 1), False),
    ],
)
def test_the_gpu_is_chosen_where_it_was_measured_to_save_time(
    units: int, work: Workload, faster: bool
) -> None:
    assert gpu_saves_time(config(units), work) == faster
    assert choose_gpu(config(units), work, "auto", World()) == faster


def test_more_work_never_brings_forecasts_back_to_the_cpu() -> None:
    work = Workload(1, 1024, 4)
    choices = [gpu_saves_time(config(128), replace(work, windows=2**power)) for power in range(24)]
    assert choices == sorted(choices)
    assert choices[0] != choices[-1]


def test_a_named_device_is_taken_whatever_the_work() -> None:
    much, little = Workload(10**9, 1024), Workload(1, 1)
    assert choose_gpu(config(16), little, "gpu", World())
    assert not choose_gpu(config(512), much, "cpu", World())
    with pytest.raises(InputError, match='device "tpu": must be auto, cpu, gpu'):
        choose_gpu(config(16), little, "tpu", World())


def test_without_a_gpu_only_a_wish_for_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one = config(16)
    network = SavedNetwork(one.model, one.data.window, 1, 1, flat=None)  # not looked at
    with caplog.at_level(logging.INFO):
        assert load_gpu_forecaster(network, "auto", World()) is None
    assert "on CPUs, not on the GPU: there is no GPU" in caplog.text
    with pytest.raises(InputError, match='device "gpu": there is no GPU; take "auto" or "cpu"'):
        load_gpu_forecaster(network, "gpu", World())


@pytest.mark.parametrize("given", [None, "1,0"])
def test_ranks_that_the_program_starts_later_have_all_gpus(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ORDER, raising=False)
    monkeypatch.delenv(VISIBLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VISIBLE, given)
    monkeypatch.setattr(gpu, "installed_gpus", lambda: [gpu.Gpu(n, "none", "", 0) for n in ("0", "1")])
    chosen: list[str] = []

    def problem() -> str:
        chosen.append(os.environ[VISIBLE])
        return "the driver fails"

    monkeypatch.setattr(availability, "cuda_problem", problem)
    one = config(16)
    network = SavedNetwork(one.model, one.data.window, 1, 1, flat=None)  # not looked at
    assert load_gpu_forecaster(network, "auto", World()) is None
    assert chosen == ["0" if given is None else "1"]
    assert os.environ.get(VISIBLE) == given
    assert ORDER not in os.environ
