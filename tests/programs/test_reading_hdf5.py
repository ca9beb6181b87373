"""HDF5 files that strangers have made: inspected by another process, once, before this one opens them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.hdf5 import known_files, reading
from hpc_lstm.hdf5.known_files import is_known, remember
from hpc_lstm.hdf5.reading import own_dataset, require_sound, sound_hdf5
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.market.store import MarketStore
from hpc_lstm.preprocess.scaler import Scaler

# Two of its bytes send libhdf5 1.14 into an endless loop when its attributes are read.
ENDLESS = Path(__file__).parents[1] / "data/hdf5/endless.h5"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def a_process_for_each(inspect_alone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own for each inspection, as users have it; most tests here share one."""
    monkeypatch.setattr(reading, "_inspect", inspect_alone)


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are inspected."""
    seen: list[Path] = []
    inspect = reading._inspect

    def note(path: Path) -> Any:
        seen.append(path)
        return inspect(path)

    monkeypatch.setattr(reading, "_inspect", note)
    return seen


def test_an_inspection_leaves_no_bytecode_which_a_full_disk_would_cut_off(tmp_path: Path) -> None:
    package = tmp_path / "site/hpc_lstm"
    shutil.copytree(ROOT / "hpc_lstm", package, ignore=shutil.ignore_patterns("__pycache__"))
    write(tmp_path / "market.h5")
    code = """
import sys
from hpc_lstm.hdf5.reading import require_sound
require_sound(sys.argv[1])
"""
    site = {**os.environ, "PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-B", "-c", code, tmp_path / "market.h5"], env=site, check=True)
    assert not list(package.rglob("*.pyc"))


def write(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["names"] = ["a", "b"]
        file["group/numbers"] = np.arange(3)
        file.create_dataset("texts", data=["x", "ü"], dtype=h5py.string_dtype())


def test_an_endless_loop_ends_in_one_line(
    tmp_path: Path, a_process_for_each: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CPU_S", 1)
    path = tmp_path / "m.h5"
    shutil.copy(ENDLESS, path)
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"m\.h5: damaged market store \(HDF5 does not finish reading it\)"):
        MarketStore(path)
    assert time.monotonic() - start < 30
    assert not is_known(path)


def test_a_file_is_inspected_once_until_it_changes(
    tmp_path: Path, inspected: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SETTLED_S", -1.0)
    path = tmp_path / "x.h5"
    write(path)
    for _ in range(2):
        with sound_hdf5(path) as file:
            assert own_dataset(file, "group/numbers")[:].tolist() == [0, 1, 2]
    assert inspected == [path]
    os.utime(path, ns=(1, 1))
    require_sound(path)
    assert len(inspected) == 2


def test_what_this_program_has_written_is_not_inspected(tmp_path: Path, inspected: list[Path]) -> None:
    with whole_hdf5(tmp_path / "x.h5") as file:
        file["a"] = 1
    require_sound(tmp_path / "x.h5")
    assert not inspected


def test_a_file_that_has_just_changed_stays_unknown(tmp_path: Path, inspected: list[Path]) -> None:
    write(tmp_path / "x.h5")
    for _ in range(2):
        require_sound(tmp_path / "x.h5")
    assert len(inspected) == 2


def test_without_a_cache_every_file_is_inspected(
    tmp_path: Path, inspected: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "file"))
    write(tmp_path / "x.h5")
    for _ in range(2):
        require_sound(tmp_path / "x.h5")
    assert len(inspected) == 2


def test_a_mark_that_is_a_link_does_not_count(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "x.h5")
    remember(tmp_path / "x.h5")
    (mark,) = (cache / "inspected").iterdir()
    mark.unlink()
    mark.symlink_to(tmp_path / "x.h5")
    assert not is_known(tmp_path / "x.h5")


def test_old_marks_are_forgotten(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "MOST", 4)
    monkeypatch.setattr(known_files, "COUNTED_EVERY", 2)
    for number in range(200):  # so many that some count, whatever their names
        (tmp_path / f"{number}.h5").touch()
        remember(tmp_path / f"{number}.h5")
        assert is_known(tmp_path / f"{number}.h5")
    assert len(list((cache / "inspected").iterdir())) < 50


def huge(file: h5py.File) -> None:
    file.create_dataset("x", (1 << 50,), "f8", chunks=(1024,))


def nested(file: h5py.File) -> None:
    group: Any = file
    for _ in range(100):
        group = group.create_group("g")


@pytest.mark.parametrize(("make", "said"), [(huge, "more than can be in it"), (nested, "nested more than")])
def test_what_is_like_no_file_of_the_program_is_refused(tmp_path: Path, make: Any, said: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file)
    with pytest.raises(ValueError, match=said):
        require_sound(tmp_path / "x.h5")


def test_a_process_of_its_own_says_what_is_refused_and_what_is_sound(
    tmp_path: Path, a_process_for_each: None
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        nested(file)
    with pytest.raises(ValueError, match="nested more than"):
        require_sound(tmp_path / "x.h5")
    write(tmp_path / "y.h5")
    require_sound(tmp_path / "y.h5")


def test_a_crash_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.h5")
    monkeypatch.setattr(reading, "_inspect", lambda path: (-signal.SIGSEGV, ""))
    with pytest.raises(ValueError, match="HDF5 crashes on it, SIGSEGV"):
        require_sound(tmp_path / "x.h5")


def test_signals_to_all_processes_of_a_job_do_not_end_an_inspection(
    tmp_path: Path, a_process_for_each: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a job that is told to stop while it starts would call its market store damaged."""
    told = [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT]
    script = f"""
import os, sys
for number in {[*map(int, told)]}:
    os.kill(os.getpid(), number)
print("has come to its end")
sys.exit(4)
"""
    monkeypatch.setattr(reading, "_START", script)
    path = tmp_path / "m.h5"
    write(path)
    with pytest.raises(ValueError, match="has come to its end"):
        require_sound(path)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint(told), "this process hears them again"


@pytest.mark.timeout(60)
def test_attributes_that_cannot_be_listed_are_not_asked_for_by_name(tmp_path: Path) -> None:
    """libhdf5 looks for one in this file for ever, though it refuses to list them."""
    shutil.copy(ENDLESS.with_name("endless_attribute.h5"), tmp_path / "scaler.h5")
    with pytest.raises(InputError, match="its attributes cannot be listed"):
        Scaler.load(tmp_path / "scaler.h5")


def test_what_h5py_refuses_is_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("no HDF5")
    require_sound(tmp_path / "x.h5")
    assert not is_known(tmp_path / "x.h5")


@pytest.mark.timeout(60)
def test_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="not a regular file"):
        require_sound(tmp_path / "x.h5")


def test_data_of_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret!!")
    write(tmp_path / "other.h5")
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "group/numbers", (3,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("external", (8,), "u1", external=[(str(tmp_path / "secret"), 0, 8)])
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "texts")
        file["group"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "group")
        file["numbers"] = [1, 2]
    with sound_hdf5(tmp_path / "x.h5") as file:
        for name in ("external", "virtual", "link", "group/numbers"):
            with pytest.raises(ValueError, match=r"link|lie in another file"):
                own_dataset(file, name)
        for name in ("none", "numbers/none"):
            with pytest.raises(KeyError, match=f"there is no {name}"):
                own_dataset(file, name)


def test_what_is_damaged_is_not_said_to_be_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        for number in range(20):  # so many that their names lie apart from the root's header
            file[f"numbers-{number}"] = [number]
    data = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(data.replace(b"FRHP", b"frhp"))  # the heap of names
    with h5py.File(tmp_path / "x.h5") as file, pytest.raises(RuntimeError):
        own_dataset(file, "numbers-3")
