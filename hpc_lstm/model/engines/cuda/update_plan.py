"""How kernels/lstm_update.cu is cut."""

from __future__ import annotations

from hpc_lstm.model.engines.cuda.plan import Plan

# Of a matrix's tile; numbers of a block of a bias or the dense weights.
TILE_INPUTS, GATES, FEW_NUMBERS = 8, 4, 64
# Numbers of the network's matrices from which on smaller tiles are faster (measured on an H100).
MANY = 1 << 20


def tile_units(plan: Plan, layers: int) -> int:
    """Units of a matrix's tile, which is one block's."""
    numbers = sum(4 * plan.units * (plan.units + plan.input_width(layer)) for layer in range(layers))
    return 8 if numbers > MANY else 16


def sum_threads(plan: Plan, layers: int) -> int:
    """Threads of a block that adds up parts: one for each number of a tile."""
    return TILE_INPUTS * GATES * tile_units(plan, layers)
