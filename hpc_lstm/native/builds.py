"""C kernels that are compiled when the package is installed, for several levels of processors.

A machine without a compiler runs the best of these builds that its processor executes. They lie in ``kernels/builds``;
their names tell what they were compiled from, so that one of an older source is never taken.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.files import whole_file
from hpc_lstm.native.compiler import OPTIONS, Compiler, NoCompiler
from hpc_lstm.native.source import whole_source

FOLDER = "builds"
# A machine that packages are built on may be busy, and nobody waits for a rank there.
TIMEOUT_S = 900
# The kernels of which there are builds.
KERNELS = ("lstm",)
_V2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}


@dataclass(frozen=True)
class Level:
    """Processors that execute the same instructions.

    Attributes:
        name: as compilers call it.
        machine: as ``platform.machine`` calls the architecture.
        flags: what /proc/cpuinfo must list.
        full_speed: a build for this level is not slower than one for the very processor (``benchmarks/builds.py``).
    """

    name: str
    machine: str
    flags: frozenset[str]
    full_speed: bool = True

    @property
    def option(self) -> str:
        """The compiler's option for it."""
        return f"-march={self.name}"


# The best first.
LEVELS = (
    Level("x86-64-v4", "x86_64", frozenset(_V4)),
    Level("x86-64-v3", "x86_64", frozenset(_V3)),
    Level("x86-64-v2", "x86_64", frozenset(_V2), full_speed=False),
    Level("armv8-a", "aarch64", frozenset({"asimd"})),
)


@dataclass(frozen=True)
class Build:
    """A shared library that this processor executes."""

    level: Level
    path: Path


def find_build(source: bytes, name: str, folder: Path) -> Build | None:
    """The best build of a kernel's source for this processor; None: there is none.

    Args:
        folder: where the kernels lie.
    """
    flags = processor_flags()
    for level in _levels_of_this_machine():
        if level.flags <= flags:
            path = folder / FOLDER / file_name(source, name, level)
            if path.is_file():
                return Build(level, path)
    return None


def write_builds(compiler: Compiler, kernels: Path, folder: Path) -> list[Path]:
    """Compile the kernels for all levels of this machine's architecture; those that are there are left alone.

    Args:
        kernels: folder of the sources.
        folder: where the builds go.

    Returns:
        The builds. There is none for a level that the compiler does not know.
    """
    from concurrent.futures import ThreadPoolExecutor

    folder.mkdir(parents=True, exist_ok=True)
    wanted = []
    for name in KERNELS:
        source = whole_source(kernels / f"{name}.c")
        for level in _levels_of_this_machine():
            path = folder / file_name(source, name, level)
            wanted.append((path, level, source, name))
    for stale in set(folder.glob("*.so")) - {path for path, *_ in wanted}:
        stale.unlink()

    def write(path: Path, level: Level, source: bytes, name: str) -> None:
        if path.is_file():
            return
        with suppress(NoCompiler):
            code = compiler.compile(source, name, level.option, timeout_s=TIMEOUT_S)
            with whole_file(path) as temporary:
                temporary.write_bytes(code)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda each: write(*each), wanted))
    return [path for path, *_ in wanted if path.is_file()]


def file_name(source: bytes, name: str, level: Level) -> str:
    """The name of a kernel's build, which tells source, options and level."""
    digest = hashlib.sha256(source + "\0".join(OPTIONS).encode()).hexdigest()
    return f"{name}.{level.name}.{digest[:16]}.so"


def processor_flags() -> set[str]:
    """What the first core of this machine is capable of, in Linux's words; empty where it is not told."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        return _flags(file)
    return set()


def _flags(cpuinfo: Iterable[str]) -> set[str]:
    for line in cpuinfo:
        field, _, value = line.partition(":")
        if field.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def _levels_of_this_machine() -> Sequence[Level]:
    return [level for level in LEVELS if level.machine == platform.machine()]
