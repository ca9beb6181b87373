"""Add what is new to a market store: newer rows of its symbols, and new symbols.

Rows that the store has already may come again; they must be the same. A row that contradicts the store, or would stand
between or before its rows, is refused: what was trained on the store would no longer be what is in it. The store is
replaced when the new one is complete; one symbol is held in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.market.events import Events, StoredEvents, event_datasets, no_events
from hpc_lstm.market.import_summary import ImportSummary
from hpc_lstm.market.importing import check_prices, import_prices
from hpc_lstm.market.options import ImportOptions
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter, output_path, write_errors
from hpc_lstm.market.symbol_names import require_distinct

# Prices written to a text and read again may differ in the last digit.
_TOLERANCE = 1e-9
_FETCHED = ("fetched/starts", "fetched/ends", "fetched/zones")


@dataclass(frozen=True)
class AppendSummary:
    """What was added to a store.

    Attributes:
        imported: what was found in the files.
        added: rows newer than the store's, by symbol of the store that had some.
        new: rows of symbols that the store did not have. same: number of rows that the store had already.
        checked: whether nothing was written.
    """

    imported: ImportSummary
    added: dict[str, int]
    new: dict[str, int]
    same: int
    checked: bool = False

    def table(self) -> str:
        """The summary as aligned text."""
        facts = [
            ("rows that were there already", self.same),
            ("newer rows", sum(self.added.values())),
            ("  of symbols", len(self.added)),
            ("new symbols", len(self.new)),
            ("  with rows", sum(self.new.values())),
        ]
        written = "would be added to" if self.checked else "added to"
        changed = written if self.added or self.new else "nothing new for"
        lines = [f"  {name:<34} {value:>12,}" for name, value in facts]
        return "\n".join([self.imported.table(), "", f"{changed} {self.imported.output}", *lines])


def append_prices(
    output: str, sources: Sequence[str | Path], options: ImportOptions | None = None, *, check: bool = False
) -> ImportSummary | AppendSummary:
    """Import prices and add them to a store; where there is none, make it.

    Args:
        output: the store. sources, options: as ``import_prices`` takes them. check: do all but write.

    Raises:
        StoreError: the prices contradict the store, or have other columns; the store stays as it is.
        InputError: by ``import_prices``.
    """
    target = output_path(output)
    if not target.exists():
        return check_prices(sources, options) if check else import_prices(sources, output, options)
    with (
        MarketStore(target) as store,
        write_errors(target),
        tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", dir=target.parent) as folder,
    ):
        addition = str(Path(folder) / target.name)
        try:
            imported = import_prices(sources, addition, options, continued=store)
        except InputError as error:
            raise type(error)(str(error).replace(addition, output)) from None
        imported.output = output
        with MarketStore(addition) as new:
            if options is None or options.symbol_case is None:
                require_distinct([*store.symbols, *new.symbols])
            return append_store(store, new, imported, check=check)


def append_store(
    store: MarketStore, new: MarketStore, imported: ImportSummary, *, check: bool = False
) -> AppendSummary:
    """Add a store's newer rows and new symbols to another store, which is replaced; with ``check`` it is left alone.

    Raises:
        StoreError: they contradict each other; nothing is written.
    """
    order = _column_order(store, new)
    numbers = {name: number for number, name in enumerate(new.symbols)}
    # All is checked before anything is written, as the last symbol may contradict the store.
    starts = {
        name: _first_new_row(store, number, new, numbers[name], order)
        for number, name in enumerate(store.symbols)
        if name in numbers
    }
    added = {name: _stop(new, numbers[name]) - start for name, start in starts.items()}
    added = {name: rows for name, rows in added.items() if rows}
    extra = [name for name in new.symbols if name not in starts]
    rows = {name: len(_rows(new, numbers[name])) for name in extra}
    same = sum(start - int(new.offsets[numbers[name]]) for name, start in starts.items())
    summary = AppendSummary(imported, added, rows, same, check)
    if (added or extra) and not check:
        _write(store, new, starts, extra, order)
    return summary


def _write(
    store: MarketStore, new: MarketStore, starts: dict[str, int], extra: list[str], order: list[int]
) -> None:
    attributes = {
        key: value
        for key, value in store.attributes.items()
        if key not in ("format", "version", "source", "created", "date_unit")
    }
    source = str(store.attributes.get("source", ""))
    if source.startswith(
        "synthetic"
    ):  # what is known of generated prices does not hold of those added to them
        source = f"imported, added to {source}"
    numbers = {name: number for number, name in enumerate(new.symbols)}
    with StoreWriter(
        store.path, store.columns, source, date_unit=store.date_unit, attributes=attributes
    ) as writer:
        for number, name in enumerate(store.symbols):
            first, stop = int(store.offsets[number]), _stop(store, number)
            dates, values = store.dates(first, stop), store.rows(first, stop)
            if name in starts:
                begin, end = starts[name], _stop(new, numbers[name])
                dates = np.append(dates, new.dates(begin, end))
                values = np.concatenate([values, new.rows(begin, end)[:, order]])
            writer.append(name, dates, values)
        for name in extra:
            begin, end = int(new.offsets[numbers[name]]), _stop(new, numbers[name])
            writer.append(name, new.dates(begin, end), new.rows(begin, end)[:, order])
        _keep_extras(store, writer, len(extra))


def _keep_extras(store: MarketStore, writer: StoreWriter, more: int) -> None:
    """What a fetch keeps beside the prices; the ``more`` new symbols have nothing of it."""
    if store.extra("splits/offsets") is not None:
        events = StoredEvents(store)
        none: dict[str, Events] = {"splits": no_events(), "dividends": no_events()}
        each = [{kind: events.of(kind, number) for kind in none} for number in range(len(store.symbols))]
        writer.extras |= event_datasets([*each, *[none] * more])
    starts, ends, zones = (store.extra(name) for name in _FETCHED)
    if starts is not None and ends is not None and zones is not None:
        missing = np.full(more, -1, np.int64)
        values = (np.append(starts, missing), np.append(ends, missing), [*map(str, zones), *[""] * more])
        writer.extras |= dict(zip(_FETCHED, values, strict=True))


def _column_order(store: MarketStore, new: MarketStore) -> list[int]:
    """Numbers of the new store's columns in the order of the old one's."""
    if store.date_unit != new.date_unit:
        kinds = {"D": "daily", "ns": "intraday"}
        raise StoreError(
            f"{store.path}: has {kinds[store.date_unit]} prices, the new ones are {kinds[new.date_unit]}; import them "
            "into another store"
        )
    if set(store.columns) != set(new.columns):
        raise StoreError(
            f"{store.path}: has the columns {', '.join(store.columns)}, the new prices have {', '.join(new.columns)}; "
            "append prices with the same columns, or import all files into a new store"
        )
    return [new.columns.index(name) for name in store.columns]


def _first_new_row(store: MarketStore, number: int, new: MarketStore, other: int, order: list[int]) -> int:
    """The first row of a symbol's new rows that the store does not have; those before must be the same."""
    first, stop = int(new.offsets[other]), _stop(new, other)
    dates = new.dates(first, stop)
    begin, end = int(store.offsets[number]), _stop(store, number)
    if begin == end or not len(dates):
        return first
    known = store.dates(begin, end)
    count = int(np.searchsorted(dates, known[-1], side="right"))
    at = np.searchsorted(known, dates[:count])
    inside = known[at] == dates[:count]
    if not inside.all():
        raise _refusal(
            store, number, int(dates[int(np.argmin(inside))]), "is not in the store, but later rows are"
        )
    if count:
        low, high = int(at[0]), int(at[-1]) + 1
        before = store.rows(begin + low, begin + high)[at - low]
        now = new.rows(first, first + count)[:, order]
        wrong = ~np.isclose(now, before, rtol=_TOLERANCE, atol=0)
        if wrong.any():
            row, column = (int(index) for index in np.argwhere(wrong)[0])
            raise _refusal(
                store,
                number,
                int(dates[row]),
                f"{store.columns[column]} is {before[row, column]:.12g} in the store and {now[row, column]:.12g} in "
                "the new prices",
            )
    return first + count


def _refusal(store: MarketStore, number: int, date: int, what: str) -> StoreError:
    when = str(np.array(date).astype(f"datetime64[{store.date_unit}]")).removesuffix(".000000000")
    return StoreError(
        f"{store.path}: {store.symbols[number]} {when}: {what}; only newer rows and new symbols are added: correct the "
        "files, or import all of them into a new store"
    )


def _rows(store: MarketStore, number: int) -> range:
    return range(int(store.offsets[number]), _stop(store, number))


def _stop(store: MarketStore, number: int) -> int:
    return int(store.offsets[number + 1])
