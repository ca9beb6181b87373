"""A C kernel as a shared library: built with the package, or else compiled on this machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

from hpc_lstm.files import data_folder
from hpc_lstm.native.builds import Build, find_build
from hpc_lstm.native.compiler import NoCompiler, compile_library
from hpc_lstm.native.source import kernel_file, whole_source


def load_library(name: str, is_right: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL:
    """kernels/``name``.c as a shared library for this processor.

    A build of full speed comes first, then what the compiler of this machine makes, then any other build.

    Args:
        is_right: whether a library computes what the source says.

    Raises:
        NoCompiler: there is no build for this processor, and it cannot be compiled here.
        HpcLstmError: the source is not installed.
    """
    problem = NoCompiler(
        f"{name}.c: the C compiler's code computes something else; name another compiler in CC"
    )
    for load in _sources(name):
        try:
            library = load()
        except NoCompiler as error:
            problem = error
            continue
        if is_right(library):
            return library
    raise problem


def kernel_source(name: str) -> bytes:
    """The text of kernels/``name``.c, with its headers.

    Raises:
        HpcLstmError: it is not installed.
    """
    return whole_source(kernel_file(f"{name}.c"))


def _sources(name: str) -> Iterator[Callable[[], ctypes.CDLL]]:
    source = kernel_source(name)
    build = find_build(source, name, data_folder("kernels"))
    if build is not None and build.level.full_speed:
        yield lambda: _load_build(build)
    yield lambda: compile_library(source, name)
    if build is not None and not build.level.full_speed:
        yield lambda: _load_build(build)


def _load_build(build: Build) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(build.path))
    except OSError as error:  # such as one that was made for a newer C library
        raise NoCompiler(f"{build.path} cannot be loaded: {error}") from None
