"""The kinds of synthetic prices.

To add one: a file with a subclass of ``Universe``, a line here, and a line in docs/data.md.
"""

from __future__ import annotations

from hpc_lstm.errors import InputError
from hpc_lstm.market.universes.autoregressive import Autoregressive
from hpc_lstm.market.universes.heavy_tailed import HeavyTailed
from hpc_lstm.market.universes.regime_switching import RegimeSwitching
from hpc_lstm.market.universes.universe import Universe

UNIVERSES: tuple[Universe, ...] = (Autoregressive(), RegimeSwitching(), HeavyTailed())


def names() -> tuple[str, ...]:
    """All kinds."""
    return tuple(universe.name for universe in UNIVERSES)


def universe_named(name: str) -> Universe:
    """The universe of a kind.

    Raises:
        InputError: there is none.
    """
    for universe in UNIVERSES:
        if universe.name == name:
            return universe
    raise InputError(f'there is no kind "{name}" of synthetic prices; there are {", ".join(names())}')
