"""How fast are the kernels for GPUs without thread-block clusters? Samples a second beside torch, on a newer card.

    python benchmarks/gpu_older_cards.py [--units 128,256,512] [--batches 64,1024,8192] [...]

The options are those of gpu_engines.py, whose networks and peers these are. ``fused`` takes the card for an A100, which
has compute capability 8.0, 108 multiprocessors, and 163 KiB of shared memory for a block. Its kernels are compiled to
PTX for 8.0, which the driver translates. So it is the code of such cards that is measured, but at this card's clock,
with its multiprocessors and caches; torch runs cuDNN's kernels for this card.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpc_lstm.cuda import compiler
from hpc_lstm.cuda.device import Device
from hpc_lstm.cuda.modules import Modules, Source
from hpc_lstm.model.engines.cuda.chain_plan import shared_limit

A100 = ((8, 0), 108)


def can_be_taken_for(device: Device, capability: tuple[int, int], multiprocessors: int) -> bool:
    """Whether a GPU has all that one of this compute capability with so many multiprocessors has."""
    return (
        device.capability >= capability
        and device.multiprocessors >= multiprocessors
        and shared_limit(device.capability) >= shared_limit(capability)
    )


@contextmanager
def older_card(capability: tuple[int, int], multiprocessors: int) -> Iterator[None]:
    """Take this process's GPU for one of another compute capability with so many multiprocessors, at most its own."""
    start, compiled = Device.__init__, Modules._compile
    target = "compute_{}{}".format(*capability)

    def made(device: Device) -> None:
        start(device)
        if not can_be_taken_for(device, capability, multiprocessors):
            raise ValueError(f"{device.name} has less than the card it would be taken for")
        device.capability, device.multiprocessors = capability, multiprocessors

    def to_ptx(modules: Modules, source: Source) -> bytes:
        file, defines = source
        nvrtc = next(compiler._compilers([]))
        return compiler._compile_cached(nvrtc, compiler.kernel_source(file), target, defines)

    changed: Any = Device, Modules
    try:
        changed[0].__init__, changed[1]._compile = made, to_ptx
        yield
    finally:
        changed[0].__init__, changed[1]._compile = start, compiled


def main() -> None:
    import gpu_engines

    arguments = sys.argv[1:]
    if "--work" in arguments and "fused" in arguments:
        with older_card(*A100):
            gpu_engines.main()
    else:
        gpu_engines.main(__file__, units="128,256,512", only="fused,torch", results="gpu_older_cards")


if __name__ == "__main__":
    main()
