"""The GPUs of this node that this process may use, listed without starting CUDA in it.

NVML, NVIDIA's management library, leaves CUDA alone. Where it is missing, a process of its own asks CUDA.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpc_lstm.cuda import driver, enumerate_devices
from hpc_lstm.processes import ISOLATED, run_helper

NVML_LIBRARY = "libnvidia-ml.so.1"
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
# How long the driver may take to start: many seconds on a node with many GPUs and no persistence daemon.
DRIVER_TIMEOUT_S = 60


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG device of one.

    Attributes:
        entry: what CUDA_VISIBLE_DEVICES calls it: a number or a UUID.
        name, uuid: as the driver reports them; "" if it does not.
        memory_bytes: total memory; 0 if the driver does not report it.
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


def installed_gpus() -> list[Gpu]:
    """All GPUs of this node that this process may use, by CUDA's number; none without an NVIDIA driver.

    A GPU in MIG mode is replaced by its MIG devices, each with its UUID as the entry.
    """
    gpus = _gpus_by_nvml()
    if gpus is None:
        return _gpus_by_cuda("PCI_BUS_ID")
    models = {gpu.name for gpu in gpus if gpu.entry.isdigit()}
    if len(models) > 1 and VISIBLE in os.environ and os.environ.get(ORDER) != "PCI_BUS_ID":
        # CUDA numbers different models with the fastest first, by a rule that only CUDA knows.
        return _gpus_by_cuda(os.environ.get(ORDER, "FASTEST_FIRST")) or gpus
    return gpus


def _gpus_by_nvml() -> list[Gpu] | None:
    """The GPUs that NVML reports; None if it cannot be used."""
    try:
        ctypes.CDLL(NVML_LIBRARY)
    except OSError:
        return None  # pynvml need not be imported to find that out
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        gpus: list[Gpu] = []
        usable = 0
        for index in range(nvml.nvmlDeviceGetCount()):
            # NVML counts GPUs that a control group hides from this process, and refuses them; CUDA numbers the others.
            device = _reported(None, nvml.nvmlDeviceGetHandleByIndex, index)
            if device is None:
                continue
            mig_enabled, _ = _reported((0, 0), nvml.nvmlDeviceGetMigMode, device)
            gpus += _mig_devices(nvml, device) if mig_enabled else [_describe(nvml, device, str(usable))]
            usable += 1
        return gpus
    except nvml.NVMLError:
        return None
    finally:
        _reported(None, nvml.nvmlShutdown)


def _mig_devices(nvml: Any, device: Any) -> list[Gpu]:
    slots = range(_reported(0, nvml.nvmlDeviceGetMaxMigDeviceCount, device))
    parts = (_reported(None, nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, slot) for slot in slots)
    return [_describe(nvml, part) for part in parts if part is not None]


def _describe(nvml: Any, device: Any, entry: str = "") -> Gpu:
    """What NVML reports of a device; its entry is its UUID unless it is given."""
    memory = _reported(None, nvml.nvmlDeviceGetMemoryInfo, device)
    uuid = _reported("", nvml.nvmlDeviceGetUUID, device)
    return Gpu(
        entry or uuid, _reported("", nvml.nvmlDeviceGetName, device), uuid, memory.total if memory else 0
    )


def _reported(default: Any, query: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of NVML to a query, or ``default`` where it refuses or does not support it."""
    from pynvml import NVMLError

    try:
        return query(*arguments)
    except NVMLError:
        return default


def _gpus_by_cuda(order: str) -> list[Gpu]:
    """The GPUs that CUDA reports, in a process of its own: in this one CUDA would fix which are visible.

    Args:
        order: value of CUDA_DEVICE_ORDER.
    """
    try:
        ctypes.CDLL(driver.LIBRARY)  # loading does not start it
    except OSError:
        return []
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE} | {ORDER: order}
    try:
        done = run_helper(
            [*ISOLATED, enumerate_devices.__file__],
            DRIVER_TIMEOUT_S,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        done.check_returncode()
        return [Gpu(str(number), *fields) for number, *fields in json.loads(done.stdout)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # ``cuda.availability`` finds out why
