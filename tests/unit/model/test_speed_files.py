"""Files of measured speeds: the package's are whole, and the user's are read where they hold, and are theirs alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.model.engines import speed_files
from hpc_lstm.model.engines.speed_files import Card, own_path, own_table, tables_for, write_own_table
from hpc_lstm.model.engines.speed_table import CHAINS, TILES, Measurement, Network, SpeedTable

ROOT = Path(__file__).parents[3]
CARD = Card("NVIDIA Test", (9, 9), 132, 12080)
NETWORK = Network("bfloat16", layers=2, window=60, features=5, dropout=True, units=64, batch=1024)
TABLE = SpeedTable(CARD.name, CARD.capability, 132, (Measurement(NETWORK, {CHAINS: 2.0, TILES: 1.0}),))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_measured_is_read_for_the_same_card_driver_version_and_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_table(CARD) is None
    path = write_own_table(CARD, TABLE)
    assert own_table(CARD) == TABLE
    assert path.stat().st_mode & 0o077 == 0
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    others = (
        replace(CARD, name="Another"),
        replace(CARD, capability=(9, 0)),
        replace(CARD, driver=13000),
    )
    assert [own_table(other) for other in others] == [None] * 3
    with monkeypatch.context() as patch:
        patch.setattr("hpc_lstm.__version__", "0.0.0")
        assert own_table(CARD) is None
    kernels = tmp_path / "kernels"
    shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("builds"))
    monkeypatch.setattr(speed_files, "data_folder", lambda name: tmp_path / name)
    assert own_table(CARD) == TABLE
    (kernels / "lstm_common.cuh").write_text("// changed")
    assert own_table(CARD) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "another's", "no table", "others may write it"])
def test_a_damaged_file_is_ignored_with_a_line(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write_own_table(CARD, TABLE)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-5])
    elif damage == "changed":
        path.write_bytes(content.replace(b"2.0", b"1.0"))
    elif damage == "another's":
        other = own_path(replace(CARD, name="Another"))
        assert other is not None
        other.write_bytes(content)
        path = other
    elif damage == "no table":
        speed_files.code_cache.write_code(path, b"\xff{")
    else:
        path.chmod(0o666)
    card = replace(CARD, name="Another") if damage == "another's" else CARD
    assert own_table(card) is None
    assert len(caplog.records) == 1
    assert f"{path} is ignored: " in caplog.text
    assert "hpc-lstm doctor --tune" in caplog.text
    assert write_own_table(card, TABLE) == path
    assert own_table(card) == TABLE


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=rf"{cache}.*cannot be kept there; set HPC_LSTM_CACHE"):
        write_own_table(CARD, TABLE)
    assert own_table(CARD) is None
    os.environ.pop("HPC_LSTM_CACHE")


def test_the_users_measurements_come_before_those_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = replace(TABLE, card="of the package")
    monkeypatch.setattr(speed_files, "shipped_tables", lambda capability: [shipped])
    assert tables_for(CARD) == [shipped]
    write_own_table(CARD, TABLE)
    assert tables_for(CARD) == [TABLE, shipped]
    assert tables_for(CARD, own=False) == [shipped]


def test_every_table_of_the_package_is_whole() -> None:
    for path in speed_files.SHIPPED.glob("*.json"):
        table = SpeedTable.from_json(path.read_text("utf-8"))
        assert table.measurements
        assert table in speed_files.shipped_tables(table.capability)
        assert path.stem == table.card.replace(" ", "-")
    assert speed_files.shipped_tables((3, 5)) == []
