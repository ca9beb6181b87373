"""Who came last to the ranks' meetings, and how long the others waited for it.

Every rank meets the others at the same steps and numbers its meetings alike, so the spans in which ranks waited can
be put side by side: a span begins when its rank arrives, and no rank goes on before the last one has arrived. Only
meetings that every rank recorded one by one count; merged spans do not tell when a rank arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hpc_lstm.timing.alignment import unix_ns
from hpc_lstm.timing.spans import SPAN_FIELDS, Timing
from hpc_lstm.timing.timeline import PHASES

_WAIT = PHASES.index("wait")
_MEETING = SPAN_FIELDS.index("meeting")
_LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Meetings:
    """The meetings of one start of a run: M of them, of P parts.

    Attributes:
        parts: int64 [P], numbers of the parts that met, in order of rank.
        whole: bool [M], every part has recorded it.
        last: int64 [M], the part that arrived last.
        arrival_ns, departure_ns: int64 [M], when it arrived and went on, see ``axis.unix_ns``.
        lead_ns: int64 [M], how long after the last but one.
        caused_ns: int64 [M], how long the others waited for it, all together.
        error_ns: largest error of the time between two ranks' arrivals.
        later: how many meetings came after these, which the first part has merged.
        arrows: uint8 [P, ceil(M/8)], a bit a meeting, the first the highest: this part verifiably waited for the last.
    """

    parts: np.ndarray
    whole: np.ndarray
    last: np.ndarray
    arrival_ns: np.ndarray
    departure_ns: np.ndarray
    lead_ns: np.ndarray
    caused_ns: np.ndarray
    error_ns: int
    later: int
    arrows: np.ndarray

    @property
    def decided(self) -> np.ndarray:
        """bool [M]: it can be told who came last."""
        return self.whole & (self.lead_ns > self.error_ns)

    def waiters(self, meeting: int) -> np.ndarray:
        """Places in ``parts`` of those that verifiably waited for the last."""
        return np.flatnonzero(self.arrows[:, meeting >> 3] >> (7 - (meeting & 7)) & 1)


def meetings(timing: Timing) -> list[Meetings]:
    """The meetings of each start of a run in which ranks met and their clocks were compared.

    Memory grows with the number of meetings, of which no more than ``timing.DETAILED_SPANS`` a start are recorded one
    by one, plus a bit for each meeting and rank.
    """
    starts = [
        np.flatnonzero(timing.start_unix_ns == start) for start in np.unique(timing.start_unix_ns) if start
    ]
    found = [_of_start(timing, parts) for parts in starts if len(parts) > 1]
    return [each for each in found if each is not None]


def _of_start(timing: Timing, parts: np.ndarray) -> Meetings | None:
    count = 1 + max(
        (int(number.max()) for part in parts for number, _, _ in _arrivals(timing, part)), default=-1
    )
    if not count:
        return None
    base = int(timing.start_unix_ns[parts[0]])  # small numbers, so that a thousand ranks' sum fits
    last, second = np.full(count, _LOWEST), np.full(count, _LOWEST)
    total, came = np.zeros(count, np.int64), np.zeros(count, np.int64)
    who, departure = np.full(count, -1), np.zeros(count, np.int64)
    for part in parts:
        for number, start, end in _arrivals(timing, part):
            start, end = start - base, end - base
            later = start > last[number]
            second[number] = np.where(later, last[number], np.maximum(second[number], start))
            last[number] = np.where(later, start, last[number])
            who[number] = np.where(later, part, who[number])
            departure[number] = np.where(later, end, departure[number])
            total[number] += start
            came[number] += 1
    whole = came == timing.size[parts[0]]
    error = 2 * int(timing.clock_ns[parts, :, 2].max())  # of two ranks, each against rank 0
    arrows = np.zeros((len(parts), -(-count // 8)), np.uint8)
    for row, part in enumerate(parts):
        waited = np.zeros(count, bool)
        for number, start, end in _arrivals(timing, part):
            late = last[number] - (start - base) > error
            # The trace's arrows begin 1 ns inside one span and end 2 ns inside the other.
            inside = (end - base > last[number] + 2) & (departure[number] > last[number] + 2)
            waited[number] = late & inside
        arrows[row] = np.packbits(waited & whole)
    return Meetings(
        parts=parts,
        whole=whole,
        last=who,
        arrival_ns=last + base,
        departure_ns=departure + base,
        lead_ns=np.where(whole, last - second, 0),
        caused_ns=np.where(whole, len(parts) * last - total, 0),
        error_ns=error,
        later=_merged(timing, int(parts[0])),
        arrows=arrows,
    )


def _arrivals(timing: Timing, part: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Numbers of a part's meetings, when it arrived, and when it went on; int64, a chunk at a time."""
    for phases, numbers in timing.spans(part):
        rows = numbers[:, (phases == _WAIT) & (numbers[_MEETING] >= 0)]
        if rows.shape[1]:
            yield rows[_MEETING], unix_ns(timing, part, rows[0]), unix_ns(timing, part, rows[1])


def _merged(timing: Timing, part: int) -> int:
    """How many waits of a part were merged."""
    count = SPAN_FIELDS.index("count")
    waits = (numbers[count, phases == _WAIT] for phases, numbers in timing.spans(part))
    return sum(int(counts[counts > 1].sum()) for counts in waits)
