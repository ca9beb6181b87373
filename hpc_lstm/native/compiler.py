"""C to machine code of this machine's processor: compiled on first use by its C compiler, kept, and loaded.

The compiler is $CC, else the first of cc, gcc and clang that works. What is compiled stays in the cache
(``code_cache``), named by the source, the options, $CC and the processor: nodes of several kinds may share a cache, and
those without a compiler take what another has compiled.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.files import data_folder
from hpc_lstm.native import code_cache

COMPILERS = ("cc", "gcc", "clang")
# How compilers are told to take all of this processor's instructions, by architecture; the first that is understood.
NATIVE = ("-march=native", "-mcpu=native")
# The order of additions, rounding and NaN are as written, whatever the compiler's default; products and sums may be
# fused.
EXACT = ("-fno-fast-math", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared", *EXACT, "-Wno-psabi")
# Compilers may wait for a licence.
COMPILE_S = 120
# What /proc/cpuinfo says of a processor's instructions, on x86, ARM and POWER.
INSTRUCTIONS = {"vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features", "cpu"}


class NoCompiler(InputError):
    """Nothing can be compiled here: the message says what was tried."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that knows this processor.

    Attributes:
        command: how it is called.
        native: the option that names the processor.
        version: in one line.
    """

    command: tuple[str, ...]
    native: str
    version: str

    def compile(self, source: bytes, name: str) -> bytes:
        """A shared library.

        Raises:
            NoCompiler: the compiler cannot make one.
        """
        with tempfile.TemporaryDirectory(prefix="hpc_lstm-") as folder:
            file, target = Path(folder, f"{name}.c"), Path(folder, f"{name}.so")
            file.write_bytes(source)
            _run([*self.command, self.native, *OPTIONS, "-o", str(target), str(file), "-lm"])
            return target.read_bytes()


def compiler() -> Compiler:
    """The first C compiler that works.

    Raises:
        NoCompiler: there is none: why the first one does not work.
    """
    problems: list[NoCompiler] = []
    for command in _commands():
        for native in NATIVE:
            try:
                version = _run([*command, "--version"]).splitlines() or [command[0]]
                with tempfile.TemporaryDirectory(prefix="hpc_lstm-") as folder:
                    file = Path(folder, "try.c")
                    file.write_text("#include <math.h>\nfloat half(float x) { return sqrtf(x) / 2; }\n")
                    _run([*command, native, *OPTIONS, "-o", str(Path(folder, "try.so")), str(file), "-lm"])
                return Compiler(tuple(command), native, version[0])
            except NoCompiler as error:
                problems.append(error)
            except OSError as error:
                problems.append(NoCompiler(f"{tempfile.gettempdir()}: {error.strerror}"))
    raise problems[0]


def library(name: str) -> ctypes.CDLL:
    """The functions of kernels/``name``.c, compiled for this processor.

    Raises:
        NoCompiler: they cannot be compiled here, or not loaded.
        HpcLstmError: they are not installed.
    """
    path = data_folder("kernels") / f"{name}.c"
    if not path.is_file():
        raise HpcLstmError(f"{path}: no such kernel; the installation is incomplete, reinstall hpc-lstm")
    source = path.read_bytes()
    parts = [hashlib.sha256(source).hexdigest(), NATIVE, OPTIONS, os.environ.get("CC", ""), processor()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    place = code_cache.place(f"{name}-{platform.machine()}-{key}")
    code = code_cache.read(place)
    try:
        if code is None:
            code = compiler().compile(source, name)
            code_cache.keep(place, code)
        return _load(code, name)
    except OSError as error:
        raise NoCompiler(f"{path.name} cannot be compiled and loaded: {error.strerror or error}") from None


def processor() -> list[str]:
    """What tells this processor's instructions from another's."""
    found = [platform.system(), platform.machine(), platform.processor(), *platform.libc_ver()]
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip() and len(found) > 5:
                break  # the first of many alike
            if line.partition(":")[0].strip() in INSTRUCTIONS:
                found.append(" ".join(line.split()))
    return found


def _commands() -> list[list[str]]:
    given = os.environ.get("CC", "")
    try:
        words = [given] if os.path.isfile(given) else shlex.split(given)
    except ValueError:
        words = [given]
    candidates = [words] if words else [[name] for name in COMPILERS]
    found = [words for words in candidates if shutil.which(words[0])]
    if not found:
        tried = given or ", ".join(COMPILERS)
        raise NoCompiler(f"no C compiler found ({tried}): load a compiler's module, or install gcc")
    return found


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoCompiler(f"{command[0]}: no answer in {COMPILE_S} s; name another C compiler in CC") from None
    except OSError as error:
        raise NoCompiler(f"{command[0]}: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in done.stderr.splitlines() if "error" in line]
    reason = lines[0] if lines else f"exit code {done.returncode}"
    raise NoCompiler(f"{command[0]}: {reason}; name another C compiler in CC")


@functools.cache
def _load(code: bytes, name: str) -> ctypes.CDLL:
    """Load code that need not lie in a folder from which programs may be run: clusters mount many without.

    Once a process: the loader never lets go of a library.
    """
    with suppress(AttributeError, OSError):  # only Linux has it, and may refuse it
        # It stays open: the loader knows libraries by their names, and would take this one for the next of the same.
        handle = os.memfd_create(name)
        try:
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(code)
            return ctypes.CDLL(f"/proc/self/fd/{handle}")
        except OSError:
            os.close(handle)
            raise
    handle, path = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        return ctypes.CDLL(path)
    finally:
        with suppress(OSError):
            os.unlink(path)
