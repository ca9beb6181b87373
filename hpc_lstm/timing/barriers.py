"""The barriers that a run's ranks passed: which rank arrived last at each, and how long the others waited for it.

All ranks reach the same barriers in the same order and number them alike, so that the spans in which they waited can be
matched: a span begins when its rank arrives, and no rank leaves before the last one has arrived. Only barriers that
every rank recorded one by one are used; merged spans do not say when a rank arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.timing.alignment import unix_ns
from hpc_lstm.timing.spans import SPAN_FIELDS, Timing
from hpc_lstm.timing.timeline import PHASES

_WAIT = PHASES.index("wait")
_NUMBER = SPAN_FIELDS.index("meeting")  # the barrier's number, by the name that files have for it
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Barriers:
    """The barriers of one start of a run: M barriers, P parts.

    Attributes:
        parts: int64 [P], numbers of the parts that take part, in order of rank.
        complete: bool [M], every part has recorded it.
        last: int64 [M], the part that arrived last.
        arrival_ns, departure_ns: int64 [M], when the last part arrived and left, see ``alignment.unix_ns``.
        lead_ns: int64 [M], time between the last arrival and the last but one.
        caused_ns: int64 [M], time that the others waited for the last, summed over them.
        error_ns: largest error of the time between two ranks' arrivals.
        merged: number of later barriers, whose spans the first part has merged.
        delayed: uint8 [P, ceil(M/8)], one bit per barrier, most significant first: this part verifiably waited
            for the last one.
    """

    parts: np.ndarray
    complete: np.ndarray
    last: np.ndarray
    arrival_ns: np.ndarray
    departure_ns: np.ndarray
    lead_ns: np.ndarray
    caused_ns: np.ndarray
    error_ns: int
    merged: int
    delayed: np.ndarray

    @property
    def decided(self) -> np.ndarray:
        """bool [M]: the last arrival is later than the others by more than the clocks' error."""
        return self.complete & (self.lead_ns > self.error_ns)

    def was_delayed(self, place: int, number: int) -> bool:
        """Whether the part at a place of ``parts`` verifiably waited for the last one at a barrier."""
        return bool(self.delayed[place, number >> 3] >> (7 - (number & 7)) & 1)


def collect_barriers(timing: Timing) -> list[Barriers]:
    """The barriers of each start of a run with several ranks whose clocks were compared.

    Memory grows with the number of barriers, of which at most ``timeline.DETAILED_SPANS`` per start are recorded one
    by one, plus one bit per barrier and rank.
    """
    starts = [
        np.flatnonzero(timing.start_unix_ns == start) for start in distinct(timing.start_unix_ns) if start
    ]
    found = [_barriers_of_start(timing, parts) for parts in starts if len(parts) > 1]
    return [each for each in found if each is not None]


def _barriers_of_start(timing: Timing, parts: np.ndarray) -> Barriers | None:
    count = 1 + max(
        (int(number.max()) for part in parts for number, _, _ in _arrivals_of_part(timing, part)), default=-1
    )
    if not count:
        return None
    base = int(timing.start_unix_ns[parts[0]])  # small numbers, so that a thousand ranks' sum fits

    # First pass: the last arrival at each barrier, the last but one, and the sum of all.
    last, second = np.full(count, _NEVER), np.full(count, _NEVER)
    total, arrived = np.zeros(count, np.int64), np.zeros(count, np.int64)
    last_part, departure = np.full(count, -1), np.zeros(count, np.int64)
    for part in parts:
        for number, start, end in _arrivals_of_part(timing, part):
            start, end = start - base, end - base
            later = start > last[number]
            second[number] = np.where(later, last[number], np.maximum(second[number], start))
            last[number] = np.where(later, start, last[number])
            last_part[number] = np.where(later, part, last_part[number])
            departure[number] = np.where(later, end, departure[number])
            total[number] += start
            arrived[number] += 1
    complete = arrived == timing.size[parts[0]]
    error = 2 * int(timing.clock_ns[parts, :, 2].max())  # of two ranks, each against rank 0

    # Second pass: who verifiably waited. The trace's arrows begin 1 ns inside one span and end 2 ns inside the other.
    delayed = np.zeros((len(parts), -(-count // 8)), np.uint8)
    for row, part in enumerate(parts):
        waited = np.zeros(count, bool)
        for number, start, end in _arrivals_of_part(timing, part):
            early = last[number] - (start - base) > error
            inside = (end - base > last[number] + 2) & (departure[number] > last[number] + 2)
            waited[number] = early & inside
        delayed[row] = np.packbits(waited & complete)
    return Barriers(
        parts=parts,
        complete=complete,
        last=last_part,
        arrival_ns=last + base,
        departure_ns=departure + base,
        lead_ns=np.where(complete, last - second, 0),
        caused_ns=np.where(complete, len(parts) * last - total, 0),
        error_ns=error,
        merged=_merged_waits(timing, int(parts[0])),
        delayed=delayed,
    )


def _arrivals_of_part(timing: Timing, part: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Numbers of a part's barriers, when it arrived, and when it left; int64, one chunk at a time."""
    for phases, numbers in timing.spans(part):
        rows = numbers[:, (phases == _WAIT) & (numbers[_NUMBER] >= 0)]
        if rows.shape[1]:
            yield rows[_NUMBER], unix_ns(timing, part, rows[0]), unix_ns(timing, part, rows[1])


def _merged_waits(timing: Timing, part: int) -> int:
    """How many waits of a part were merged."""
    count = SPAN_FIELDS.index("count")
    waits = (numbers[count, phases == _WAIT] for phases, numbers in timing.spans(part))
    return sum(int(counts[counts > 1].sum()) for counts in waits)
