"""DLPack capsules: arrays pass without a copy between PyCUDA, which does not support DLPack, and other libraries.

The structures are those of dlpack.h (https://dmlc.github.io/dlpack/latest/c_api.html) before version 1.0, which every
library reads.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

CPU, CUDA = 1, 2  # DLDeviceType
_TYPE_CODES = {"i": 0, "u": 1, "f": 2}  # DLDataTypeCode, by NumPy's kind
# A consumer renames the capsule when it takes the array.
_UNUSED_NAME = b"dltensor"


class _DLDevice(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class _DLDataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", _DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLManagedTensor(ctypes.Structure):
    _fields_ = [("dl_tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Export:
    """What must stay alive as long as the consumer uses the memory."""

    def __init__(self, owner: object, managed: _DLManagedTensor, shape: Any) -> None:
        self.owner, self.managed, self.shape = owner, managed, shape


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(managed: int) -> None:
    """The tensor's deleter: release the export that its manager context refers to."""
    export = _DLManagedTensor.from_address(managed).manager_ctx
    ctypes.pythonapi.Py_DecRef(ctypes.cast(export, ctypes.py_object))


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _destroy_capsule(capsule: int) -> None:
    """The capsule's destructor: delete the tensor unless a consumer has taken it, and renamed the capsule."""
    # Prototypes that take a plain address: the dying capsule must not be referenced again.
    is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
        ("PyCapsule_IsValid", ctypes.pythonapi)
    )
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    if is_valid(capsule, _UNUSED_NAME):
        _delete(get_pointer(capsule, _UNUSED_NAME))


def make_capsule(
    owner: object, address: int, shape: tuple[int, ...], dtype: Any, device: tuple[int, int] = (CUDA, 0)
) -> Any:
    """A DLPack capsule of dense memory.

    Args:
        owner: kept alive until the consumer releases the array.
        address: of the first element.
        dtype: of NumPy; an integer or floating type.
        device: DLPack's device type and number.
    """
    dtype = np.dtype(dtype)
    sizes = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    managed = _DLManagedTensor()
    tensor = managed.dl_tensor
    tensor.data, tensor.byte_offset, tensor.ndim = address, 0, len(shape)
    tensor.device = _DLDevice(*device)
    tensor.dtype = _DLDataType(_TYPE_CODES[dtype.kind], dtype.itemsize * 8, 1)
    tensor.shape, tensor.strides = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64)), None
    # One reference to the export belongs to the tensor until its deleter is called.
    export = _Export(owner, managed, sizes)
    managed.manager_ctx = id(export)
    managed.deleter = ctypes.cast(_delete, ctypes.c_void_p)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(export))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    return new(ctypes.addressof(managed), _UNUSED_NAME, ctypes.cast(_destroy_capsule, ctypes.c_void_p))


class CapsuleArray(NamedTuple):
    """The dense array in a DLPack capsule that no consumer has taken yet.

    Attributes:
        address: of the first element; 0 if there is none.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def inspect_capsule(capsule: Any) -> CapsuleArray:
    """Describe the array in a capsule without taking it.

    Raises:
        TypeError: its elements have no NumPy type, or are not contiguous in C order.
    """
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    tensor = _DLManagedTensor.from_address(get_pointer(capsule, _UNUSED_NAME)).dl_tensor
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    kinds = {code: kind for kind, code in _TYPE_CODES.items()}
    if tensor.dtype.code not in kinds or tensor.dtype.lanes != 1:
        raise TypeError(f"DLPack type {tensor.dtype.code} of {tensor.dtype.bits} bits is not supported")
    # Strides are in elements; none means contiguous. Those of dimensions of size 1 say nothing.
    if tensor.strides:
        contiguous = 1
        for dimension in reversed(range(len(shape))):
            if shape[dimension] > 1 and tensor.strides[dimension] != contiguous:
                raise TypeError("an array that is not contiguous is not supported; copy it first")
            contiguous *= shape[dimension]
    dtype = np.dtype(f"{kinds[tensor.dtype.code]}{tensor.dtype.bits // 8}")
    return CapsuleArray(int(tensor.data or 0) + int(tensor.byte_offset), shape, dtype)
