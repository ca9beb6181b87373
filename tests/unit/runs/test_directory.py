"""Paths of a run, and files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpc_lstm import config
from hpc_lstm.errors import InputError
from hpc_lstm.files import write_text
from hpc_lstm.runs import directory


def test_paths_are_absolute_and_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = directory.at("runs/night")
    assert run.path == tmp_path / "runs" / "night"
    assert run.name == "night"
    assert directory.at("~/x").path == tmp_path / "home" / "x"
    with pytest.raises(InputError, match="~nobody-here/x: no such home folder"):
        directory.at("~nobody-here/x")
    files = [
        run.config,
        run.metrics,
        run.history,
        run.model,
        run.scaler,
        run.timing,
        run.tensorboard,
        run.report,
    ]
    files += [kind(rank) for kind in (run.rank_log, run.rank_timing) for rank in (0, 1, 123456)]
    assert all(run.path in file.parents for file in files)
    assert len(set(files)) == len(files)
    assert sorted([run.rank_log(10), run.rank_log(9)]) == [run.rank_log(9), run.rank_log(10)]


def test_settings_of_a_run(tmp_path: Path) -> None:
    run = directory.at(tmp_path)
    settings = config.parse({"data": {"store": "/data/m.h5"}, "train": {"epochs": 7}}, "test")
    assert not run.holds_run
    with pytest.raises(InputError, match=r"not a run directory.*config\.toml"):
        run.load_config()
    write_text(run.config, config.dump(settings))
    assert run.holds_run
    assert run.load_config() == settings
    with pytest.raises(InputError, match="no such run directory"):
        directory.at(tmp_path / "other").load_config()


def test_write_text_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new é")
        assert reader.read() == "old", "who reads the old file goes on reading it"
    assert path.read_text(encoding="utf-8") == "new é"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["x.json"]


def test_write_text_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"x\.json: cannot be written: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("name", ["missing/x.json", "folder"])
def test_write_text_where_no_file_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / name, "text")
    assert os.listdir(tmp_path) == ["folder"]
