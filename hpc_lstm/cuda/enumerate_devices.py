"""Print the GPUs that CUDA sees, as JSON: a list of [number, name, UUID, bytes of memory].

A program that is run by its path in a process of its own: once CUDA has started in a process, the GPUs that it sees are
fixed. It imports nothing but the standard library, so that it starts fast and wherever the package lies.
"""

from __future__ import annotations

import ctypes
import json


def main() -> None:
    """Print the list; it is empty if the driver does not start."""
    cuda, count, devices = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), []
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
        devices.append(
            [number, name.value.decode(), "" if unknown else "GPU-" + "-".join(parts), memory.value]
        )
    print(json.dumps(devices))


if __name__ == "__main__":
    main()
