"""Files that are written whole or not at all, whatever the disk does."""

from __future__ import annotations

import resource
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.files import append_text
from hpc_lstm.hdf5.writing import whole_hdf5


@pytest.mark.parametrize("limit", [0, 1, 100, 2_000, 9_000, 50_000, 100_000])
def test_a_disk_that_is_full_at_any_point_ends_an_hdf5_file_in_one_line(tmp_path: Path, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=r"x\.h5: cannot be written: File too large"):
            write(tmp_path / "x.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
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
