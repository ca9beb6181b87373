"""How many thread block clusters a GPU runs at the same time, asked of the driver: PyCUDA has no interface to it."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_uint, c_void_p, pointer
from typing import ClassVar

from hpc_lstm.cuda.driver import CudaDriver
from hpc_lstm.errors import CudaError
from hpc_lstm.native.shared_library import LibraryError

# CUfunction_attribute, CUdevice_attribute, CUlaunchAttributeID and CUresult of cuda.h.
_MAX_DYNAMIC_SHARED, _NON_PORTABLE_CLUSTER = 8, 14
_SHARED_OF_A_BLOCK = 97
_CLUSTER_DIMENSION = 4
_INVALID_CLUSTER_SIZE = 912
# A kernel to ask about, in the first PTX that knows clusters.
_EMPTY_KERNEL = b"""
.version 7.8
.target sm_90
.address_size 64
.visible .entry empty()
{
    ret;
}
"""


class _LaunchAttribute(Structure):
    """``CUlaunchAttribute``; its value is a union of 64 bytes, of which a cluster's size takes three numbers."""

    _fields_: ClassVar = [("id", c_int), ("padding", c_int), ("value", c_uint * 16)]


class _LaunchConfig(Structure):
    """``CUlaunchConfig``."""

    _fields_: ClassVar = [
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared", c_uint),
        ("stream", c_void_p),
        ("attributes", POINTER(_LaunchAttribute)),
        ("attribute_count", c_uint),
    ]


class _ClusterDriver(CudaDriver):
    functions: ClassVar = {
        "cuCtxGetDevice": (POINTER(c_int),),
        "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
        "cuModuleLoadData": (POINTER(c_void_p), c_char_p),
        "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
        "cuModuleUnload": (c_void_p,),
        "cuFuncSetAttribute": (c_void_p, c_int, c_int),
        "cuOccupancyMaxActiveClusters": (POINTER(c_int), c_void_p, POINTER(_LaunchConfig)),
    }


def resident_clusters(size: int) -> int:
    """Clusters of ``size`` blocks that run at the same time, if each block takes a multiprocessor's shared memory.

    All blocks of a cluster lie in one GPC (a group of multiprocessors), and some GPCs have fewer than others, so that
    multiprocessors may be left over.

    Args:
        size: blocks of a cluster; the current context's GPU has compute capability 9.0 or newer.

    Returns:
        The number; 0: the GPU cannot place such a cluster at all.

    Raises:
        CudaError: the driver refuses, or is too old.
    """
    module, function, device, shared, found = c_void_p(), c_void_p(), c_int(), c_int(), c_int()
    try:
        driver = _ClusterDriver()
        driver.call("cuCtxGetDevice", byref(device))
        driver.call("cuDeviceGetAttribute", byref(shared), _SHARED_OF_A_BLOCK, device)
        driver.call("cuModuleLoadData", byref(module), _EMPTY_KERNEL)
        try:
            driver.call("cuModuleGetFunction", byref(function), module, b"empty")
            driver.call("cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED, shared)
            driver.call("cuFuncSetAttribute", function, _NON_PORTABLE_CLUSTER, 1)
            attribute = _LaunchAttribute(_CLUSTER_DIMENSION, 0, (c_uint * 16)(size, 1, 1))
            launch = _LaunchConfig(
                grid=(size, 1, 1),
                block=(32, 1, 1),
                shared=shared.value,
                attributes=pointer(attribute),
                attribute_count=1,
            )
            driver.call("cuOccupancyMaxActiveClusters", byref(found), function, byref(launch))
        finally:
            driver.call("cuModuleUnload", module)
    except LibraryError as error:
        if error.status == _INVALID_CLUSTER_SIZE:
            return 0
        raise CudaError(f"the GPU does not say how many clusters of {size} blocks it runs: {error}") from None
    return found.value
