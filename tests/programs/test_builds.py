"""Builds of C kernels for several levels of processors: which are made, and which one is taken."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest

from hpc_lstm.native import builds, library, source
from hpc_lstm.native.builds import LEVELS, Level
from hpc_lstm.native.compiler import NoCompiler, find_compiler

SOURCE = b"float half(float x) { return x / 2; }\n"
OTHER = b"float half(float x) { return x * 0.5f; }\n"
HERE = [level for level in LEVELS if level.machine == platform.machine()]


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one kernel, of which there are builds."""
    (tmp_path / "half.c").write_bytes(SOURCE)
    monkeypatch.setattr(builds, "KERNELS", ("half",))
    for module in (library, source):
        monkeypatch.setattr(module, "data_folder", lambda _: tmp_path)
    builds.write_builds(find_compiler(), tmp_path, tmp_path / builds.FOLDER)
    return tmp_path


@pytest.fixture
def no_compiler(kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that compiles nothing and has compiled nothing."""
    for name, value in {"PATH": "/nowhere", "HPC_LSTM_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CC", raising=False)


def half(loaded: ctypes.CDLL) -> float:
    loaded.half.restype, loaded.half.argtypes = ctypes.c_float, [ctypes.c_float]
    return loaded.half(3.0)


def computes(loaded: ctypes.CDLL) -> bool:
    return half(loaded) == 1.5


@pytest.mark.usefixtures("no_compiler")
def test_the_best_build_that_the_processor_executes_is_taken(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list((kernels / builds.FOLDER).iterdir())) == len(HERE)
    own = builds.find_build(SOURCE, "half", kernels)
    assert own is not None
    assert own.level == next(level for level in HERE if level.flags <= builds.processor_flags())
    assert half(library.load_library("half", computes)) == 1.5
    for level in HERE:
        monkeypatch.setattr(builds, "processor_flags", lambda level=level: {*level.flags, "more"})
        found = builds.find_build(SOURCE, "half", kernels)
        assert found is not None
        assert found.level == level
    monkeypatch.setattr(builds, "processor_flags", lambda: {"fpu"})
    with pytest.raises(NoCompiler, match="no C compiler found"):
        library.load_library("half", computes)


def test_a_build_of_another_source_is_not_taken_and_goes_with_the_next(kernels: Path) -> None:
    assert builds.find_build(OTHER, "half", kernels) is None
    before = set((kernels / builds.FOLDER).iterdir())
    (kernels / "half.c").write_bytes(OTHER)
    after = set(builds.write_builds(find_compiler(), kernels, kernels / builds.FOLDER))
    assert after == set((kernels / builds.FOLDER).iterdir())
    assert not before & after


def test_what_is_there_is_not_compiled_again(kernels: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in (kernels / builds.FOLDER).iterdir()}
    builds.write_builds(find_compiler(), kernels, kernels / builds.FOLDER)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.usefixtures("no_compiler")
def test_a_build_that_is_wrong_is_not_taken() -> None:
    with pytest.raises(NoCompiler, match="no C compiler found"):
        library.load_library("half", lambda _: False)


@pytest.mark.usefixtures("no_compiler")
def test_a_build_that_cannot_be_loaded_is_not_taken(kernels: Path) -> None:
    for path in (kernels / builds.FOLDER).iterdir():
        path.write_bytes(b"made for another C library")
    with pytest.raises(NoCompiler, match="no C compiler found"):
        library.load_library("half", computes)


def test_a_slow_build_comes_after_the_compiler(
    kernels: Path, monkeypatch: pytest.MonkeyPatch, no_compiler: None
) -> None:
    slow = Level("slow", platform.machine(), frozenset(), full_speed=False)
    monkeypatch.setattr(builds, "LEVELS", (slow,))
    path = kernels / builds.FOLDER / builds.file_name(SOURCE, "half", slow)
    path.write_bytes(next((kernels / builds.FOLDER).iterdir()).read_bytes())
    assert half(library.load_library("half", computes)) == 1.5  # nothing else is there
    compiled = ctypes.CDLL(None)
    monkeypatch.setattr(library, "compile_library", lambda *_: compiled)
    assert library.load_library("half", lambda _: True) is compiled


def test_flags_are_those_of_the_first_core() -> None:
    cpuinfo = ["processor\t: 0\n", "flags\t\t: fpu sse4_2 avx2\n", "\n", "flags\t\t: fpu\n"]
    assert builds._flags(cpuinfo) == {"fpu", "sse4_2", "avx2"}
    assert builds._flags(["Features\t: fp asimd\n"]) == {"fp", "asimd"}
    assert builds._flags(["cpu : POWER9\n"]) == set()


def test_a_kernel_that_is_not_installed_is_named(kernels: Path) -> None:
    with pytest.raises(Exception, match=r"none\.c: no such kernel; the installation is incomplete"):
        library.load_library("none", computes)
