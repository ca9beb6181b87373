"""``hpc-lstm doctor --tune``: measures which kernels, or the Keras engine, train fastest on this GPU, for ``auto``.

What was measured is kept for this card, driver and version of the package (``model.engines.speed_files``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.cuda.availability import cuda_problem
from hpc_lstm.cuda.device import Device
from hpc_lstm.errors import CudaError
from hpc_lstm.model.engines.cuda.choice import card_of, choose_plan, network_of, possible_plans
from hpc_lstm.model.engines.measure_speeds import measure_speeds
from hpc_lstm.model.engines.speed_files import own_table, shipped_tables, write_own_table
from hpc_lstm.model.engines.speed_table import KERNELS, WAYS, Measurement, SpeedTable
from hpc_lstm.model.engines.tensorflow_runtime import keras_has_gpu
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World

UNITS = (64, 128, 256, 512)
BATCHES = (64, 256, 512, 1024, 2048, 4096, 8192)
# What is measured without a configuration.
STANDARD: dict[str, dict[str, Any]] = {
    "data": {"store": "none", "window": 60, "features": ["open", "high", "low", "close", "volume"]},
    "model": {"layers": 2, "dropout": 0.1},
}
PRECISIONS = ("bfloat16", "float32")


def tune(
    config: RunConfig | None, units: Sequence[int], world: World, show: Callable[[str], None]
) -> SpeedTable | None:
    """Measure on rank 0's GPU, keep what was measured and show it line by line; collective.

    Args:
        config: whose network is measured; None: a standard one, in each precision.
        units: numbers of units; empty: the config's, or 64 to 512.

    Returns:
        What is known of this card now; None on other ranks.

    Raises:
        InputError: there is no GPU, or what was measured cannot be kept; on all ranks.
    """
    gpu.assign_gpu(world)
    networks = networks_to_measure(config, units)
    return world.raise_on_all(lambda: _measure(networks, show) if world.rank == 0 else None)


def known_speeds() -> str:
    """What ``auto`` knows of the speeds on this process's GPU, in words; "" if nothing.

    Raises:
        CudaError: the GPU cannot be used.
    """
    card = card_of(Device())
    own, shipped = own_table(card), shipped_tables(card.capability)
    found = [f"{len(own.measurements)} sizes measured here"] if own else []
    found += [f"{len(table.measurements)} sizes measured on {table.card}" for table in shipped]
    return "; ".join(found)


def networks_to_measure(
    config: RunConfig | None, units: Sequence[int], batches: Sequence[int] = BATCHES
) -> list[RunConfig]:
    """Configurations of all sizes that are measured; see ``tune``.

    Args:
        batches: sizes of a batch, besides the config's.
    """
    if config is None:
        kinds = [
            configuration.parse({**STANDARD, "train": {"precision": precision}}, "doctor --tune")
            for precision in PRECISIONS
        ]
    else:
        kinds = [config]
    found = []
    for kind in kinds:
        sizes = sorted({*batches, *([kind.train.batch_size] if config else [])})
        for number in units or ([config.model.units] if config else UNITS):
            model = kind.model.model_copy(update={"units": number})
            for batch in sizes:
                train = kind.train.model_copy(update={"batch_size": batch})
                found.append(kind.model_copy(update={"model": model, "train": train}))
    return found


def _measure(networks: list[RunConfig], show: Callable[[str], None]) -> SpeedTable:
    if problem := cuda_problem():
        raise CudaError(f"doctor --tune measures on a GPU: {problem}")
    device, keras = Device(), keras_has_gpu(0, deterministic=False)
    card = card_of(device)
    table = own_table(card) or SpeedTable(card.name, card.capability, card.multiprocessors)
    show(f"{card.name}, {card.multiprocessors} multiprocessors; thousand samples/s")
    if not keras:
        show("without the Keras engine, since TensorFlow is not installed or sees no GPU")
    path = None
    for config in networks:
        plan = choose_plan(config, device)
        if isinstance(plan, str):
            show(f"{title(config)}  {plan}")
            continue
        if len(possible_plans(config, device)) + keras < 2:
            show(f"{title(config)}  nothing to choose")
            continue
        measured = measure_speeds(config, WAYS if keras else KERNELS)
        show(f"{title(config)}  {speeds_text(measured)}")
        table = table.merged([measured])
        path = write_own_table(card, table)  # after each, so that nothing is lost when it is stopped
    show(f'kept in {path}; train.engine = "auto" and "fused" go by it' if path else "nothing was measured")
    return table


def title(config: RunConfig) -> str:
    """The size of a network, as a line begins."""
    network = network_of(config)
    return f"{network.precision:8}  {network.units:3} units  batch {network.batch:6,}"


def speeds_text(measured: Measurement) -> str:
    """Thousand samples a second by way, the fastest with a star."""
    speeds = measured.samples_per_s
    best = max((speed for speed in speeds.values() if speed), default=None)
    return "  ".join(
        f"{way} {'-' if speed is None else f'{speed / 1000:,.1f}'}{' *' if speed and speed == best else ''}"
        for way, speed in speeds.items()
    )
