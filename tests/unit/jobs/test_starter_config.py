"""``hpc-lstm init``: what it writes trains as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_lstm import config
from hpc_lstm.errors import InputError
from hpc_lstm.jobs.starter_config import write_starter_config
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.training.loop import train


def write_store(path: Path, columns: list[str], rows: int = 200, volume: float = 1e6) -> Path:
    random = np.random.default_rng(0)
    with StoreWriter(path, columns, "test") as store:
        for symbol in ("AAA", "BBB"):
            prices = 50 * np.exp(np.cumsum(random.normal(0, 0.01, (rows, len(columns))), axis=0))
            if "volume" in columns:
                prices[:, columns.index("volume")] = volume
            store.append(symbol, np.arange(15000, 15000 + rows, dtype=np.int64), prices)
    return path


def test_it_trains_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    write_store(tmp_path / "prices" / "my.h5", ["close", "volume"])
    said = write_starter_config(tmp_path / "job.toml", tmp_path / "prices" / "my.h5")
    assert "for 2 symbols of " in said
    text = (tmp_path / "job.toml").read_text()
    assert "2 symbols, 400 rows, 2011-01-26 to 2011-08-13" in text
    assert 'store = "prices/my.h5"' in text
    settings = config.load(tmp_path / "job.toml", ["train.epochs=1", "model.units=4"])
    assert settings.data.features == ["log-returns(adjusted)", "log-returns(volume)"]
    assert settings.data.window == 25
    train(settings, directory.at(tmp_path / "run"), World())
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_single_symbol_is_no_plural(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "one.h5", ["close"], "test") as store:
        store.append("AAA", np.arange(100, dtype=np.int64), np.linspace(1, 2, 100)[:, None])
    assert "for 1 symbol of " in write_starter_config(tmp_path / "job.toml", tmp_path / "one.h5")
    assert ": 1 symbol, 100 rows, " in (tmp_path / "job.toml").read_text()


def test_volumes_of_zero_are_no_feature(tmp_path: Path) -> None:
    store = write_store(tmp_path / "market.h5", ["close", "volume"], volume=0.0)
    write_starter_config(tmp_path / "job.toml", store)
    assert config.load(tmp_path / "job.toml").data.features == ["log-returns(adjusted)"]


def test_without_a_store(tmp_path: Path) -> None:
    assert "hpc-lstm import" in write_starter_config(tmp_path / "job.toml", None)
    settings = config.load(tmp_path / "job.toml")
    assert settings.data.store == str(tmp_path / "market.h5")


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("mine")
    with pytest.raises(InputError, match=r"job\.toml: exists already; name another file with -o"):
        write_starter_config(tmp_path / "job.toml", None)
    assert (tmp_path / "job.toml").read_text() == "mine"


def test_a_store_without_closes_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    store = write_store(tmp_path / "market.h5", ["last"])
    with pytest.raises(InputError, match="has no column adj_close or close; it has last"):
        write_starter_config(tmp_path / "job.toml", store)
    assert not (tmp_path / "job.toml").exists()
