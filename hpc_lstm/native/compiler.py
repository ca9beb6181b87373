"""C code compiled for this machine's processor on first use, cached, and loaded.

The compiler is $CC, else the first of cc, gcc and clang that works. The cache (``code_cache``) is keyed by the source,
the options, $CC and the processor: nodes of several kinds may share it, and nodes without a compiler load what another
node has compiled.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import platform
import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.native import code_cache
from hpc_lstm.processes import run_helper

COMPILERS = ("cc", "gcc", "clang")
# Options for all instructions of this processor, by architecture; the first that the compiler accepts is used.
NATIVE = ("-march=native", "-mcpu=native")
# Order of additions, rounding and NaN as in the source, whatever the compiler's default; multiply-adds may be fused.
EXACT = ("-fno-fast-math", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared", *EXACT, "-Wno-psabi")
# A commercial compiler may wait for a licence.
COMPILE_TIMEOUT_S = 120
# Fields of /proc/cpuinfo that identify a processor's instruction set, on x86, ARM and POWER.
CPUINFO_FIELDS = {
    "vendor_id",
    "cpu family",
    "model",
    "flags",
    "CPU implementer",
    "CPU part",
    "Features",
    "cpu",
}


class NoCompiler(InputError):
    """No C compiler works on this machine: the message says what was tried."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that can target this processor.

    Attributes:
        command: the program and its first arguments.
        native: the option for this processor's instructions.
        version: its first line on ``--version``.
    """

    command: tuple[str, ...]
    native: str
    version: str

    def compile(
        self, source: bytes, name: str, processor: str = "", *, timeout_s: float = COMPILE_TIMEOUT_S
    ) -> bytes:
        """The bytes of a shared library.

        Args:
            processor: the option for the processors that it is for; default: this one.
            timeout_s: how long it may take.

        Raises:
            NoCompiler: the compiler failed.
        """
        import tempfile

        with tempfile.TemporaryDirectory(prefix="hpc_lstm-") as folder:
            file, target = Path(folder, f"{name}.c"), Path(folder, f"{name}.so")
            file.write_bytes(source)
            options = [processor or self.native, *OPTIONS]
            _run([*self.command, *options, "-o", str(target), str(file), "-lm"], timeout_s)
            return target.read_bytes()


def find_compiler() -> Compiler:
    """The first C compiler that works.

    Raises:
        NoCompiler: none works; the message is about the first one.
    """
    import tempfile

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


def compile_library(source: bytes, name: str) -> ctypes.CDLL:
    """A kernel's source as a shared library for this processor.

    Raises:
        NoCompiler: it cannot be compiled or loaded here.
    """
    parts = [
        hashlib.sha256(source).hexdigest(),
        NATIVE,
        OPTIONS,
        os.environ.get("CC", ""),
        identify_processor(),
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    cached = code_cache.cache_path(f"{name}-{platform.machine()}-{key}")
    code = code_cache.read_code(cached)
    try:
        if code is None:
            code = find_compiler().compile(source, name)
            code_cache.write_code(cached, code)
        return _load(code, name)
    except OSError as error:
        raise NoCompiler(f"{name}.c cannot be compiled and loaded: {error.strerror or error}") from None


def identify_processor() -> list[str]:
    """System, architecture and instruction set: equal where the same machine code runs."""
    found = [platform.system(), platform.machine(), *platform.libc_ver()]
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip() and len(found) > 4:
                break  # the other cores are the same
            if line.partition(":")[0].strip() in CPUINFO_FIELDS:
                found.append(" ".join(line.split()))
    return found


def _commands() -> list[list[str]]:
    import shutil

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


def _run(command: list[str], timeout_s: float = COMPILE_TIMEOUT_S) -> str:
    try:
        done = run_helper(
            command,
            timeout_s,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise NoCompiler(
            f"{command[0]}: no answer in {timeout_s:.0f} s; name another C compiler in CC"
        ) from None
    except OSError as error:
        raise NoCompiler(f"{command[0]}: {error.strerror}") from None
    if done.returncode == 0:
        return str(done.stdout)
    lines = [line.strip() for line in done.stderr.splitlines() if "error" in line]
    reason = lines[0] if lines else f"exit code {done.returncode}"
    raise NoCompiler(f"{command[0]}: {reason}; name another C compiler in CC")


@functools.cache
def _load(code: bytes, name: str) -> ctypes.CDLL:
    """Load a library from memory: clusters mount many folders such that no program in them can be executed.

    Once a process: the dynamic loader never unloads a library.
    """
    with suppress(AttributeError, OSError):  # only Linux has memfd_create, and may refuse it
        # The handle stays open: the loader identifies libraries by path, and would take the next memfd with the same
        # number for this one.
        handle = os.memfd_create(name)
        try:
            with os.fdopen(os.dup(handle), "wb") as file:
                file.write(code)
            return ctypes.CDLL(f"/proc/self/fd/{handle}")
        except OSError:
            os.close(handle)
            raise
    import tempfile

    handle, path = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        return ctypes.CDLL(path)
    finally:
        with suppress(OSError):
            os.unlink(path)
