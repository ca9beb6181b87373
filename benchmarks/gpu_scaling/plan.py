"""What is measured: settings, turns in them, and in which order."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

OURS, TORCH = "hpc_lstm", "torch_ddp"


@dataclass(frozen=True)
class Cell:
    """A setting of the network and the batch.

    Attributes:
        batch: windows of a rank; with ``scaling`` "strong", of all ranks together.
    """

    scaling: str
    precision: str
    units: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.scaling}-{self.precision}-{self.units}-{self.batch}"

    def rank_batch(self, ranks: int) -> int:
        return self.batch // ranks if self.scaling == "strong" else self.batch


@dataclass(frozen=True)
class Turn:
    """One timed training in a cell."""

    peer: str
    ranks: int
    every: int = 1
    transport: str = "auto"

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.ranks}" + (f"-{self.transport}-{self.every}" if self.peer == OURS else "")


def axes(cell: Cell) -> dict[str, Any]:
    """The settings of a cell, by their keys."""
    return {
        "train.precision": cell.precision,
        "model.units": cell.units,
        "train.batch_size": cell.batch,
    }


def run_name(cell: Cell, turn: Turn, repeat: int) -> str:
    """The name of a run, the same in every call."""
    return f"{cell.name}-{turn.name}-r{repeat:02d}"


def plan(options: argparse.Namespace) -> list[tuple[Cell | None, int]]:
    """Cells with the repeats to bring them to, in the order of their value; None: the two clusters."""
    cells = [(p, u, b) for p in options.precisions for u in options.units for b in options.batches]
    weak = [Cell("weak", *one) for one in cells]
    strong = [Cell("strong", *one) for one in cells if one[2] == options.batches[0]]
    fewer = min(options.repeats, options.first_repeats)
    found: list[tuple[Cell | None, int]] = [(weak[0], options.repeats)]
    found += [(cell, options.repeats) for cell in weak[1 : len(options.batches)]]
    found += [(None, 1), (strong[0], fewer)]
    found += [(cell, fewer) for cell in [*weak[len(options.batches) :], *strong[1:]]]
    return found + [(cell, options.repeats) for cell in [*weak, *strong]]
