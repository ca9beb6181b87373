"""C to machine code of this machine's processor: compiled on first use by its C compiler, kept, and loaded.

The compiler is $CC, else cc, gcc or clang, whichever comes first on PATH. What is compiled stays in the cache
(``code_cache``), named by everything that it depends on, the processor's instructions among them: nodes of several
kinds may share a cache.
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

from hpc_lstm import code_cache
from hpc_lstm.errors import HpcLstmError, InputError

COMPILERS = ("cc", "gcc", "clang")
# How compilers are told to take all of this processor's instructions, by architecture; the first that is understood.
NATIVE = ("-march=native", "-mcpu=native")
# Nothing here may let the compiler change the order of sums or forget NaN.
OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")


class NoCompiler(InputError):
    """Nothing can be compiled here: the message says what was tried."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that knows this processor.

    Attributes:
        command: how it is called.
        native: options that name the processor.
        version: in one line.
        identity: all that its code may depend on.
    """

    command: tuple[str, ...]
    native: tuple[str, ...]
    version: str
    identity: str

    def compile(self, source: Path) -> bytes:
        """A shared library from one file.

        Raises:
            NoCompiler: the compiler cannot make one.
        """
        with tempfile.TemporaryDirectory(prefix="hpc_lstm-") as folder:
            target = Path(folder, "code.so")
            _run([*self.command, *self.native, *OPTIONS, "-o", str(target), str(source), "-lm"])
            return target.read_bytes()


def compiler() -> Compiler:
    """The C compiler that is taken.

    Raises:
        NoCompiler: there is none, or it does not work.
    """
    command = _command()
    version = _run([*command, "--version"]).splitlines() or [""]
    problem: NoCompiler | None = None
    for native in NATIVE:
        try:  # The macros that it defines tell which instructions it takes "native" for.
            macros = _run([*command, native, "-dM", "-E", "-x", "c", os.devnull])
        except NoCompiler as error:
            problem = error
            continue
        return Compiler(tuple(command), (native,), version[0], "\n".join([*command, *version, macros]))
    raise problem or NoCompiler(f"{command[0]}: knows no processor")


def library(name: str) -> ctypes.CDLL:
    """The functions of kernels/``name``.c, compiled for this processor.

    Raises:
        NoCompiler: they cannot be compiled here, or not loaded.
        HpcLstmError: they are not installed.
    """
    source = Path(__file__).parents[1] / "kernels" / f"{name}.c"
    if not source.is_file():
        raise HpcLstmError(f"{source}: no such kernel; the installation is incomplete, reinstall hpc-lstm")
    chosen = compiler()
    parts = [source.read_text(), OPTIONS, chosen.native, chosen.identity, platform.platform()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    place = code_cache.place(f"{name}-{platform.machine()}-{key}")
    code = code_cache.read(place)
    try:
        if code is None:
            code = chosen.compile(source)
            code_cache.keep(place, code)
        return _load(code, name)
    except OSError as error:
        raise NoCompiler(f"{source.name} cannot be compiled and loaded: {error.strerror or error}") from None


def _command() -> list[str]:
    given = os.environ.get("CC", "")
    try:
        words = shlex.split(given)
    except ValueError:
        words = [given]
    candidates = [words] if words else [[name] for name in COMPILERS]
    for words in candidates:
        if shutil.which(words[0]):
            return words
    tried = given or ", ".join(COMPILERS)
    raise NoCompiler(f"no C compiler found ({tried}): load a compiler's module, or install gcc")


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise NoCompiler(f"{command[0]}: {error.strerror}") from None
    if done.returncode == 0:
        return done.stdout
    lines = [line.strip() for line in done.stderr.splitlines() if "error" in line] or [
        f"exit code {done.returncode}"
    ]
    raise NoCompiler(f"{command[0]}: {lines[0]}; name another C compiler in CC")


@functools.cache
def _load(code: bytes, name: str) -> ctypes.CDLL:
    """Load code that need not lie in a folder from which programs may be run: clusters mount many without.

    Once a process: the loader never lets go of a library.
    """
    if hasattr(os, "memfd_create"):
        # It stays open: the loader knows libraries by their names, and would take this one for the next of the same.
        handle = os.memfd_create(name)
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(code)
        return ctypes.CDLL(f"/proc/self/fd/{handle}")
    handle, path = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        return ctypes.CDLL(path)
    finally:
        with suppress(OSError):
            os.unlink(path)
