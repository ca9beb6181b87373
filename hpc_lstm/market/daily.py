"""Whether prices are daily or intraday, and which day a daily price belongs to.

Daily are prices of which no symbol has two on one day, if all stand at midnight, or at one or a few times of day: an
exchange's midnight or close in the clock of another zone moves by an hour in summer, and early closes are others. The
last row of a symbol may have any time: that of the download, while the exchange was open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.dates import DAY, NO_ZONE, local_times

HOUR = DAY // 24
# A time in UTC that may be the midnight at which the next day begins in Europe, Asia or Australia, or a time of the
# American session: only weekdays tell which.
_MAY_BE_MIDNIGHT = {int(hour * HOUR) for hour in (13, 14, 15, 16, 17, 17.5, 18, 18.5, 19, 22, 23)}


@dataclass(frozen=True)
class Calendar:
    """How times become dates.

    Attributes:
        unit: "D" for daily prices, "ns" for intraday ones.
        timezone: daily prices with an offset take their date in this zone; None: their date as written.
        shift: days that are added to a date as written in UTC.
    """

    unit: str
    timezone: str | None = None
    shift: int = 0

    def dates(self, wall: np.ndarray, zone: np.ndarray) -> np.ndarray:
        """Dates in the store's unit, int64 [n], of local times and their offsets from UTC."""
        if self.unit == "ns":
            return wall - np.where(zone == NO_ZONE, 0, zone).astype(np.int64) * 1_000_000_000
        if self.timezone is not None and (zone != NO_ZONE).any():
            instants = wall - np.where(zone == NO_ZONE, 0, zone).astype(np.int64) * 1_000_000_000
            wall = np.where(zone == NO_ZONE, wall, local_times(instants, self.timezone))
        days = wall // DAY
        if self.shift:
            days = days + np.where((zone == 0) & (wall % DAY != 0), self.shift, 0)
        return days


def find_calendar(groups: Iterable[np.ndarray], timezone: str | None, output: str) -> Calendar:
    """Decide, of prices with times of day, whether they are daily.

    Args:
        groups: records of whole symbols, with fields symbol, wall and zone.
        timezone: that the user gave.
        output: for messages.

    Raises:
        PriceFileError: they are daily, but the day of each depends on the time zone.
    """
    rows = after_first = 0
    times: set[int] = set()
    weekdays = np.zeros(7, np.int64)
    in_utc: set[int] = set()
    for records in groups:
        order = np.lexsort((records["wall"], records["symbol"]))
        symbol, wall, zone = (records[name][order] for name in ("symbol", "wall", "zone"))
        if timezone is not None:
            wall = Calendar("ns").dates(wall, zone)
            wall = np.where(zone == NO_ZONE, wall, local_times(wall, timezone))
        same_symbol = symbol[1:] == symbol[:-1]
        day = wall // DAY
        last = np.append(~same_symbol, True)
        twice = same_symbol & (day[1:] == day[:-1]) & (wall[1:] != wall[:-1])
        if (twice & ~_live(symbol, wall, last)).any():
            return Calendar("ns")
        times.update(np.unique((wall % DAY)[~last]).tolist())
        if len(times) > 4:
            return Calendar("ns")
        rows += len(wall)
        after_first += int(same_symbol.sum())
        shifted = (zone == 0) & (wall % DAY != 0)
        in_utc.update(np.unique((wall % DAY)[shifted & ~last]).tolist())
        weekdays += np.bincount((day[shifted] + 3) % 7, minlength=7)  # Monday is 0
    if not after_first or (len(times) > 2 and rows < 4 * len(times)):
        return Calendar("ns")
    if timezone is not None or not in_utc:
        return Calendar("D", timezone)
    return Calendar("D", None, _shift(weekdays, in_utc, output))


def _live(symbol: np.ndarray, wall: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Pairs of rows, bool [n - 1], of which the second is its symbol's last, and all others stand at midnight."""
    midnight = wall % DAY == 0
    begin = np.flatnonzero(np.append(True, symbol[1:] != symbol[:-1]))
    lengths = np.diff(np.append(begin, len(symbol)))
    others = np.repeat(np.add.reduceat(midnight | last, begin) == lengths, lengths)
    return np.asarray((last & others & (np.repeat(lengths, lengths) > 2))[1:])


def _shift(weekdays: np.ndarray, times: set[int], output: str) -> int:
    """1 if times in UTC are those at which the next day begins elsewhere: there are Sundays, but no Fridays."""
    friday, saturday, sunday = weekdays[4:].tolist()
    if sunday and not friday and not saturday:
        return 1
    if not friday and not sunday and not saturday and times & _MAY_BE_MIDNIGHT:
        time = sorted(times & _MAY_BE_MIDNIGHT)[0]
        clock = f"{time // HOUR:02}:{time % HOUR * 60 // HOUR:02}"
        raise PriceFileError(
            f"{output}: the prices are daily and stand at {clock} UTC, which is midnight of the next day in some "
            "places; give --timezone, such as Europe/Berlin or America/New_York"
        )
    return 0
