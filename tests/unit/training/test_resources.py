"""Settings that no machine can hold are refused at once."""

from __future__ import annotations

import os
import time

import pytest

from hpc_lstm import config as configuration
from hpc_lstm.errors import ConfigError, InputError
from hpc_lstm.model.network import network_schema
from hpc_lstm.parallel import launch
from hpc_lstm.training import resources
from hpc_lstm.training.resources import batch_bytes, check_resources, node_memory, parameter_bytes


def config(**sections: dict[str, object]) -> configuration.RunConfig:
    tables = {"data": {"store": "m.h5"} | sections.pop("data", {}), **sections}
    return configuration.parse(tables, "test")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"train": {"threads": 2**30}},
            "train.threads = 1,073,741,824 is more than 4 for each of this node's",
        ),
        ({"model": {"units": 2**30}}, "model.units = 1,073,741,824 takes"),
        ({"train": {"batch_size": 2**30}}, "train.batch_size = 1,073,741,824 windows"),
        ({"data": {"window": 2**30}}, "data.window = 1,073,741,824 rows takes"),
        ({"data": {"window": 2**30}, "train": {"batch_size": 2**30}}, "GiB of memory at least"),
    ],
)
def test_absurd_numbers_are_refused_at_once(
    sections: dict[str, dict[str, object]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "node_memory", lambda: 1 << 37)
    start = time.process_time()
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        check_resources(config(**sections))
    assert time.process_time() - start < 1


def test_layers_are_limited() -> None:
    with pytest.raises(ConfigError, match=r"model\.layers"):
        config(model={"layers": 2**30})


def test_usual_settings_are_not_refused() -> None:
    check_resources(config(model={"units": 512, "layers": 4}, train={"batch_size": 16384, "threads": 1}))


@pytest.mark.parametrize(("layers", "units", "features"), [(1, 3, 1), (2, 64, 5), (5, 17, 2)])
def test_parameters_are_counted_as_the_network_has_them(layers: int, units: int, features: int) -> None:
    columns = [f"sma(close, {length})" for length in range(2, 2 + features)]
    settings = config(model={"layers": layers, "units": units}, data={"features": columns, "window": 7})
    assert parameter_bytes(settings) == 2 * 4 * network_schema(settings.model, features).length
    assert batch_bytes(settings) == 64 * 7 * features * 4


def test_memory_is_that_of_the_machine_or_its_container() -> None:
    assert 1 << 28 < node_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(("text", "threads"), [("1", 1), ("1,4", 1), ("", 0), ("x", 0), ("-2", 0), ("0", 0)])
def test_omp_num_threads_is_heeded(text: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert launch._omp_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert launch._omp_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launch.connect().threads == 1
    assert launch.connect(threads=2).threads == 2
