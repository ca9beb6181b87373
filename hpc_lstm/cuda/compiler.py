"""CUDA C++ to machine code: compiled by nvcc or NVRTC on first use, and kept.

Kernels are ``extern "C"`` functions in kernels/*.cu that include nothing and are told their types by macros. What is
compiled stays in the cache (``code_cache``), named by everything that it depends on. $HPC_LSTM_COMPILER = nvcc or
nvrtc takes that compiler alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from hpc_lstm.errors import CudaError, HpcLstmError
from hpc_lstm.files import data_folder
from hpc_lstm.native import code_cache

Defines = Mapping[str, str | int]

# Where CUDA lies if nobody says so, and the names under which the loader may know NVRTC. CUDA 12 comes first: an
# older driver cannot load what a newer compiler makes.
CUDA_FOLDER = "/usr/local/cuda"
NVRTC_LIBRARIES = ("libnvrtc.so.12", "libnvrtc.so.13")
INSTALL_NVRTC = 'pip install "hpc-lstm[nvrtc]"'
# Both compilers' defaults honour NaN, infinities and denormals; nothing here may relax that.
LANGUAGE = "-std=c++17"


class Resources(NamedTuple):
    """What a kernel takes of a multiprocessor.

    Attributes:
        registers: of a thread, 32 bits each.
        spill_stores, spill_loads: bytes of instructions that move registers to and from local memory.
        stack: bytes of local memory a thread.
        shared: bytes of static shared memory a block.
    """

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    shared: int


class _BrokenCompiler(Exception):
    """A compiler that is there and does not work; another may."""


class _Compiler(Protocol):
    @property
    def version(self) -> str:
        """Name and version in one line."""

    @property
    def identity(self) -> list[str]:
        """All about this compiler that the code may depend on."""

    def architectures(self) -> list[int]:
        """Compute capabilities times ten that it knows."""

    def compile(self, source: bytes, file: str, target: str, options: list[str]) -> tuple[bytes, str]:
        """A cubin for target "sm_90", or PTX for "compute_90"; and what the compiler said."""


# -- what others call ----------------------------------------------------------------------------------


def kernel_source(name: str) -> Path:
    """The file kernels/``name``.cu.

    Raises:
        HpcLstmError: it is not installed.
    """
    path = data_folder("kernels") / f"{name}.cu"
    if not path.is_file():
        raise HpcLstmError(f"{path}: no such kernel; the installation is incomplete, reinstall hpc-lstm")
    return path


def cubin(name: str, defines: Defines, architecture: str) -> bytes:
    """Machine code of kernels/``name``.cu, for pycuda.driver.module_from_buffer.

    Args:
        defines: macros, as {"VALUE": "float"}.
        architecture: "sm_90" and the like. PTX comes back for one that is newer than the compiler: the
            driver finishes it.

    Raises:
        CudaError: no compiler that works, or none for a GPU this old.
        HpcLstmError: the source is refused; the message holds the compiler's first error.
    """
    return cubin_of(kernel_source(name), defines, architecture)


def cubin_of(path: Path, defines: Defines, architecture: str) -> bytes:
    """The same of any source file."""
    return _compile(path, architecture, _macros(defines))[0]


def resources(name: str, defines: Defines, architecture: str) -> dict[str, Resources]:
    """What each kernel of kernels/``name``.cu takes, as the compiler tells it; compiled anew every time.

    Raises:
        CudaError: no compiler that works and knows the architecture.
        HpcLstmError: the source is refused.
    """
    return resources_of(kernel_source(name), defines, architecture)


def resources_of(path: Path, defines: Defines, architecture: str) -> dict[str, Resources]:
    """The same of any source file."""
    options = [*_macros(defines), "--ptxas-options=-v"]
    _, said = _compile(path, architecture, options, exactly=True)
    return _read_resources(said)


def version() -> str:
    """Name and version of the compiler that is tried first, in a line.

    Raises:
        CudaError: there is none.
    """
    broken: _BrokenCompiler | None = None
    for compiler in _compilers(_choice()):
        try:
            compiler.architectures()
            return compiler.version
        except _BrokenCompiler as error:
            broken = broken or error
    raise _nothing_works(broken)


# -- choosing ------------------------------------------------------------------------------------------


def _macros(defines: Defines) -> list[str]:
    return [f"-D{name}={value}" for name, value in sorted(defines.items())]


def _compile(path: Path, architecture: str, options: list[str], exactly: bool = False) -> tuple[bytes, str]:
    """Code of a file for an architecture, and what the compiler said if it was asked to tell something.

    Args:
        exactly: never PTX for an older architecture, and nothing from the cache.
    """
    asked = re.fullmatch(r"sm_(\d+)[af]?", architecture)
    if asked is None:
        raise HpcLstmError(f'architecture "{architecture}": must be like "sm_90"')
    number, source = int(asked[1]), path.read_bytes()
    broken: _BrokenCompiler | None = None
    others: list[tuple[_Compiler, list[int]]] = []
    for compiler in _compilers(_choice()):
        try:
            known = compiler.architectures()
            if number in known:
                return _build(compiler, source, path.name, architecture, options, keep=not exactly)
            others.append((compiler, known))
        except _BrokenCompiler as error:
            broken = broken or error
    for compiler, known in others:
        older = [n for n in known if n < number]
        if older and not exactly:
            try:
                return _build(compiler, source, path.name, f"compute_{max(older)}", options, keep=True)
            except _BrokenCompiler as error:
                broken = broken or error
    if broken is None and others:
        compiler, known = others[0]
        raise CudaError(
            f"{architecture} is no GPU that {compiler.version} compiles for; it knows sm_{min(known)} to "
            f"sm_{max(known)}: load another CUDA module"
        )
    raise _nothing_works(broken)


def _build(
    compiler: _Compiler, source: bytes, file: str, target: str, options: list[str], keep: bool
) -> tuple[bytes, str]:
    if not keep:
        return compiler.compile(source, file, target, options)
    parts = [hashlib.sha256(source).hexdigest(), file, target, options, compiler.identity]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    place = code_cache.cache_path(f"{Path(file).stem}-{target}-{key}")
    code = code_cache.read_code(place)
    if code is None:
        code, said = compiler.compile(source, file, target, options)
        code_cache.write_code(place, code)
        return code, said
    return code, ""


def _choice() -> str:
    choice = os.environ.get("HPC_LSTM_COMPILER", "")
    if choice not in ("", "nvcc", "nvrtc"):
        raise CudaError(
            f'HPC_LSTM_COMPILER = "{choice}": must be nvcc or nvrtc; unset it to take what is there'
        )
    return choice


def _compilers(choice: str) -> Iterator[_Compiler]:
    """All compilers of this machine, nvcc before NVRTC; each is looked for when it is asked for.

    One that is broken from the start raises when it is used, so that a reason can be told.
    """
    if choice != "nvrtc":
        seen = set()
        for path in _nvcc_places():
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                yield _Nvcc(path)
    if choice != "nvcc":
        for name in _nvrtc_places():
            with suppress(OSError):
                yield _Nvrtc(name, ctypes.CDLL(name))


def _cuda_folders() -> list[str]:
    return [folder for folder in (os.environ.get("CUDA_HOME"), CUDA_FOLDER) if folder]


def _nvcc_places() -> Iterator[str]:
    search = [None, *(os.path.join(folder, "bin") for folder in _cuda_folders())]
    for path in search:
        if found := shutil.which("nvcc", path=path):
            yield found


def _nvrtc_places() -> Iterator[str]:
    """Names that the loader finds by itself, then files that are there."""
    yield from NVRTC_LIBRARIES
    folders = [Path(folder, "lib64") for folder in _cuda_folders()]
    wheels = importlib.util.find_spec("nvidia")
    for place in (wheels.submodule_search_locations or []) if wheels else []:
        folders += sorted(Path(place).glob("*/lib"))
    for folder in folders:
        for name in NVRTC_LIBRARIES:
            if (folder / name).is_file():
                yield str(folder / name)


def _nothing_works(broken: _BrokenCompiler | None) -> CudaError:
    choice = _choice()
    if broken is not None:
        return CudaError(f"GPU kernels cannot be compiled: {broken}; put it right or {INSTALL_NVRTC}")
    if choice:
        name = {"nvcc": "nvcc", "nvrtc": "NVRTC"}[choice]
        return CudaError(
            f"GPU kernels cannot be compiled: HPC_LSTM_COMPILER = {choice}, but {name} was not found; unset it, "
            f"or {'load the CUDA module' if choice == 'nvcc' else INSTALL_NVRTC}"
        )
    return CudaError(
        "GPU kernels cannot be compiled: neither nvcc nor NVRTC found; load the CUDA module, or "
        + INSTALL_NVRTC
    )


# -- nvcc ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Nvcc:
    """The compiler driver of the CUDA toolkit; it needs a host C++ compiler beside it."""

    path: str

    @property
    def version(self) -> str:
        found = re.search(r"\bV(\d[\d.]*)", self._run("--version")[0])
        return f"nvcc {found[1] if found else '(unknown version)'} ({self.path})"

    @property
    def identity(self) -> list[str]:
        added = [os.environ.get(name, "") for name in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")]
        return ["nvcc", self._run("--version")[0], *added]

    def architectures(self) -> list[int]:
        known = [int(number) for number in re.findall(r"compute_(\d+)\b", self._run("--list-gpu-arch")[0])]
        if not known:
            raise _BrokenCompiler(f"{self.path} knows no GPU")
        return known

    def compile(self, source: bytes, file: str, target: str, options: list[str]) -> tuple[bytes, str]:
        kind = "-cubin" if target.startswith("sm_") else "-ptx"
        strict = ["-Werror", "all-warnings", "-Wno-deprecated-gpu-targets"]
        with tempfile.TemporaryDirectory(prefix="hpc_lstm-") as folder:
            # A copy: what is compiled is what was hashed, and messages name the file without its folders.
            Path(folder, file).write_bytes(source)
            _, said = self._run(
                *(kind, f"-arch={target}", LANGUAGE, "-O3", *strict, *options, "-o", "code", file),
                folder=folder,
                source=file,
            )
            code = Path(folder, "code").read_bytes()
            # The driver takes PTX as a string that ends with a zero; NVRTC gives it so.
            return (code if kind == "-cubin" else code + b"\0"), said

    def _run(self, *options: str, folder: str | None = None, source: str = "") -> tuple[str, str]:
        try:
            done = subprocess.run(
                [self.path, *options],
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise _BrokenCompiler(f"{self.path}: {error.strerror}") from None
        if done.returncode == 0:
            return done.stdout, done.stderr
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        # The source is at fault if a message names it, or if the assembler that comes last has an error of its own.
        for line in lines:
            if source and "error" in line and line.startswith((source, "ptxas error")):
                raise _refused(source, line)
        raise _BrokenCompiler(f"{self.path}: {lines[0] if lines else f'exit code {done.returncode}'}")


# -- NVRTC ---------------------------------------------------------------------------------------------

_NVRTC_COMPILATION = 6  # the result that says that the source is refused
_NVRTC_TROUBLE = re.compile(r"(\): |^ptxas |^nvrtc: )(catastrophic |fatal )?(error|warning|fatal)\b")


@dataclass(frozen=True)
class _Nvrtc:
    """The compiler as a library; it needs nothing beside it."""

    name: str
    library: ctypes.CDLL

    @property
    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return f"NVRTC {major.value}.{minor.value}"

    @property
    def identity(self) -> list[str]:
        return [self.version]

    def architectures(self) -> list[int]:
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        known = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", known)
        return list(known)

    def compile(self, source: bytes, file: str, target: str, options: list[str]) -> tuple[bytes, str]:
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source, file.encode(), 0, None, None)
        try:
            given = [text.encode() for text in (f"-arch={target}", LANGUAGE, *options)]
            arguments = (ctypes.c_char_p * len(given))(*given)
            result = self._function("nvrtcCompileProgram")(program, len(given), arguments)
            said = self._read(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            # There is no option for it: a warning is an error, as it is to nvcc here.
            trouble = [line.strip() for line in said.splitlines() if _NVRTC_TROUBLE.search(line)]
            if result == _NVRTC_COMPILATION or (result == 0 and trouble):
                raise _refused(file, trouble[0] if trouble else "no reason told")
            if result:
                raise _BrokenCompiler(f"{self.name}: {trouble[0] if trouble else self._reason(result)}")
            what = "nvrtcGetCUBIN" if target.startswith("sm_") else "nvrtcGetPTX"
            return self._read(program, what), said
        finally:
            self._function("nvrtcDestroyProgram")(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{what}Size", program, ctypes.byref(size))
        room = ctypes.create_string_buffer(size.value)
        self._call(what, program, room)
        return room.raw

    def _function(self, name: str) -> ctypes._NamedFuncPointer:
        try:
            return getattr(self.library, name)
        except AttributeError:
            raise _BrokenCompiler(f"{self.name} has no {name}: it is too old") from None

    def _call(self, name: str, *arguments: object) -> None:
        result = self._function(name)(*arguments)
        if result:
            raise _BrokenCompiler(f"{self.name}: {name}: {self._reason(result)}")

    def _reason(self, result: int) -> str:
        tell = self._function("nvrtcGetErrorString")
        tell.restype = ctypes.c_char_p
        return tell(result).decode()


def _refused(file: str, line: str) -> HpcLstmError:
    told = line if line.startswith(file) else f"{file}: {line}"
    return HpcLstmError(f"GPU kernels cannot be compiled: {told}")


# -- what ptxas tells ----------------------------------------------------------------------------------


def _read_resources(said: str) -> dict[str, Resources]:
    """Resources by kernel from the lines of ``ptxas -v``; functions that are not inlined count with it."""
    found: dict[str, Resources] = {}
    kernel = ""
    for line in said.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = entry[1]
            found[kernel] = Resources(0, 0, 0, 0, 0)
        if kernel:
            known = found[kernel]
            found[kernel] = Resources(
                registers=max(known.registers, _number(r"Used (\d+) registers", line)),
                spill_stores=known.spill_stores + _number(r"(\d+) bytes spill stores", line),
                spill_loads=known.spill_loads + _number(r"(\d+) bytes spill loads", line),
                stack=max(known.stack, _number(r"(\d+) bytes (?:stack frame|cumulative stack)", line)),
                shared=max(known.shared, _number(r"(\d+) bytes smem", line)),
            )
    if not found or not all(kernel.registers for kernel in found.values()):
        raise HpcLstmError("the CUDA compiler tells no resources; take another with HPC_LSTM_COMPILER")
    return found


def _number(pattern: str, line: str) -> int:
    match = re.search(pattern, line)
    return int(match[1]) if match else 0
