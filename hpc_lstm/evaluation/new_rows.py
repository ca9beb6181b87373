"""Which rows of a market store are new to a trained run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_lstm.errors import InputError
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from hpc_lstm.market.known_rows import Growth, KnownRows, RowComparison
    from hpc_lstm.market.store import MarketStore


def known_rows(files: RunDirectory, world: World) -> KnownRows | None:
    """The rows that the run's model knows; None of a run of a version that did not record them. Collective.

    Raises:
        InputError: the file is damaged.
    """
    from hpc_lstm.market.known_rows import KnownRows

    def load() -> KnownRows | None:
        return KnownRows.load(files.rows) if world.rank == 0 and files.rows.exists() else None

    return world.bcast(world.raise_on_all(load))


def compare_with_run(
    files: RunDirectory, store: MarketStore, world: World, symbol: str | None = None
) -> RowComparison | None:
    """Compare a store with the rows that the run's model knows; None where they are not known. Collective.

    Args:
        symbol: compare this one alone; None: all that the run knows, and others of which its features take means.

    Raises:
        InputError: the store or the run's file is damaged.
    """
    from hpc_lstm.market.known_rows import compare_rows

    known = known_rows(files, world)
    if symbol is not None:
        return compare_symbol(known, store, world, symbol)
    if known is None:
        return None
    found = compare_rows(known, store, world)
    others = None if found.difference else _other_rows(files, world)
    if others is not None and (changed := compare_rows(others, store, world).difference):
        return replace(found, difference=f"{changed}, of which features take the mean of all symbols")
    return found


def _other_rows(files: RunDirectory, world: World) -> KnownRows | None:
    """The rows of symbols that the run was not trained on, which its features take means of; collective."""
    from hpc_lstm.market.known_rows import KnownRows

    return world.bcast(
        world.raise_on_all(lambda: KnownRows.load_others(files.rows) if world.rank == 0 else None)
    )


def compare_symbol(
    known: KnownRows | None, store: MarketStore, world: World, symbol: str
) -> RowComparison | None:
    """Compare a store's rows of one symbol with those that a run's model knows; None without any. Collective.

    Args:
        known: ``known_rows`` of the run.

    Raises:
        InputError: the store is damaged.
    """
    from hpc_lstm.market.known_rows import compare_rows

    if known is None or symbol not in known.symbols:
        return None
    return compare_rows(known.of([symbol]), store, world)


def refuse_other_prices(files: RunDirectory, path: Path, world: World, advice: str) -> None:
    """Refuse a store that contradicts the rows that a finished run was trained on; collective.

    Args:
        path: of the market store.
        advice: what to do then.

    Raises:
        InputError: it does; or the store or the run's file is damaged.
    """
    from hpc_lstm.market.store import MarketStore

    with world.raise_on_all(lambda: MarketStore(path)) as store:
        found = compare_with_run(files, store, world)
    if found is not None and found.difference:
        raise world.on_all_ranks(
            InputError(f"{files.path}: was trained on other prices: {found.difference}; {advice}")
        )


def new_rows_note(growth: Growth, unit: str, table: dict[str, Any] | None) -> list[str]:
    """A sentence on the rows that are new to the run, if there are any.

    Args:
        unit: of the store's dates.
        table: metrics of the part "new".
    """
    if not growth.rows:
        return []
    windows = table["windows"] if table else 0
    return [
        f"Rows {growth.after(unit)} are new to this run: {counted(windows, 'window')}. "
        "Validation and test are those of the run."
    ]
