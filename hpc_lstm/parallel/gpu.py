"""Which GPU is whose: each rank takes one of its node before TensorFlow or PyCUDA touch the driver.

A process sees the GPUs that CUDA_VISIBLE_DEVICES names when CUDA starts in it, and never others. So the rank's choice
is written there, and TensorFlow and PyCUDA both find that one GPU as their first. GPUs are counted through NVML, the
management library, which leaves CUDA alone; where it is missing, a process of its own asks CUDA.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from hpc_lstm.parallel.world import World

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
# How long the driver may take to start: with many GPUs and nothing that keeps them awake, many seconds.
DRIVER_TIMEOUT_S = 60


@dataclass(frozen=True)
class Gpu:
    """A rank's GPU.

    Attributes:
        entry: what CUDA_VISIBLE_DEVICES says of it: a number or a UUID.
        name, uuid: as the driver knows it; "" where it does not tell.
        memory_bytes: all of its memory.
        sharers: ranks of this job on it.
    """

    entry: str
    name: str
    uuid: str
    memory_bytes: int
    sharers: int = 1

    def describe(self) -> str:
        """The GPU in one line."""
        shared = f", shared by {self.sharers} ranks" if self.sharers > 1 else ""
        memory = f", {self.memory_bytes / 2**30:.0f} GiB" if self.memory_bytes else ""
        return f"{self.name or 'GPU'}{memory} ({self.uuid or self.entry}){shared}"


def claim(world: World) -> Gpu | None:
    """Give this rank its GPU; collective. None where the driver shows none.

    Local rank r takes entry r modulo n of the n that it may see. Where the launcher has bound one GPU to each rank,
    that one stays. Call it before anything starts CUDA in this process.
    """
    mine = preview(world)
    if mine is not None:
        if VISIBLE not in os.environ:
            os.environ[ORDER] = "PCI_BUS_ID"  # so that NVML's numbers are CUDA's
        os.environ[VISIBLE] = mine.entry
    return mine


def preview(world: World) -> Gpu | None:
    """The GPU that ``claim`` would give this rank; collective; changes nothing."""
    known = installed()
    entry = choose(visible_entries(os.environ.get(VISIBLE), known), world.local_rank)
    mine = None if entry is None else find(entry, known)
    place = None if mine is None else (world.node, mine.uuid or mine.entry)
    places = world.allgather(place)
    return None if mine is None else replace(mine, sharers=places.count(place))


def choose(entries: Sequence[str], local_rank: int) -> str | None:
    """The entry of a local rank: each is used as often as any other, to within one."""
    return entries[local_rank % len(entries)] if entries else None


def visible_entries(variable: str | None, known: Sequence[Gpu]) -> list[str]:
    """What a process may see, as CUDA reads CUDA_VISIBLE_DEVICES: up to the first entry that names nothing.

    Args:
        variable: its value; None if it is not set.
        known: all GPUs of the node, in the order of their numbers.
    """
    if not known:
        return []
    if variable is None:
        # Where some GPUs are cut into MIG devices, CUDA's numbers are not NVML's.
        cut = any(not gpu.entry.isdigit() for gpu in known)
        return [(gpu.uuid or gpu.entry) if cut else gpu.entry for gpu in known]
    entries: list[str] = []
    uuids: list[str] = []
    for part in (text.strip() for text in variable.split(",")):
        found = find(part, known)
        if found is None or (found.uuid or part) in uuids:
            break
        uuids.append(found.uuid or part)
        entries.append(part)
    return entries


def find(entry: str, known: Sequence[Gpu]) -> Gpu | None:
    """The GPU that an entry names: by number, or by UUID or the beginning of one; None if there is no such."""
    if entry.isascii() and entry.isdecimal():
        return next((replace(gpu, entry=entry) for gpu in known if gpu.entry == str(int(entry))), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    found = [gpu for gpu in known if gpu.uuid.startswith(entry)]
    if entry.startswith("MIG-") and not found:
        return Gpu(entry, "MIG device", entry, 0)
    return replace(found[0], entry=entry) if len(found) == 1 else None


def installed() -> list[Gpu]:
    """All GPUs of this node that this process may use, by CUDA's number; none without an NVIDIA driver.

    A GPU that is cut into MIG devices is replaced by them, each with its UUID for an entry.
    """
    known = _by_management_library()
    if known is None:
        return _by_cuda()
    whole = {gpu.name for gpu in known if gpu.entry.isdigit()}
    if len(whole) > 1 and VISIBLE in os.environ and os.environ.get(ORDER) != "PCI_BUS_ID":
        # Of different models CUDA numbers the fastest first, by a rule that only it knows.
        return _by_cuda(os.environ.get(ORDER, "FASTEST_FIRST")) or known
    return known


def _by_management_library() -> list[Gpu] | None:
    """What NVML tells; None if it cannot be asked."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2():
        return None
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return None
        known: list[Gpu] = []
        usable = 0
        for number in range(count.value):
            device = ctypes.c_void_p()
            # NVML counts GPUs that a control group keeps from this process; CUDA numbers only the others.
            if nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
                continue
            mig = ctypes.c_uint()
            if nvml.nvmlDeviceGetMigMode(device, ctypes.byref(mig), ctypes.byref(ctypes.c_uint())):
                mig.value = 0
            known += _mig_devices(nvml, device) if mig.value else [_described(nvml, device, str(usable))]
            usable += 1
        return known
    finally:
        nvml.nvmlShutdown()


def _by_cuda(order: str = "PCI_BUS_ID") -> list[Gpu]:
    """What CUDA tells, in a process of its own: in this one it would fix what may be seen."""
    try:
        ctypes.CDLL("libcuda.so.1")  # loading does not start it
    except OSError:
        return []
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE} | {ORDER: order}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__],
            env=environment,
            capture_output=True,
            timeout=DRIVER_TIMEOUT_S,
            check=True,
        )
        return [Gpu(*fields) for fields in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # ``problem`` says why


def _tell() -> None:
    """Print what CUDA sees; the work of the process that ``_by_cuda`` starts."""
    cuda, count, known = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), []
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        count.value = 0
    for number in range(count.value):
        device, memory = ctypes.c_int(), ctypes.c_size_t()
        name, uuid = ctypes.create_string_buffer(96), ctypes.create_string_buffer(16)
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(name, 96, device)
        unknown = cuda.cuDeviceGetUuid(uuid, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        digits = uuid.raw.hex()
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        known.append(
            Gpu(str(number), name.value.decode(), "" if unknown else "GPU-" + "-".join(parts), memory.value)
        )
    print(json.dumps([astuple(gpu) for gpu in known]))


def _mig_devices(nvml: Any, device: Any) -> list[Gpu]:
    count, found = ctypes.c_uint(), []
    nvml.nvmlDeviceGetMaxMigDeviceCount(device, ctypes.byref(count))
    for number in range(count.value):
        part = ctypes.c_void_p()
        if not nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number, ctypes.byref(part)):
            described = _described(nvml, part, "")
            found.append(replace(described, entry=described.uuid))
    return found


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def _described(nvml: Any, device: Any, entry: str) -> Gpu:
    memory = _Memory()
    name, uuid = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    nvml.nvmlDeviceGetName(device, name, 96)
    nvml.nvmlDeviceGetUUID(device, uuid, 96)
    nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    return Gpu(entry, name.value.decode(), uuid.value.decode(), memory.total)


def problem() -> str | None:
    """Why the CUDA backend cannot be used in this process, with the remedy, in one line; None if it can.

    Starts CUDA in this process where there is a GPU: ``claim`` comes first.
    """
    from hpc_lstm.cuda import compiler
    from hpc_lstm.errors import CudaError

    fault = _driver_problem()
    if fault is not None:
        return fault
    try:
        import pycuda.driver as cuda
    except Exception as error:  # a broken installation raises whatever its libraries meet
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "pycuda":
            return 'PyCUDA is not installed; pip install "hpc-lstm[gpu]"'
        rebuild = "pip install --force-reinstall --no-deps --no-binary pycuda pycuda"
        return f"PyCUDA cannot be loaded ({_line(error)}); {rebuild}"
    try:
        cuda.init()
    except cuda.Error as error:
        return f"PyCUDA cannot start CUDA ({_line(error)}); is it built for a newer CUDA than the driver's?"
    try:
        compiler.version()
    except CudaError as error:
        return str(error)
    return None


def _driver_problem() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1); use a node with a GPU"
    code = driver.cuInit(0)
    count = ctypes.c_int()
    if not code:
        code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code == 100 or (not code and count.value == 0):
        hidden = os.environ.get(VISIBLE)
        if hidden is not None:
            return f'{VISIBLE} = "{hidden}" leaves no GPU to be seen; unset it, or name one that is there'
        return "the driver sees no GPU; ask the batch system for one, such as --gpus-per-node=1"
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(text))
        return (
            f"the NVIDIA driver fails with {(text.value or b'?').decode()} ({code}); see nvidia-smi and dmesg"
        )
    return None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    _tell()
