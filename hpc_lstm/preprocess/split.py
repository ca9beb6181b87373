"""Which of each symbol's windows train, validate and test: by date, or by each symbol's own windows.

By date: all symbols are split on the same two days, the last train day and the last validation day.

    train        the target is on or before the last train day
    validation   the last row is on or after the last train day, the target on or before the last validation day
    test         the last row is on or after the last validation day

So a forecast of validation and test is made when all that the model was trained on has happened, whichever symbols it
was trained on. With an embargo the parts before end so many days earlier, and validation and test begin where they do
without one. The train part may begin and the test part end on other days than the first and the last. With a horizon
above 1, the windows between whose last row and target the border lies are in no part. A window's earlier rows may
lie before the border: they are known when the forecast is made.

Shares are of the days on which there is a target. Where all symbols have the same days and the horizon is 1, both
splits are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Shares are decimal: 0.7 * 10 windows are 7, though the float product is just below.
ROUNDING = 1e-9
# Dates that are collected before they are made distinct: 8 MB.
DATES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class SplitDates:
    """Where a split by date cuts, in the store's unit.

    Attributes:
        train_end: the last day of a train target.
        validation_end: the last day of a validation target; ``train_end`` where there is no validation.
        validation_opens, test_opens: the first day of a validation or test window's last row; None: ``train_end`` and
            ``validation_end``, without an embargo.
        train_begin: the first day of a train target; None: the first there is.
        test_end: the last day of a test target; None: the last there is.
    """

    train_end: int
    validation_end: int
    validation_opens: int | None = None
    test_opens: int | None = None
    train_begin: int | None = None
    test_end: int | None = None

    def texts(self, unit: str) -> dict[str, str]:
        """As files have them; ``unit`` is the store's, "D" or "ns"."""
        return {
            name: str(np.array(day, f"datetime64[{unit}]"))
            for name, day in zip(_NAMES, self._days, strict=True)
            if day is not None
        }

    @classmethod
    def from_texts(cls, texts: dict[str, str], unit: str) -> SplitDates:
        """What ``texts`` gave; where the store's dates are finer a day stands for its end, or its start at a beginning.

        Raises:
            KeyError, ValueError: texts of something else.
        """
        train, validation = (_end(texts[name], unit) for name in _NAMES[:2])
        later = (
            (_start if name == "train_begins" else _end)(texts[name], unit) if name in texts else None
            for name in _NAMES[2:]
        )
        return cls(train, validation, *later)

    @property
    def _days(self) -> tuple[int | None, ...]:
        return (
            self.train_end,
            self.validation_end,
            self.validation_opens,
            self.test_opens,
            self.train_begin,
            self.test_end,
        )


# As files call the days of ``SplitDates``; older ones have the first two.
_NAMES = ("train_ends", "validation_ends", "validation_opens", "test_opens", "train_begins", "test_ends")


@dataclass(frozen=True)
class Bounds:
    """Where each part of each symbol's windows begins and ends; S symbols.

    Attributes:
        start, stop: int64 [4, S], of train, validation, test and new windows, numbered within the symbol.
    """

    start: np.ndarray
    stop: np.ndarray


def split_by_symbol(
    rows: np.ndarray, all_rows: np.ndarray, window: int, horizon: int, shares: Sequence[float]
) -> Bounds:
    """Split each symbol's windows by shares, in order of date.

    Args:
        rows: int64 [S], the first rows of each symbol that are split.
        all_rows: int64 [S], rows of each; windows with later targets are new.
    """
    total, end = (np.maximum(0, count - window - horizon + 1) for count in (rows, all_rows))
    train = np.minimum(total, np.floor(total * shares[0] + ROUNDING).astype(np.int64))
    seen = np.floor(total * (shares[0] + shares[1]) + ROUNDING).astype(np.int64)
    seen = total if shares[2] == 0 else np.clip(seen, train, total)
    edges = np.stack([np.zeros_like(train), train, seen, total, end])
    return Bounds(edges[:-1], edges[1:])


def split_by_date(
    store: MarketStore,
    chosen: np.ndarray,
    rows: np.ndarray,
    data: DataConfig,
    world: World,
    dates: SplitDates | None = None,
) -> tuple[Bounds, SplitDates]:
    """Split the windows of all symbols on the same days; collective.

    Each rank reads the dates of its share of the symbols, not their prices.

    Args:
        chosen: int64 [S], numbers of the symbols in the store.
        rows: int64 [S], the first rows of each that are split; windows with later targets are new.
        dates: cut here instead of where ``data.split`` says.

    Raises:
        InputError: no target lies in the train part, or the store cannot be read, on some rank.
    """
    mine = slice(len(chosen) * world.rank // world.size, len(chosen) * (world.rank + 1) // world.size)
    lead = data.window + data.longest_horizon - 1  # rows before a symbol's first target
    if dates is None:
        found = world.raise_on_all(lambda: _target_days(store, chosen[mine], rows[mine], lead))
        days = _distinct(np.concatenate(world.allgather(found)))
        if not len(days):
            raise world.on_all_ranks(
                InputError(
                    f"data.window = {data.window} and data.horizon = {data.longest_horizon} need symbols of more than "
                    f"{lead} rows, but the longest of {len(chosen)} has {int(rows.max(initial=0))}; shorten "
                    "data.window or take longer data"
                )
            )
        dates = world.raise_on_all(lambda: _cut(days, data, store.date_unit))
    cut = dates
    counts = world.raise_on_all(lambda: _rows_before(store, chosen[mine], rows[mine], cut))
    until_train, from_train, until_validation, from_validation, before_train, until_test = np.concatenate(
        world.allgather(counts), axis=1
    )
    all_rows = store.offsets[chosen + 1] - store.offsets[chosen]
    total, end = (np.maximum(0, count - lead) for count in (rows, all_rows))
    train = np.clip(until_train - lead, 0, total)
    first = np.clip(before_train - lead, 0, train)
    validation = np.clip(from_train - data.window + 1, train, total)
    seen = np.clip(until_validation - lead, validation, total)
    test = np.clip(from_validation - data.window + 1, seen, total)
    tested = np.clip(until_test - lead, test, total)
    return Bounds(np.stack([first, validation, test, total]), np.stack([train, seen, tested, end])), cut


def target_days(store: MarketStore, chosen: np.ndarray, data: DataConfig, world: World) -> np.ndarray:
    """Distinct days on which some symbol has a target, datetime64[D], ascending; collective.

    Args:
        chosen: int64 [S], numbers of the symbols in the store.
    """
    mine = chosen[len(chosen) * world.rank // world.size : len(chosen) * (world.rank + 1) // world.size]
    rows = store.offsets[mine + 1] - store.offsets[mine]
    found = world.raise_on_all(
        lambda: _target_days(store, mine, rows, data.window + data.longest_horizon - 1)
    )
    dates = distinct(np.concatenate(world.allgather(found)))
    return distinct(dates.astype(f"datetime64[{store.date_unit}]").astype("datetime64[D]"))


def _target_days(store: MarketStore, chosen: np.ndarray, rows: np.ndarray, lead: int) -> np.ndarray:
    """Distinct dates of the targets of some symbols, int64, ascending."""
    days, collected, count = np.empty(0, np.int64), [], 0
    for dates in _dates(store, chosen, rows):
        collected.append(dates[lead:])
        count += len(collected[-1])
        if count > DATES_AT_ONCE:
            days, collected, count = _distinct(np.concatenate([days, *collected])), [], 0
    return _distinct(np.concatenate([days, *collected]))


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """The distinct values of an array [n], ascending, as ``np.unique`` finds them without importing ``numpy.ma``."""
    ordered = np.sort(numbers)
    is_first = np.ones(len(ordered), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def _cut(days: np.ndarray, data: DataConfig, unit: str) -> SplitDates:
    """The last train day and the last validation day among all days that have a target."""
    if data.split_shares is not None:
        train, validation, test = data.split_shares
        edge = int(len(days) * train + ROUNDING)
        seen = int(len(days) * (train + validation) + ROUNDING) if test else len(days)
        where = f"data.split: a share of {train:g} of {len(days)} days that have a target"
    else:
        first = (data.split_dates or [""])[0]
        borders = np.array(data.split_dates, f"datetime64[{unit}]").astype(np.int64)
        edge, seen = np.searchsorted(days, borders).tolist()
        where = f'data.split: "{first}" as the first day of validation'
    if edge == 0:
        raise InputError(
            f"{where} leaves no day to train on; the first target is on "
            f"{_text(days[0], unit)}; with data.window = {data.window} and data.horizon = "
            f"{data.longest_horizon} a symbol's first target is its row {data.window + data.longest_horizon}: change "
            "data.split, shorten data.window or take longer data"
        )
    seen = max(edge, seen)
    return SplitDates(
        train_end=int(days[_without_embargo(edge, days, data, unit, where) - 1]),
        validation_end=int(
            days[(_without_embargo(seen, days, data, unit, where) if seen > edge else edge) - 1]
        ),
        validation_opens=int(days[edge - 1]) if data.embargo else None,
        test_opens=int(days[seen - 1]) if data.embargo else None,
        train_begin=_start(data.train_from, unit) if data.train_from else None,
        test_end=_end(data.until, unit) if data.until else None,
    )


def _without_embargo(edge: int, dates: np.ndarray, data: DataConfig, unit: str, where: str) -> int:
    """How many of the first ``edge`` target dates are left without the last days of the embargo.

    A day counts once, however many dates an intraday store has on it, and not where the part ends in its midst.
    """
    if not data.embargo:
        return edge
    day = dates.astype(f"datetime64[{unit}]").astype("datetime64[D]").astype(np.int64)
    whole = _distinct(day[:edge])
    if edge < len(day) and day[edge] == whole[-1]:
        whole = whole[:-1]
    if len(whole) <= data.embargo:
        raise InputError(
            f"{where} leaves {len(whole)} days to train on, of which data.embargo = {data.embargo} takes all"
        )
    return int(np.searchsorted(day, whole[-1 - data.embargo], side="right"))


def _rows_before(store: MarketStore, chosen: np.ndarray, rows: np.ndarray, cut: SplitDates) -> np.ndarray:
    """Rows of each symbol up to or before the days of a cut, int64 [6, symbols].

    Up to the last train day, before validation opens; up to the last validation day, before test opens; before the
    first train day, up to the last test day.
    """
    opens = cut.train_end if cut.validation_opens is None else cut.validation_opens
    test = cut.validation_end if cut.test_opens is None else cut.test_opens
    found = np.empty((6, len(chosen)), np.int64)
    for number, dates in enumerate(_dates(store, chosen, rows)):
        found[[0, 2], number] = np.searchsorted(dates, [cut.train_end, cut.validation_end], side="right")
        found[[1, 3], number] = np.searchsorted(dates, [opens, test], side="left")
        found[4, number] = 0 if cut.train_begin is None else np.searchsorted(dates, cut.train_begin)
        found[5, number] = (
            len(dates) if cut.test_end is None else np.searchsorted(dates, cut.test_end, "right")
        )
    return found


def _dates(store: MarketStore, chosen: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Dates of the first rows of each symbol, int64."""
    for symbol, count in zip(chosen.tolist(), rows.tolist(), strict=True):
        first = int(store.offsets[symbol])
        yield store.dates(first, first + count)


def _start(text: str, unit: str) -> int:
    """The first moment of a date that a file has, in ``unit``."""
    return int(np.datetime64(text).astype(f"datetime64[{unit}]").astype(np.int64))


def _end(text: str, unit: str) -> int:
    """The last moment of a date that a file has, in ``unit``."""
    day = np.datetime64(text)
    if np.datetime_data(day.dtype)[0] == "D" and unit != "D":
        following = day + np.timedelta64(1, "D")
        return int(following.astype(f"datetime64[{unit}]").astype(np.int64)) - 1
    return int(day.astype(f"datetime64[{unit}]").astype(np.int64))


def _text(day: np.int64, unit: str) -> str:
    return str(np.array(day, f"datetime64[{unit}]"))
