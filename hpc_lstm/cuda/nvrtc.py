"""NVRTC, CUDA's compiler as a library: https://docs.nvidia.com/cuda/nvrtc/index.html."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from hpc_lstm.errors import HpcLstmError
from hpc_lstm.native.shared_library import LibraryError, SharedLibrary

# NVRTC's defaults honour NaN, infinities and denormals, and round division and square root correctly; no option
# here may relax that.
LANGUAGE = "-std=c++17"
NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})
# nvrtcResult of a source with errors.
_ERROR_COMPILATION = 6
_DIAGNOSTIC = re.compile(r"(\): |^ptxas |^nvrtc: )(catastrophic |fatal )?(error|warning|fatal)\b")


class Compiled(NamedTuple):
    """Machine code, and what the compiler printed."""

    code: bytes
    log: str


class Nvrtc(SharedLibrary):
    """One NVRTC library.

    Attributes:
        version: such as "NVRTC 12.9".
        architectures: compute capabilities times ten that it compiles for.
    """

    functions: ClassVar = {
        "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
        "nvrtcGetNumSupportedArchs": (POINTER(c_int),),
        "nvrtcGetSupportedArchs": (POINTER(c_int),),
        "nvrtcCreateProgram": (POINTER(c_void_p), c_char_p, c_char_p, c_int, c_void_p, c_void_p),
        "nvrtcCompileProgram": (c_void_p, c_int, POINTER(c_char_p)),
        "nvrtcDestroyProgram": (POINTER(c_void_p),),
        **{
            f"nvrtcGet{result}{size}": (c_void_p, POINTER(c_size_t) if size else c_char_p)
            for result in ("CUBIN", "PTX", "ProgramLog")
            for size in ("Size", "")
        },
    }
    error_string = "nvrtcGetErrorString"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        major, minor, count = c_int(), c_int(), c_int()
        self.call("nvrtcVersion", major, minor)
        self.version = f"NVRTC {major.value}.{minor.value}"
        self.call("nvrtcGetNumSupportedArchs", count)
        numbers = (c_int * count.value)()
        self.call("nvrtcGetSupportedArchs", numbers)
        self.architectures = list(numbers)

    def compile(
        self,
        source: bytes,
        file: str,
        target: str,
        options: list[str],
        headers: Mapping[str, bytes] = NO_HEADERS,
    ) -> Compiled:
        """Compile CUDA C++; a warning counts as an error.

        Args:
            file: name of the source in messages.
            target: "sm_90" for a cubin, "compute_90" for PTX.
            headers: what the source may include, by name.

        Raises:
            HpcLstmError: the source is refused; the message holds the first diagnostic.
            LibraryError: the compiler does not work.
        """
        program = c_void_p()
        texts = (c_char_p * len(headers))(*headers.values())
        names = (c_char_p * len(headers))(*(name.encode() for name in headers))
        self.call("nvrtcCreateProgram", program, source, file.encode(), len(headers), texts, names)
        try:
            arguments = [text.encode() for text in (f"-arch={target}", LANGUAGE, *options)]
            failure: LibraryError | None = None
            try:
                self.call(
                    "nvrtcCompileProgram", program, len(arguments), (c_char_p * len(arguments))(*arguments)
                )
            except LibraryError as error:
                failure = error
            log = self._result(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            diagnostics = [line.strip() for line in log.splitlines() if _DIAGNOSTIC.search(line)]
            # NVRTC has no option that makes warnings errors.
            if (failure is None and diagnostics) or (failure and failure.status == _ERROR_COMPILATION):
                line = diagnostics[0] if diagnostics else "the compiler gives no reason"
                where = "" if line.startswith(file) else f"{file}: "
                raise HpcLstmError(f"GPU kernels cannot be compiled: {where}{line}")
            if failure is not None:
                raise LibraryError(diagnostics[0], failure.status) if diagnostics else failure
            code = self._result(program, "nvrtcGetCUBIN" if target.startswith("sm_") else "nvrtcGetPTX")
            return Compiled(code, log)
        finally:
            self.call("nvrtcDestroyProgram", program)

    def _result(self, program: c_void_p, name: str) -> bytes:
        size = c_size_t()
        self.call(f"{name}Size", program, size)
        buffer = ctypes.create_string_buffer(size.value)
        self.call(name, program, buffer)
        return buffer.raw
