"""Which symbols can be trained on: all rows of a run are looked at before its first step, whatever part they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.market.known_rows import KnownRows, known_by
from hpc_lstm.market.row_hashes import hash_rows
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.prepare import chosen_symbols

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Symbols that a message names.
NAMED = 20


def know_usable_rows(
    store: MarketStore, data: DataConfig, columns: ModelColumns, world: World
) -> tuple[KnownRows, list[int]]:
    """All rows of the chosen symbols, and which symbols are left out; collective.

    Each rank reads its share of the rows once, for the hashes by which a later start knows them and for this.

    Returns:
        The rows of the symbols that are not left out, and numbers in the store of those that are:
        with ``data.unusable = "leave-out"`` those with a value that is not finite, or not above 0 where it must be.

    Raises:
        InputError: there are such symbols and none is to be left out: it names them; or all of them are.
        StoreError: the store cannot be read, on some rank.
    """
    symbols = np.array(world.raise_on_all(lambda: chosen_symbols(store, data)), np.int64)
    rows, numbers = np.diff(store.offsets)[symbols], columns.numbers
    positions = {number: position for position, number in enumerate(numbers)}

    def usable(values: np.ndarray) -> np.ndarray:
        return np.logical_and.reduce(
            [columns.usable_values(values[:, positions[number]], number) for number in numbers]
        )

    hashes = hash_rows(store, numbers, symbols.tolist(), rows, world, usable)
    # One that is too short for a window is not computed with.
    long = rows >= data.window + data.longest_horizon
    unusable = long & (hashes.unusable >= 0)
    known = known_by(hashes, store, numbers, symbols)
    if not unusable.any():
        return known, []
    names = [store.symbols[symbol] for symbol in symbols[unusable]]
    if data.unusable == "refuse" or (unusable == long).all():
        first, row = int(symbols[unusable][0]), int(hashes.unusable[unusable][0])
        what = world.raise_on_all(lambda: _describe(store, columns, first, row))
        raise world.on_all_ranks(InputError(f"{store.path}: {what}; {_advice(names)}"))
    kept = known.of([store.symbols[symbol] for symbol in symbols[~unusable]])
    return kept, symbols[unusable].tolist()


def _describe(store: MarketStore, columns: ModelColumns, symbol: int, row: int) -> str:
    """The first value of a symbol's row that cannot be computed with."""
    at = int(store.offsets[symbol]) + row
    values = store.rows(at, at + 1)
    number = next(n for n in columns.numbers if not columns.usable(values, n)[0])
    date = store.dates(at, at + 1).astype(f"datetime64[{store.date_unit}]")[0]
    user = columns.positive.get(number)
    expected = f"a number above 0, which {user} needs" if user else "a finite number"
    return (
        f'symbol {store.symbols[symbol]}, column "{columns.store_columns[number]}", {date}: '
        f"is {values[0, number]}, must be {expected}"
    )


def _advice(names: list[str]) -> str:
    """What to do about all symbols with such a value."""
    if len(names) == 1:
        return (
            "clean it and import again, or leave the symbol or the column out of [data], or set "
            'data.unusable = "leave-out"'
        )
    few = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    return (
        f"{len(names):,} symbols have such a value: {few}; clean them and import again, or set "
        'data.unusable = "leave-out"'
    )
