"""What a fetch asks for: interval and days, and what Yahoo keeps of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hpc_lstm.errors import InputError
from hpc_lstm.market.fetching import periods

# Days that Yahoo keeps of an interval, and days that one request may span.
INTRADAY_LIMITS = {
    "1m": (30, 7),
    "2m": (60, 60),
    "5m": (60, 60),
    "15m": (60, 60),
    "30m": (60, 60),
    "60m": (730, 730),
    "90m": (60, 60),
    "1h": (730, 730),
}
INTERVALS = (*periods.INTERVALS, *INTRADAY_LIMITS)


@dataclass(frozen=True)
class Request:
    """Interval and days to fetch.

    Attributes:
        interval: one of ``INTERVALS``.
        start: first day, in the exchange's time zone; of a week or a month the first day, too.
        end: the day after the last one; None: today, which is then the first day left out. A week or month that has
            not ended by then is left out.
        now: time of the request, seconds since 1970.
        allow_negative: keep prices that are zero or negative.
    """

    interval: str
    start: date
    end: date | None
    now: float
    allow_negative: bool = False

    @property
    def date_unit(self) -> str:
        """Of the store: "D" or "ns"."""
        return "D" if self.interval in periods.INTERVALS else "ns"

    @property
    def kind(self) -> str:
        """What rows must have in common to be joined: the interval, and what became of negative prices."""
        return f"{self.interval} allow-negative" if self.allow_negative else self.interval

    @property
    def earliest(self) -> date:
        """The first day of which Yahoo keeps this interval."""
        if self.interval not in INTRADAY_LIMITS:
            return date.min
        return local_day(self.now, "") - timedelta(days=INTRADAY_LIMITS[self.interval][0] - 1)

    def end_in(self, zone: str) -> date:
        """The day after the last one wanted, where the exchange's time zone is ``zone``."""
        return self.end or periods.period_start(local_day(self.now, zone), self.interval)

    def spans(self, first: date, end: date) -> Iterator[tuple[date, date]]:
        """``first`` to ``end`` in parts for which Yahoo can be asked at once."""
        if self.interval not in INTRADAY_LIMITS:
            yield first, end
            return
        days = timedelta(days=INTRADAY_LIMITS[self.interval][1])
        first = max(first, self.earliest)
        while first < end:
            yield first, min(first + days, end)
            first += days


def parse_request(
    interval: str, start: str, end: str | None, now: float, *, allow_negative: bool = False
) -> Request:
    """The request in a user's words.

    Raises:
        InputError: a date or the interval is wrong.
    """
    if interval not in INTERVALS:
        raise InputError(f'--interval: must be one of {", ".join(INTERVALS)}, got "{interval}"')
    days = []
    for option, text in (("--start", start), ("--end", end)):
        try:
            days.append(None if text is None else date.fromisoformat(text))
        except ValueError:
            raise InputError(f'{option}: must be a day such as 2015-01-31, got "{text}"') from None
    first, last = days
    assert first is not None
    if first >= (last or local_day(now, "") + timedelta(days=1)):
        raise InputError(f"--start {first} must be before --end {last or 'today'}")
    start_of, end_of = periods.next_period(first, interval), last and periods.period_start(last, interval)
    if start_of >= (end_of or periods.period_start(local_day(now, "") + timedelta(days=1), interval)):
        raise InputError(
            f"--interval {interval}: no whole {'week' if interval == '1wk' else 'month'} lies between {first} and "
            f"{last or 'today'}; give an earlier --start"
        )
    return Request(interval, start_of, end_of, now, allow_negative)


def require_kept(request: Request) -> None:
    """Refuse a first day of which Yahoo keeps nothing any more.

    Raises:
        InputError: what Yahoo keeps, and the first day that it does.
    """
    if request.start < request.earliest:
        kept = INTRADAY_LIMITS[request.interval][0]
        raise InputError(
            f"--start {request.start}: Yahoo keeps prices of every {request.interval} for {kept} days only; "
            f"use --start {request.earliest} or later, or --interval 1d"
        )


def local_day(now: float, zone: str) -> date:
    """The date at a time, seconds since 1970, in a time zone; in UTC if the zone is not known."""
    return datetime.fromtimestamp(now, zone_info(zone)).date()


def zone_info(zone: str) -> ZoneInfo | timezone:
    """The time zone of this name; UTC if there is none."""
    try:
        return ZoneInfo(zone) if zone else timezone.utc
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.utc
