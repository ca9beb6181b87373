"""Which rows of a market store a run knows, kept so that a later start can tell new rows from changed ones.

A store that only has more than a run knows (newer rows at the ends of its symbols, further symbols) has *grown*. Any
other difference makes it another store.

``rows.h5`` of a run directory holds it: attributes ``format``, ``version``, ``date_unit``; data sets ``columns`` and
``symbols`` as text, ``rows`` and ``last`` int64 [S], ``digests`` uint8 [S, 32], ``checks`` uint16 [R]. A group
``others`` holds the same, without checks, of symbols that a run is not trained on and of which its features take means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.hdf5.reading import UNREADABLE, own_dataset, sound_hdf5
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.market.row_hashes import HASH_BYTES, RowHashes, first_difference, hash_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_format import DATE_UNITS
from hpc_lstm.parallel.world import World

FORMAT = "hpc_lstm known rows"
VERSION = 1
# The group of other symbols' rows.
OTHERS = "others"
_KINDS = {"rows": np.int64, "last": np.int64, "digests": np.uint8, "checks": np.uint16}


@dataclass(frozen=True)
class KnownRows:
    """The rows of S symbols, as far as a run uses them.

    Attributes:
        columns: names of the store's columns that the run uses.
        date_unit: of the store, "D" or "ns".
        symbols: S names.
        rows: int64 [S], how many rows each has.
        last: int64 [S], date of each one's last row; 0 where there is none.
        digests: uint8 [S, 32], SHA-256 of each one's rows.
        checks: uint16 [R], a hash of each row; empty where they were not kept.
    """

    columns: tuple[str, ...]
    date_unit: str
    symbols: tuple[str, ...]
    rows: np.ndarray
    last: np.ndarray
    digests: np.ndarray
    checks: np.ndarray

    @property
    def last_date(self) -> int:
        """The newest date of all."""
        return int(self.last.max(initial=0))

    def of(self, symbols: Sequence[str]) -> KnownRows:
        """The same of some of the symbols."""
        if tuple(symbols) == self.symbols:
            return self
        numbers = {name: number for number, name in enumerate(self.symbols)}
        chosen = np.array([numbers[name] for name in symbols], np.int64)
        return KnownRows(
            *(self.columns, self.date_unit, tuple(symbols)),
            *(self.rows[chosen], self.last[chosen], self.digests[chosen]),
            checks=np.concatenate([self.checks[:0], *(self.checks_of(name) for name in symbols)]),
        )

    def checks_of(self, symbol: str) -> np.ndarray:
        """``checks`` of one symbol's rows; empty where they are not known."""
        if not len(self.checks) or symbol not in self.symbols:
            return self.checks[:0]
        number = self.symbols.index(symbol)
        before = int(self.rows[:number].sum())
        return self.checks[before : before + int(self.rows[number])]

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all of it."""
        whole = hashlib.sha256(json.dumps([self.columns, self.date_unit, self.symbols]).encode())
        whole.update(self.digests.tobytes())
        return whole.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: all but the checks of single rows."""
        return {
            "columns": json.dumps(self.columns),
            "date_unit": self.date_unit,
            "symbols": json.dumps(self.symbols),
            "rows": self.rows,
            "last": self.last,
            "digests": self.digests,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> KnownRows:
        """From what ``state_dict`` returned.

        Raises:
            KeyError, ValueError, TypeError: it is something else.
        """
        known = cls(
            columns=tuple(json.loads(state["columns"])),
            date_unit=str(state["date_unit"]),
            symbols=tuple(json.loads(state["symbols"])),
            rows=np.asarray(state["rows"], np.int64),
            last=np.asarray(state["last"], np.int64),
            digests=np.asarray(state["digests"], np.uint8),
            checks=np.empty(0, np.uint16),
        )
        known.check()
        return known

    def check(self) -> None:
        """Refuse what no store can have.

        Raises:
            ValueError: its parts do not match.
        """
        count = len(self.symbols)
        sound = (
            all(isinstance(name, str) for name in (*self.columns, *self.symbols))
            and len(set(self.symbols)) == count
            and self.date_unit in DATE_UNITS
            and (self.rows.shape, self.last.shape) == ((count,), (count,))
            and self.digests.shape == (count, HASH_BYTES)
            and (self.rows >= 0).all()
            and self.checks.shape in ((0,), (int(self.rows.sum()),))
        )
        if not sound:
            raise ValueError("its parts do not match")

    def save(self, path: str | Path, others: KnownRows | None = None) -> None:
        """Write the file whole or not at all.

        Args:
            others: rows of other symbols of the same store, of which features take means; without their checks.

        Raises:
            InputError: disk full or no permission.
        """
        with whole_hdf5(path) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["date_unit"] = self.date_unit
            self._write_into(file, self.checks)
            if others is not None:
                others._write_into(file.create_group(OTHERS), others.checks[:0])

    def _write_into(self, group: h5py.Group, checks: np.ndarray) -> None:
        text = h5py.string_dtype()
        for name in ("columns", "symbols"):
            group.create_dataset(name, data=list(getattr(self, name)), dtype=text)
        for name in ("rows", "last", "digests"):
            group.create_dataset(name, data=getattr(self, name))
        group.create_dataset("checks", data=checks)

    @classmethod
    def load(cls, path: str | Path) -> KnownRows:
        """Read what ``save`` wrote.

        Raises:
            InputError: it is missing, of a newer version, or damaged.
        """
        return cls._load(path, "")

    @classmethod
    def load_others(cls, path: str | Path) -> KnownRows | None:
        """Read what ``save`` wrote of other symbols; None if it wrote nothing of them.

        Raises:
            InputError: as ``load``.
        """
        return cls._load(path, f"{OTHERS}/")

    @classmethod
    def _load(cls, path: str | Path, place: str) -> Any:
        try:
            with sound_hdf5(path) as file:
                if str(file.attrs["format"]) != FORMAT or int(file.attrs["version"]) > VERSION:
                    raise ValueError("not of a version that this program knows")
                if place and OTHERS not in file:
                    return None
                known = cls(
                    columns=tuple(own_dataset(file, f"{place}columns").asstr()[:].tolist()),
                    date_unit=str(file.attrs["date_unit"]),
                    symbols=tuple(own_dataset(file, f"{place}symbols").asstr()[:].tolist()),
                    **{
                        name: own_dataset(file, f"{place}{name}")[:].astype(kind)
                        for name, kind in _KINDS.items()
                    },
                )
            known.check()
        except UNREADABLE as error:
            reason = " ".join(str(error).split())
            damaged = (
                f"cannot be read ({reason}); restore an intact copy, or remove it: the run then no longer tells new "
                "rows from old ones"
            )
            raise InputError(f"{path}: {why_unreadable(error, damaged)}") from None
        return known


@dataclass(frozen=True)
class Growth:
    """What a store has beyond the rows that a run knows.

    Attributes:
        before: the rows that the run knows.
        known: int64 [store symbols], rows of each that the run knows; 0 of one that it does not know.
        rows: new rows of symbols that the run knows.
        symbols: how many of them have new rows.
        new_symbols: names of chosen symbols that it does not know.
        last_known: the oldest and the newest of the dates after which those of a symbol begin; 0 without one.
    """

    before: KnownRows
    known: np.ndarray
    rows: int
    symbols: int
    new_symbols: tuple[str, ...]
    last_known: tuple[int, int]

    def __bool__(self) -> bool:
        return bool(self.rows or self.new_symbols)

    def after(self, unit: str) -> str:
        """ "after 2024-05-31", or the first and last such date where symbols differ."""
        first, last = (_date(date, unit) for date in self.last_known)
        return f"after {last}" if first == last else f"after {first} to {last}"


def know_rows(
    store: MarketStore, columns: Sequence[int], symbols: Sequence[int] | np.ndarray, world: World
) -> KnownRows:
    """All rows that a store has now of some symbols; collective.

    Args:
        columns, symbols: numbers in the store.

    Raises:
        StoreError: the store cannot be read, on some rank.
    """
    chosen = np.asarray(symbols, np.int64)
    rows = np.diff(store.offsets)[chosen]
    return known_by(hash_rows(store, columns, chosen.tolist(), rows, world), store, columns, chosen)


def known_by(hashes: RowHashes, store: MarketStore, columns: Sequence[int], symbols: np.ndarray) -> KnownRows:
    """All rows that a store has of some symbols, from the hashes of all of them."""
    return KnownRows(
        columns=tuple(store.columns[number] for number in columns),
        date_unit=store.date_unit,
        symbols=tuple(store.symbols[number] for number in symbols),
        rows=np.diff(store.offsets)[symbols],
        last=hashes.last,
        digests=hashes.digests,
        checks=hashes.checks,
    )


@dataclass(frozen=True)
class RowComparison:
    """How a store compares with the rows that a run knows.

    Attributes:
        difference: in words, how it contradicts them; "" if it has the same rows, or has grown.
        growth: what it has beyond them; None where rows no longer lie where they lay, so that new ones cannot be told.
    """

    difference: str
    growth: Growth | None


def compare_rows(
    known: KnownRows,
    store: MarketStore,
    world: World,
    *,
    chosen: Sequence[str] | None = None,
    detail: KnownRows | None = None,
) -> RowComparison:
    """Compare a store with the rows that a run knows; collective.

    Args:
        chosen: names of the store's symbols that count; None: all.
        detail: where ``checks`` of the same rows may be found if ``known`` has none; on rank 0.

    Raises:
        StoreError: the store cannot be read, on some rank.
    """
    names = store.symbols if chosen is None else list(chosen)
    if known.date_unit != store.date_unit:
        return RowComparison(f"its dates are in {store.date_unit}, not in {known.date_unit}", None)
    if lost := [name for name in known.columns if name not in store.columns]:
        return RowComparison(f"it has no column {lost[0]}", None)
    there = set(names)
    lost = [name for name in known.symbols if name not in there]
    present = known.of([name for name in known.symbols if name in there])
    numbers = {name: number for number, name in enumerate(store.symbols)}
    symbols = [numbers[name] for name in present.symbols]
    rows = np.diff(store.offsets)[symbols]
    columns = [store.columns.index(name) for name in known.columns]
    hashes = hash_rows(store, columns, symbols, np.minimum(rows, present.rows), world)
    shorter, moved = rows < present.rows, hashes.last != present.last
    different = shorter | (hashes.digests != present.digests).any(axis=1)
    growth = None if (shorter | moved).any() else _growth(present, store, symbols, rows, names)
    if lost:
        more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        return RowComparison(f"it has no symbol {lost[0]}{more}", growth)
    if not different.any():
        return RowComparison("", growth)
    which = int(np.argmax(different))

    def describe() -> str:
        if world.rank:
            return ""
        checks = (known if len(known.checks) else detail or known).checks_of(known.symbols[which])
        return _difference(known, store, columns, which, symbols[which], checks)

    others = int(different.sum()) - 1
    more = f"; so do {others:,} other symbols" if others > 1 else "; so does 1 other symbol" if others else ""
    return RowComparison(world.bcast(world.raise_on_all(describe)) + more, growth)


def _growth(
    known: KnownRows, store: MarketStore, symbols: list[int], rows: np.ndarray, names: Sequence[str]
) -> Growth:
    counts = np.zeros(len(store.symbols), np.int64)
    counts[symbols] = known.rows
    grown = np.flatnonzero(rows > known.rows)
    last = known.last[grown][known.rows[grown] > 0]
    old = set(known.symbols)
    return Growth(
        before=known,
        known=counts,
        rows=int((rows - known.rows).sum()),
        symbols=len(grown),
        new_symbols=tuple(name for name in names if name not in old),
        last_known=(int(last.min(initial=known.last_date)), int(last.max(initial=0))),
    )


def _difference(
    known: KnownRows, store: MarketStore, columns: list[int], which: int, symbol: int, checks: np.ndarray
) -> str:
    """In words, where a symbol first differs; on one rank."""
    name, start = known.symbols[which], int(store.offsets[symbol])
    rows = int(store.offsets[symbol + 1]) - start
    row = first_difference(store, columns, symbol, checks[: int(known.rows[which])])
    if row is not None:
        date = store.dates(start + row, start + row + 1)[0]
        return f"{name} differs from {_date(date, known.date_unit)} on"
    if rows < int(known.rows[which]):
        return f"{name} has {rows:,} rows where there were {int(known.rows[which]):,}"
    return f"{name} differs somewhere up to {_date(known.last[which], known.date_unit)}"


def _date(date: int | np.int64, unit: str) -> str:
    return str(
        np.array(date, f"datetime64[{unit}]").astype("datetime64[D]" if unit == "D" else "datetime64[s]")
    )
