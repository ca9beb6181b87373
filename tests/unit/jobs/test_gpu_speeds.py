"""``doctor --tune``: what it measures, shows and keeps, with a GPU that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpc_lstm import cli
from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import CudaError, InputError
from hpc_lstm.jobs import gpu_speeds
from hpc_lstm.model.engines import speed_files
from hpc_lstm.model.engines.cuda.choice import card_of, network_of
from hpc_lstm.model.engines.speed_files import own_table
from hpc_lstm.model.engines.speed_table import Measurement, SpeedTable
from hpc_lstm.parallel.world import World


@dataclass
class Gpu:
    """An H100, as far as ``tune`` asks."""

    name: str = "NVIDIA Test"
    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132
    driver: int = 12080

    def resident_clusters(self, size: int) -> int:
        return 120 // size


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """A machine with a GPU; what was measured on it so far, in order."""
    found: list[RunConfig] = []

    def measure(config: RunConfig, ways: Collection[str]) -> Measurement:
        found.append(config)
        speeds = {"chains": 1000.0 * len(found), "tiles": None, "keras": 500.0}
        return Measurement(network_of(config), {way: speeds[way] for way in ways})

    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path))
    monkeypatch.setattr(speed_files, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(gpu_speeds, "Device", Gpu)
    monkeypatch.setattr(gpu_speeds, "cuda_problem", lambda: None)
    monkeypatch.setattr(gpu_speeds, "keras_has_gpu", lambda threads, deterministic: False)
    monkeypatch.setattr(gpu_speeds, "measure_speeds", measure)
    return found


def sizes(configs: list[RunConfig]) -> list[tuple[str, int, int]]:
    return [(one.train.precision, one.model.units, one.train.batch_size) for one in configs]


def tune(config: RunConfig | None, units: list[int], show: Callable[[str], None] = lambda line: None) -> None:
    gpu_speeds.tune(config, units, World(), show)


def test_a_standard_network_is_measured_where_there_is_a_choice(measured: list[RunConfig]) -> None:
    lines: list[str] = []
    tune(None, [], lines.append)
    assert sizes(measured) == [
        (precision, units, batch)
        for precision in ("bfloat16", "float32")
        for units in gpu_speeds.UNITS
        for batch in gpu_speeds.BATCHES
    ]
    assert {(one.model.layers, one.data.window, len(one.data.features)) for one in measured} == {(2, 60, 5)}
    assert lines[0] == "NVIDIA Test, 132 multiprocessors; thousand samples/s"
    assert "without the Keras engine" in lines[1]
    assert lines[2] == "bfloat16   64 units  batch     64  chains 1.0 *  tiles -"
    assert lines[-1].startswith("kept in ")
    table = own_table(card_of(Gpu()))  # type: ignore[arg-type]
    assert table is not None
    assert [one.network for one in table.measurements] == [network_of(one) for one in measured]
    assert gpu_speeds.known_speeds() == "56 sizes measured here"


@dataclass
class Older(Gpu):
    """An A100."""

    capability: tuple[int, int] = (8, 0)

    def resident_clusters(self, size: int) -> int:
        return 108 if size == 1 else 0


def test_a_network_with_one_set_of_kernels_alone_is_not_measured(
    measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_speeds, "Device", Older)
    lines: list[str] = []
    tune(None, [512], lines.append)
    assert measured == []
    assert sum("nothing to choose" in line for line in lines) == 2 * len(gpu_speeds.BATCHES)


def test_the_network_of_a_configuration_is_measured_at_its_own_batch_too(
    measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"data": {"store": "none", "window": 7}, "model": {"units": 40, "layers": 3}}
    config = configuration.parse(tables | {"train": {"batch_size": 100}}, "test")
    monkeypatch.setattr(gpu_speeds, "keras_has_gpu", lambda threads, deterministic: True)
    tune(config, [])
    batches = [64, 100, 256, 512, 1024, 2048, 4096, 8192]
    assert sizes(measured) == [("float32", 40, batch) for batch in batches]
    assert {(one.model.layers, one.data.window) for one in measured} == {(3, 7)}
    measured.clear()
    tune(config, [16, 80])
    assert sizes(measured) == [("float32", units, batch) for units in (16, 80) for batch in batches]
    assert gpu_speeds.known_speeds() == "24 sizes measured here"


def test_what_was_measured_before_an_interruption_is_kept(
    measured: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu_speeds.measure_speeds

    def interrupted(config: RunConfig, ways: Collection[str]) -> Measurement:
        if len(measured) == 3:
            raise KeyboardInterrupt
        return real(config, ways)

    monkeypatch.setattr(gpu_speeds, "measure_speeds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(None, [128])
    assert gpu_speeds.known_speeds() == "3 sizes measured here"


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_speeds, "cuda_problem", lambda: "there is no NVIDIA driver")
    with pytest.raises(CudaError, match="doctor --tune measures on a GPU: there is no NVIDIA driver"):
        tune(None, [])


def test_where_nothing_can_be_kept_it_ends_with_the_first_measurement(
    measured: list[RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be kept there"):
        tune(None, [])
    assert len(measured) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--units", "64"], "--units needs --tune"),
        (["--tune", "--units", "0"], "0 is not in the range x>=1"),
        (["--tune", "none.toml"], "none.toml"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    arguments: list[str], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *arguments])
    assert ended.value.code == 2
    output, errors = capfd.readouterr()
    assert problem in errors
    assert errors.count("\n") == 1
    assert output == ""


def test_the_command_prints_the_table_as_json(
    measured: list[RunConfig], capfd: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        cli.main(["doctor", "--tune", "--units", "128", "--json"])
    output, errors = capfd.readouterr()
    assert [one.network for one in SpeedTable.from_json(output).measurements] == [
        network_of(one) for one in measured
    ]
    assert "128 units  batch     64" in errors
