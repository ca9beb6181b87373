"""Which kernels of the CUDA engine train a network on this GPU, and whether the Keras engine is faster.

What was measured on such a card decides; where nothing was, the rules of ``plan``, and of ``keras_is_faster``.
"""

from __future__ import annotations

from hpc_lstm.config import ModelConfig, RunConfig
from hpc_lstm.cuda.device import Device
from hpc_lstm.model.engines.cuda import plan
from hpc_lstm.model.engines.cuda.plan import Plan
from hpc_lstm.model.engines.speed_files import Card, tables_for
from hpc_lstm.model.engines.speed_table import CHAINS, KERAS, TILES, Network

MAX_LAYERS, MAX_UNITS = 8, 512
PARTS = {"bfloat16": 1, "float32": 2}
# Where blocks exchange through memory and nothing was measured: units and windows in float32 above which the Keras
# engine is taken (docs/fused-engine.md).
MOST_UNITS_BEFORE_KERAS, MOST_WINDOWS_BEFORE_KERAS = 256, 128
# Of a trained network, so that its forecasts are those of the CPU.
FORECAST_PRECISION = "float32"


def choose_plan(config: RunConfig, device: Device, kernels: str = "") -> Plan | str:
    """How the kernels are cut to the network, or why they cannot be.

    Args:
        kernels: the way that is taken, of ``possible_plans``; "": the fastest.
    """
    if problem := _limit(config.model, device):
        return problem
    possible = possible_plans(config, device)
    if kernels:
        return possible.get(kernels) or f"has no kernels for {kernels} of this network on this GPU"
    if not possible:
        return _no_room(config.model, device)
    if len(possible) == 1:
        return next(iter(possible.values()))
    measured = fastest(config, device, tuple(possible))
    return possible[measured] if measured else _cut(config, device, large=None) or possible[CHAINS]


def plan_to_forecast(model: ModelConfig, features: int, windows: int, device: Device) -> Plan | str:
    """How the kernels are cut to a trained network, in float32, or why they cannot be.

    Args:
        windows: that are forecast at the same time.
    """
    if problem := _limit(model, device):
        return problem
    found = plan.plan(
        *(model.units, features, windows),
        layers=model.layers,
        parts=PARTS[FORECAST_PRECISION],
        dropout=False,
        capability=device.capability,
        clusters=device.resident_clusters,
    )
    return found or _no_room(model, device)


def keras_is_faster(config: RunConfig, device: Device) -> bool:
    """Whether the Keras engine, if it has the GPU, trains this network faster than these kernels.

    As measured; where that was not, by a rule for kernels whose blocks exchange through memory.
    """
    possible = possible_plans(config, device)
    if measured := fastest(config, device, (*possible, KERAS)):
        return measured == KERAS
    return (
        all(plan.forward.through_memory for plan in possible.values())
        and config.train.precision == "float32"
        and config.model.units > MOST_UNITS_BEFORE_KERAS
        and config.train.batch_size > MOST_WINDOWS_BEFORE_KERAS
    )


def possible_plans(config: RunConfig, device: Device) -> dict[str, Plan]:
    """The plans that this GPU can run, by way: at most one for small and one for large batches."""
    found = {CHAINS: _cut(config, device, large=False), TILES: _cut(config, device, large=True)}
    return {way: plan for way, plan in found.items() if plan and (way == TILES) == (plan.tiles > 0)}


def fastest(config: RunConfig, device: Device, ways: tuple[str, ...]) -> str | None:
    """The fastest of several ways, as measured on such a card; None: that was not measured."""
    network, card = network_of(config), card_of(device)
    # A run that is to give the same bits again must not depend on what is measured in the meantime.
    for table in tables_for(card, own=not config.train.deterministic):
        if way := table.fastest(network, ways, card.multiprocessors):
            return way
    return None


def card_of(device: Device) -> Card:
    """What speeds depend on of a GPU."""
    return Card(device.name, device.capability, device.multiprocessors, device.driver)


def network_of(config: RunConfig) -> Network:
    """What speeds depend on of a configuration."""
    return Network(
        precision=config.train.precision,
        layers=config.model.layers,
        window=config.data.window,
        features=len(config.data.features),
        dropout=config.model.dropout > 0,
        units=config.model.units,
        batch=config.train.batch_size,
    )


def _limit(model: ModelConfig, device: Device) -> str:
    """Which limit of the engine the network exceeds, or ""."""
    if model.layers > MAX_LAYERS:
        return f"takes up to {MAX_LAYERS} layers on a GPU, and model.layers is {model.layers}"
    if model.units > MAX_UNITS:
        return f"takes up to {MAX_UNITS} units on a GPU, and model.units is {model.units}"
    if device.capability < (8, 0):
        return f"needs a GPU of compute capability 8.0 or newer, and this one has {device.capability}"
    return ""


def _no_room(model: ModelConfig, device: Device) -> str:
    return f"shares {model.units} units among more multiprocessors than this process has: {device.multiprocessors}"


def _cut(config: RunConfig, device: Device, *, large: bool | None) -> Plan | None:
    return plan.plan(
        config.model.units,
        len(config.data.features),
        config.train.batch_size,
        layers=config.model.layers,
        parts=PARTS[config.train.precision],
        dropout=config.model.dropout > 0,
        capability=device.capability,
        clusters=device.resident_clusters,
        large=large,
    )
