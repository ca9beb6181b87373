"""Values that cannot be computed with: all are looked for before the first step, and nothing trained is lost."""

from __future__ import annotations

import errno
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm import cli
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import StoreWriter
from hpc_lstm.preprocess import prepare
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.training import ownership

CONFIG = """
[data]
store = "market.h5"
window = 6
[model]
layers = 1
units = 3
dropout = 0.0
[train]
batch_size = 16
epochs = 1
threads = 1
engine = "fused"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with ``job.toml`` that the process is in; what a run changes in its process is put back."""
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.toml").write_text(CONFIG)
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.getLogger("hpc_lstm").handlers.clear()


def write_store(bad: dict[str, int], rows: int = 60) -> None:
    """Symbols A to E, of which some have a value that is missing, and F, which is too short to be trained on."""
    chance = np.random.default_rng(0)
    with StoreWriter("market.h5", ["close"], "test") as store:
        for name in "ABCDEF":
            count = 5 if name == "F" else rows
            values = 100 + np.cumsum(chance.uniform(-0.3, 0.3, (count, 1)), axis=0)
            if name in bad:
                values[bad[name]] = np.nan
            store.append(name, np.arange(15000, 15000 + count), values)


def train(*more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "job.toml", "--run-dir", "run", *more])
    return int(ended.value.code or 0)


def test_all_symbols_with_a_bad_value_are_named_before_the_first_step(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_store({"B": 0, "D": -1, "E": 30, "F": 2})
    assert train() == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert 'symbol B, column "close", 2011-01-26: is nan, must be a number above 0, which log-returns' in line
    assert "; 3 symbols have such a value: " in line
    assert 'B, D, E; clean them and import again, or set data.unusable = "leave-out"' in line
    assert not Path("run").exists()


def test_one_bad_value_in_the_test_part_is_found_before_the_first_step(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_store({"D": -1})
    assert train() == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert 'symbol D, column "close", 2011-03-26: is nan' in line


def test_they_may_be_left_out() -> None:
    write_store({"B": 0, "D": -1})
    assert train("--set", "data.unusable=leave-out") == 0
    assert Scaler.load("run/scaler.h5").symbols == ["A", "C", "E"]
    assert (
        "left out, with a value that cannot be computed with: 2 symbols (B, D)"
        in Path("run/log/rank-00000.log").read_text()
    )
    # The same symbols are left out by what comes after.
    assert train("--set", "data.unusable=leave-out", "--set", "train.epochs=2", "--resume") == 0
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "run"])
    assert ended.value.code == 0


def test_one_of_them_must_be_usable(capfd: pytest.CaptureFixture[str]) -> None:
    write_store(dict.fromkeys("ABCDE", 3))
    assert train("--set", "data.unusable=leave-out") == 2
    assert "5 symbols have such a value" in capfd.readouterr().err


def test_a_test_part_that_cannot_be_read_costs_its_own_metrics_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_store({})
    load = prepare.Prepared.load_windows

    def fail(self: prepare.Prepared, part: str) -> object:
        if part == "test":
            raise InputError("market.h5: rows 3 to 9 cannot be read")
        return load(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(prepare.Prepared, "load_windows", fail)
        assert train() == 2
    assert "rows 3 to 9 cannot be read" in capfd.readouterr().err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["validation"]["model"]["rmse"] > 0
    assert metrics["test"] is None
    assert any(
        "The test part could not be measured: market.h5: rows 3 to 9" in note for note in metrics["notes"]
    )
    assert {"model.keras", "scaler.h5"} <= {path.name for path in Path("run").iterdir()}
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "run"])
    assert ended.value.code == 0


def test_a_batch_of_more_than_all_windows_is_told() -> None:
    write_store({})
    assert train("--set", "train.batch_size=1000") == 0
    assert (
        "is more than the 185 train windows: an epoch is one step, in which windows repeat"
        in Path("run/log/rank-00000.log").read_text()
    )


def test_a_run_directory_that_nothing_keeps_for_one_job_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    write_store({})
    monkeypatch.setattr(ownership, "Lease", no_links)
    assert train() == 0
    assert "has no hard links: nothing keeps a second job" in Path("run/log/rank-00000.log").read_text()
