"""CUDA graphs: launches that are recorded once and then started together, by the driver's C interface.

PyCUDA has no interface to graphs; its launches can be recorded all the same, since they go to a stream of the driver's.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Collection
from contextlib import suppress
from ctypes import POINTER, byref, c_int, c_uint, c_void_p
from typing import ClassVar

from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.driver import CudaDriver
from hpc_lstm.cuda.overlap import overlap
from hpc_lstm.errors import CudaError
from hpc_lstm.native.shared_library import LibraryError

log = logging.getLogger(__name__)

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on calling the driver.
_THREAD_LOCAL = 1


class GraphDriver(CudaDriver):
    """The driver's functions for graphs."""

    functions: ClassVar = {
        **CudaDriver.functions,
        "cuStreamBeginCapture_v2": (c_void_p, c_int),
        "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
        "cuGraphClone": (POINTER(c_void_p), c_void_p),
        "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint),
        "cuGraphLaunch": (c_void_p, c_void_p),
        "cuGraphExecDestroy": (c_void_p,),
        "cuGraphDestroy": (c_void_p,),
    }


class Graph:
    """What ``record`` launches on the device's stream, ready to be launched again at once.

    Addresses and arguments are those at the time of recording.

    Args:
        record: launches kernels and copies on ``device.stream``; it must not wait for them.
        early: kernels that may begin before the one in front has ended; see ``overlap``.

    Raises:
        CudaError: the driver refuses.
    """

    def __init__(self, device: Device, record: Callable[[], None], early: Collection[str] = ()) -> None:
        self._device, self._driver = device, GraphDriver()
        recorded = self._record(record)
        with device.current():
            try:
                ready = self._overlapping(recorded, early) if early and device.capability >= (9, 0) else None
                self._ready = self._instantiate(recorded) if ready is None else ready
            except LibraryError as error:
                raise _refused(error) from None
            finally:
                self._driver.call("cuGraphDestroy", recorded)
        # At exit the driver frees it.
        self._finalizer = weakref.finalize(self, _destroy, device, self._driver, self._ready)
        self._finalizer.atexit = False

    def _instantiate(self, graph: c_void_p) -> c_void_p:
        ready = c_void_p()
        self._driver.call("cuGraphInstantiateWithFlags", byref(ready), graph, 0)
        return ready

    def _overlapping(self, recorded: c_void_p, early: Collection[str]) -> c_void_p | None:
        """A copy of the graph in which kernels begin early; None: none would, or the driver refuses."""
        copy = c_void_p()
        self._driver.call("cuGraphClone", byref(copy), recorded)
        try:
            return self._instantiate(copy) if overlap(copy, early) else None
        except LibraryError as error:
            log.info("kernels begin one after the other: the driver refuses that they overlap, by %s", error)
            return None
        finally:
            self._driver.call("cuGraphDestroy", copy)

    def _record(self, record: Callable[[], None]) -> c_void_p:
        stream, recorded = c_void_p(self._device.stream.handle), c_void_p()
        # What the collector frees in the middle would be a call that must not be recorded.
        collects = gc.isenabled()
        gc.disable()
        try:
            with self._device.current():
                self._driver.call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
                try:
                    record()
                except BaseException:
                    # The capture ends without a graph, or with one that is not wanted.
                    with suppress(LibraryError):
                        self._driver.call("cuStreamEndCapture", stream, byref(recorded))
                        self._driver.call("cuGraphDestroy", recorded)
                    raise
                self._driver.call("cuStreamEndCapture", stream, byref(recorded))
        except LibraryError as error:
            raise _refused(error) from None
        finally:
            if collects:
                gc.enable()
        return recorded

    def launch(self) -> None:
        """Launch the recorded work on the device's stream.

        Raises:
            CudaError: the driver refuses.
        """
        with self._device.current():
            try:
                self._driver.call("cuGraphLaunch", self._ready, c_void_p(self._device.stream.handle))
            except LibraryError as error:
                raise CudaError(
                    f"the GPU failed: {error}; see nvidia-smi and dmesg, then run with --resume"
                ) from None

    def close(self) -> bool:
        """Free it; if it still runs, the driver does so afterwards. Idempotent; returns False if the driver refuses."""
        return self._finalizer() is not False


def _refused(error: LibraryError) -> CudaError:
    return CudaError(f"the GPU cannot record a graph of kernels: {error}")


def _destroy(device: Device, driver: GraphDriver, ready: c_void_p) -> bool:
    """Free a graph; if it still runs, the driver does so afterwards. Returns False if the driver refuses."""
    with suppress(LibraryError, CudaError), device.current():
        driver.call("cuGraphExecDestroy", ready)
        return True
    return False
