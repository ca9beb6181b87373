"""Files that are written whole or not at all, whatever the disk does."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from limited_files import files_limited

from hpc_lstm import config
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.intervals import read_intervals
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.files import append_text, checked_path, expanded, require_replaceable_text
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.model.engines.head import Head
from hpc_lstm.report.page_symbols import symbols_section
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.history import read_history
from hpc_lstm.runs.run_file import read_run_file
from hpc_lstm.timing.spans import gather_timing


@pytest.mark.parametrize("limit", [0, 1, 100, 2_000, 9_000, 50_000, 100_000])
def test_a_disk_that_is_full_at_any_point_ends_an_hdf5_file_in_one_line(tmp_path: Path, limit: int) -> None:
    with files_limited(limit), pytest.raises(InputError, match=r"x\.h5: cannot be written: File too large"):
        write(tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def write(path: Path) -> None:
    with whole_hdf5(path) as file:
        file.attrs["format"] = "test"
        for name in "ab":
            rows = file.create_dataset(name, (0,), np.float64, chunks=(1024,), maxshape=(None,))
            for _ in range(8):
                rows.resize((len(rows) + 1000,))
                rows[-1000:] = 1.0


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["format"] == "test"
        assert [file[name][:].sum() for name in "ab"] == [8000, 8000]


def test_an_error_of_the_writer_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_hdf5(tmp_path / "x.h5"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_appending_makes_a_file_and_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for line in ("one\n", "two\n"):
        with append_text(tmp_path / "log" / "x", tmp_path) as file:
            file.write(line)
    assert (tmp_path / "log" / "x").read_text() == "one\ntwo\n"
    with pytest.raises(InputError, match="cannot be written: No such file"):
        append_text(tmp_path / "none" / "x", tmp_path)


def test_a_fifo_in_a_run_directory_keeps_nobody_waiting(tmp_path: Path) -> None:
    for name in ("history.jsonl", "run.json", "metrics.json", "config.toml", "intervals.json", "symbols.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "timing").mkdir()
    os.mkfifo(tmp_path / "timing/rank-00000.jsonl")
    run = RunDirectory(tmp_path)
    head = Head.of(config.RunConfig(data=config.DataConfig(store="m.h5")))
    readers = {
        "history.jsonl": lambda: read_history(run.history),
        "run.json": lambda: read_run_file(run),
        "metrics.json": lambda: read_metrics(run),
        "config.toml": lambda: run.load_config(),
        "intervals.json": lambda: read_intervals(run, head, config.ForecastConfig()),
        "symbols.csv": lambda: symbols_section(run, {"test": {"windows": 60}, "per_symbol_omitted": 0}, ()),
        "rank-00000.jsonl": lambda: gather_timing(tmp_path),
    }
    for name, read in readers.items():
        with pytest.raises(InputError, match=rf"{name}: .*not a regular file"):
            read()


@pytest.mark.parametrize("read", [expanded, checked_path])
def test_a_path_with_a_null_byte_is_refused_before_it_is_opened(read: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="has a null byte, which no path can have"):
        read("prices\0.h5")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_text_replaces_its_own_kind_alone(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    write = gzip.open if name.endswith(".gz") else open
    require_replaceable_text(file, "symbol,step,", "a table")
    file.touch()
    require_replaceable_text(file, "symbol,step,", "a table")
    with write(file, "wb") as opened:
        opened.write(b"Symbol,Step,date\nA,1,2020-01-01\n")
    require_replaceable_text(file, "symbol,step,", "a table")
    for text in (b"symbol,date,close\n", b"\x89HDF\r\n\x1a\n", b"symbol", b"\x1f\x8b\x08\x00"):
        file.write_bytes(text)
        with pytest.raises(InputError, match=rf"{name}: is not a table, and would be replaced by one; give"):
            require_replaceable_text(file, "symbol,step,", "a table")
