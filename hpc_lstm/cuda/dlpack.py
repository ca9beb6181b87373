"""DLPack by hand: arrays pass between PyCUDA, which does not speak it, and other libraries without a copy.

The structures are those of DLPack's dlpack.h (https://dmlc.github.io/dlpack/latest/c_api.html), before
version 1.0, which all libraries read.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

CPU, CUDA = 1, 2
_KINDS = {"i": 0, "u": 1, "f": 2}
_NAME = b"dltensor"


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("type", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Loan:
    """What must live as long as the receiver uses the memory."""

    def __init__(self, owner: object, managed: _Managed, shape: Any) -> None:
        self.owner, self.managed, self.shape = owner, managed, shape


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _end(managed: int) -> None:
    """The receiver is done: let go of the loan, which its context names."""
    loan = _Managed.from_address(managed).context
    ctypes.pythonapi.Py_DecRef(ctypes.cast(loan, ctypes.py_object))


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _end_unused(capsule: int) -> None:
    """A capsule dies; nobody has taken its tensor unless it was renamed."""
    is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
        ("PyCapsule_IsValid", ctypes.pythonapi)
    )
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    if is_valid(capsule, _NAME):
        _end(get(capsule, _NAME))


def capsule(
    owner: object, address: int, shape: tuple[int, ...], dtype: Any, device: tuple[int, int] = (CUDA, 0)
) -> Any:
    """A DLPack capsule of dense memory.

    Args:
        owner: kept alive until the receiver lets go.
        address: of the first element.
        dtype: of NumPy; an integer or floating type.
        device: DLPack's device type and number.
    """
    dtype = np.dtype(dtype)
    sizes = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    managed = _Managed()
    tensor = managed.tensor
    tensor.data, tensor.byte_offset, tensor.dimensions = address, 0, len(shape)
    tensor.device = _Device(*device)
    tensor.type = _Type(_KINDS[dtype.kind], dtype.itemsize * 8, 1)
    tensor.shape, tensor.strides = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64)), None
    loan = _Loan(owner, managed, sizes)
    managed.context = id(loan)
    managed.deleter = ctypes.cast(_end, ctypes.c_void_p)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(loan))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    return new(ctypes.addressof(managed), _NAME, ctypes.cast(_end_unused, ctypes.c_void_p))


class Found(NamedTuple):
    """What a DLPack capsule that nobody has taken yet holds: a dense array.

    Attributes:
        address: of the first element; 0 if there is none.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def look(capsule: Any) -> Found:
    """Look into a capsule without taking its array.

    Raises:
        TypeError: elements that NumPy has no type for, or that do not lie in order without gaps.
    """
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    tensor = _Managed.from_address(get(capsule, _NAME)).tensor
    shape = tuple(tensor.shape[i] for i in range(tensor.dimensions))
    kinds = {code: kind for kind, code in _KINDS.items()}
    if tensor.type.kind not in kinds or tensor.type.lanes != 1:
        raise TypeError(f"DLPack type {tensor.type.kind} of {tensor.type.bits} bits is not taken")
    if tensor.strides:
        step = 1
        for dimension in reversed(range(len(shape))):
            if shape[dimension] > 1 and tensor.strides[dimension] != step:
                raise TypeError("an array with gaps is not taken; copy it first")
            step *= shape[dimension]
    dtype = np.dtype(f"{kinds[tensor.type.kind]}{tensor.type.bits // 8}")
    return Found(int(tensor.data or 0) + int(tensor.byte_offset), shape, dtype)


def address(capsule: Any) -> int:
    """Address of the first element of a capsule's dense array."""
    return look(capsule).address
