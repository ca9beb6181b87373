"""Kernels of this process's GPU: compiled side by side, loaded on first use, and kept as long as the device."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.context import Context
from hpc_lstm.errors import CudaError

Source = tuple[str, compiler.Defines]  # a file of kernels/, without its suffix, and macros

STATIC_SHARED = 48 * 1024  # bytes of shared memory that a block may have without asking
# CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED and ..._PREFERRED_SHARED_MEMORY_CARVEOUT (in percent), which
# PyCUDA has no names for.
NON_PORTABLE_CLUSTER, CARVEOUT = 14, 9


def of_values(value: Any) -> compiler.Defines:
    """The macros of a kernel for values of a type, float32 or float64."""
    return {"VALUE": {"float32": "float", "float64": "double"}[np.dtype(value).name]}


class Modules:
    """The kernels of source files, as sets of macros make them.

    Args:
        device: which this belongs to, whose architecture they are compiled for.
    """

    def __init__(self, device: Context) -> None:
        # Not a strong reference: a circle would be freed by the collector, in whichever thread and whenever it runs,
        # and PyCUDA frees nothing in another thread.
        self._device: Context = weakref.proxy(device)
        self._loaded: dict[tuple[Any, ...], Module] = {}
        self._codes: dict[tuple[Any, ...], bytes] = {}  # compiled, not yet loaded

    def compile(self, sources: Sequence[Source]) -> None:
        """See ``Device.compile``."""
        missing = {(file, *sorted(defines.items())): (file, defines) for file, defines in sources}
        missing = {key: source for key, source in missing.items() if key not in self._loaded}
        with ThreadPoolExecutor(max(1, min(len(missing), len(os.sched_getaffinity(0))))) as pool:
            self._codes.update(zip(missing, pool.map(self._compile, missing.values()), strict=True))

    def load(self, file: str, defines: compiler.Defines) -> Module:
        """See ``Device.load``."""
        key = (file, *sorted(defines.items()))
        if key not in self._loaded:
            cuda = self._device.cuda
            code = self._codes.pop(key, b"") or self._compile((file, defines))
            with self._device.current():
                try:
                    module = cuda.module_from_buffer(code)
                except cuda.Error as error:
                    raise CudaError(
                        f"kernels/{file}.cu cannot be loaded: {' '.join(str(error).split())}; "
                        "is the CUDA compiler newer than the driver?"
                    ) from None
            self._loaded[key] = Module(self._device, module)
        return self._loaded[key]

    def _compile(self, source: Source) -> bytes:
        file, defines = source
        # wgmma exists for compute capability 9.0 alone, and not for what runs on later ones, too.
        target = self._device.architecture + ("a" if defines.get("WGMMA") else "")
        return compiler.compile_kernels(compiler.kernel_source(file), defines, target)


class Module:
    """The kernels of one source file, as one set of macros makes them.

    Args:
        device: not a strong reference; see ``Modules``.
    """

    def __init__(self, device: Context, module: Any) -> None:
        self._device, self._module = device, module
        self._functions: dict[str, Any] = {}

    def get_function(
        self, kernel: str, shared: int = 0, largest_cluster: bool = False, *, little_cache: bool = False
    ) -> Any:
        """A kernel.

        Args:
            shared: bytes of dynamic shared memory that it will be launched with.
            largest_cluster: it is launched in clusters of more than 8 blocks.
            little_cache: it leaves what is cache or shared memory to the latter, as it must to run on a multiprocessor
                beside a kernel that takes all of it.
        """
        if kernel not in self._functions:
            cuda = self._device.cuda
            with self._device.current():
                function = self._module.get_function(kernel)
                attributes = cuda.function_attribute
                if shared > STATIC_SHARED:
                    function.set_attribute(attributes.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
                if largest_cluster:
                    function.set_attribute(attributes(NON_PORTABLE_CLUSTER), 1)
                if little_cache:
                    function.set_attribute(attributes(CARVEOUT), 100)
            self._functions[kernel] = function
        return self._functions[kernel]
