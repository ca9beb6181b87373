"""How kernels/lstm_update.cu is cut."""

from __future__ import annotations

from dataclasses import dataclass

from hpc_lstm.model.engines.cuda.plan import Plan

# Of a matrix's tile; numbers of a block of a bias or the dense weights.
TILE_INPUTS, GATES, FEW_NUMBERS = 8, 4, 64
# Numbers of the network's matrices from which on smaller tiles are faster (measured on an H100).
MANY = 1 << 20


@dataclass(frozen=True)
class UpdateCut:
    """How a launch is cut.

    Attributes:
        units: of a matrix's tile, which is one block's.
    """

    units: int

    @property
    def sum_threads(self) -> int:
        """Threads of a block that adds up parts: one for each number of a tile."""
        return TILE_INPUTS * GATES * self.units


def update_cut(plan: Plan, layers: int) -> UpdateCut:
    """The cut for a network."""
    numbers = sum(4 * plan.units * (plan.units + plan.input_width(layer)) for layer in range(layers))
    return UpdateCut(8 if numbers > MANY else 16)
