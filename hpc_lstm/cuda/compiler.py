"""CUDA C++ to machine code of the GPU at hand: compiled by NVRTC on first use, and kept in the cache.

Kernels are ``extern "C"`` functions in kernels/*.cu that include nothing but kernels/*.cuh, and get their types and
sizes by macros. Compiled code
is cached (``native.code_cache``) under a hash of everything that it depends on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from hpc_lstm.cuda.nvrtc import LANGUAGE, Nvrtc
from hpc_lstm.errors import CudaError, HpcLstmError
from hpc_lstm.native import code_cache
from hpc_lstm.native.shared_library import LibraryError
from hpc_lstm.native.source import kernel_file

Defines = Mapping[str, str | int]

# Where the CUDA toolkit lies unless CUDA_HOME says otherwise, and NVRTC's names. CUDA 12 comes first: a driver cannot
# load what a newer CUDA compiled.
CUDA_FOLDER = "/usr/local/cuda"
NVRTC_LIBRARIES = ("libnvrtc.so.12", "libnvrtc.so.13")
INSTALL_NVRTC = 'pip install "hpc-lstm[nvrtc]"'


def kernel_source(name: str) -> Path:
    """The file kernels/``name``.cu.

    Raises:
        HpcLstmError: it is not installed.
    """
    return kernel_file(f"{name}.cu")


def compile_kernels(path: Path, defines: Defines, architecture: str) -> bytes:
    """Machine code of a CUDA source file, for pycuda.driver.module_from_buffer.

    Args:
        defines: macros, as {"VALUE": "float"}.
        architecture: "sm_90" and the like. A GPU that is newer than every compiler here gets PTX of the newest
            architecture known, which the driver compiles further.

    Raises:
        CudaError: there is no compiler that works, or none for a GPU this old.
        HpcLstmError: the source is refused; the message holds the compiler's first error.
    """
    match = re.fullmatch(r"sm_(\d+)[af]?", architecture)
    if match is None:
        raise HpcLstmError(f'architecture "{architecture}": must be like "sm_90"')
    number = int(match[1])
    broken: list[str] = []
    unsuitable: list[Nvrtc] = []
    for compiler in _compilers(broken):
        if number not in compiler.architectures:
            unsuitable.append(compiler)
            continue
        try:
            return _compile_cached(compiler, path, architecture, defines)
        except LibraryError as error:
            broken.append(f"{compiler.path}: {error}")
    for compiler in unsuitable:
        if older := [known for known in compiler.architectures if known < number]:
            try:
                return _compile_cached(compiler, path, f"compute_{max(older)}", defines)
            except LibraryError as error:
                broken.append(f"{compiler.path}: {error}")
    if unsuitable and not broken:
        version, known = unsuitable[0].version, unsuitable[0].architectures
        raise CudaError(
            f"{architecture} is not a GPU that {version} compiles for; it knows sm_{min(known)} to sm_{max(known)}: "
            "load another CUDA module"
        )
    raise _no_compiler(broken)


def included_headers(path: Path) -> dict[str, bytes]:
    """The text of the headers that a source includes, all of them beside it, by name."""
    headers: dict[str, bytes] = {}
    sources = [path.read_bytes()]
    while sources:
        for name in re.findall(rb'^#include "([\w.]+)"', sources.pop(), re.MULTILINE):
            header = path.parent / name.decode()
            if header.name not in headers and header.is_file():  # the compiler tells of one that is missing
                headers[header.name] = header.read_bytes()
                sources.append(headers[header.name])
    return headers


def compiler_version() -> str:
    """Name and version of the compiler that is tried first, such as "NVRTC 12.9".

    Raises:
        CudaError: there is none.
    """
    broken: list[str] = []
    for compiler in _compilers(broken):
        return compiler.version
    raise _no_compiler(broken)


def ignored_setting() -> str:
    """One line on a setting of the environment that earlier releases read; "" if there is none."""
    choice = os.environ.get("HPC_LSTM_COMPILER", "")
    if choice in ("", "nvrtc"):
        return ""
    return f"HPC_LSTM_COMPILER = {choice} is ignored: GPU kernels are compiled only by NVRTC"


def _compile_cached(compiler: Nvrtc, path: Path, target: str, defines: Defines) -> bytes:
    source, headers = path.read_bytes(), included_headers(path)
    options = [f"-D{name}={value}" for name, value in sorted(defines.items())]
    whole = hashlib.sha256(b"".join([source, *headers.values()])).hexdigest()
    parts = [whole, path.name, target, LANGUAGE, options, compiler.version]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    cached = code_cache.cache_path(f"{path.stem}-{target}-{key}")
    code = code_cache.read_code(cached)
    if code is None:
        code = compiler.compile(source, path.name, target, options, headers).code
        code_cache.write_code(cached, code)
    return code


# -- finding NVRTC -------------------------------------------------------------------------------------


def _compilers(broken: list[str]) -> Iterator[Nvrtc]:
    """The compilers of this machine, the one to prefer first, each loaded when it is asked for.

    Args:
        broken: gets a line on each that is there and does not work.
    """
    for path in _nvrtc_paths():
        try:
            yield Nvrtc(path)
        except OSError:  # not there, or no library at all
            continue
        except LibraryError as error:
            broken.append(f"{path}: {error}")


def _nvrtc_paths() -> Iterator[str]:
    """Names for the dynamic loader, then files of the CUDA toolkit and of NVIDIA's wheels."""
    yield from NVRTC_LIBRARIES
    folders = [Path(home, "lib64") for home in (os.environ.get("CUDA_HOME"), CUDA_FOLDER) if home]
    with suppress(ModuleNotFoundError):
        wheels = importlib.util.find_spec("nvidia")
        for location in (wheels.submodule_search_locations or []) if wheels else []:
            folders += sorted(Path(location).glob("*/lib"))
    for folder in folders:
        yield from (str(folder / name) for name in NVRTC_LIBRARIES if (folder / name).is_file())


def _no_compiler(broken: list[str]) -> CudaError:
    if broken:
        return CudaError(f"GPU kernels cannot be compiled: {broken[0]}; repair it, or {INSTALL_NVRTC}")
    return CudaError(
        f"GPU kernels cannot be compiled: NVRTC not found; load the CUDA module, or {INSTALL_NVRTC}"
    )
