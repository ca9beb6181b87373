"""The spans of all ranks of a run, gathered in one file, ``timing.h5``.

    attributes           format "hpc_lstm timing", version 1, phases [P] (names, in the order of ``PHASES``)
    /parts/rank          int32 [K]     a part is one start of one rank's process; a resumed run has several per rank
    /parts/size          int32 [K]     number of ranks of that start
    /parts/node          text [K]      host name
    /parts/origin_unix_ns int64 [K]    start of the process, ns since 1970-01-01 UTC
    /parts/wall_ns       int64 [K]     how long it ran; if it was killed, until its last span on disk
    /parts/complete      bool [K]      False if the process was killed
    /parts/phases_ns     int64 [K, P]  time in each phase
    /parts/offsets       int64 [K+1]   spans of part k: offsets[k]..offsets[k+1]
    /parts/start_unix_ns int64 [K]     rank 0's origin, the same for all parts of one start; 0 if not known
    /parts/clock_ns      int64 [K, 2, 3]   the first and the last comparison with rank 0's clock: time, offset,
                                       error (``hpc_lstm.timing.clocks``); error -1 if there was none
    /spans/phase         uint8 [N]     number of the phase
    /spans/start_ns, end_ns, busy_ns, count   int64 [N]   as in the JSON lines (``hpc_lstm.timing.timeline``)
    /spans/meeting       int64 [N]     number of the barrier that the span was part of, -1 if of none
    /rounds/part         int64 [M]     the part that recorded a round of clusters
    /rounds/number, brought_ns, seen_ns   int64 [M]   as in the JSON lines
    /stages/part         int64 [S]     the part that recorded a stage of its start-up
    /stages/name         text [S]
    /stages/start_ns, end_ns   int64 [S]   as in the JSON lines

Parts are ordered by rank, then by start. A file of an earlier version lacks ``start_unix_ns``, ``clock_ns``,
``meeting`` and ``/rounds``, or ``/stages``.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_lstm.arrays import distinct
from hpc_lstm.errors import WAY_OUT, InputError, why_unreadable
from hpc_lstm.files import open_text
from hpc_lstm.hdf5.reading import UNREADABLE, own_dataset, sound_hdf5
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.runs import directory
from hpc_lstm.timing.timeline import DETAILED_SPANS, FORMAT, PHASES, VERSION

SPAN_FIELDS = ("start_ns", "end_ns", "busy_ns", "count", "meeting")
CLOCK_FIELDS = ("clock_at_ns", "clock_offset_ns", "clock_error_ns")
ROUND_FIELDS = ("part", "number", "brought_ns", "seen_ns")
STAGE_FIELDS = ("part", "start_ns", "end_ns")
# Stages of one start, and letters of a stage's or a node's name: more than there are.
MOST_STAGES, LONGEST_NAME = 100, 256
# Spans held in memory at a time, of all ranks together: 2 MB.
CHUNK = 1 << 16
# Nanoseconds since 1970 until 2043; ranks; barriers, which are recorded one by one no longer than other spans.
LARGEST = 1 << 61
MOST_RANKS = 1 << 24
MOST_MEETINGS = 10 * DETAILED_SPANS
_NUMBERS = {phase: number for number, phase in enumerate(PHASES)}


@dataclass(frozen=True)
class Stage:
    """A named part of the start-up of one part of a run's timing; times as in the JSON lines."""

    part: int
    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Timing:
    """The content of ``timing.h5``; spans are read from the file on demand.

    Attributes: the datasets under ``/parts``, K parts, P phases; ``rounds``, int64 [4, M] as ``ROUND_FIELDS``; and the
    ``stages`` of all parts. What a file of an earlier version lacks has the values that stand for "not known".
    """

    path: Path
    rank: np.ndarray
    size: np.ndarray
    node: list[str]
    origin_unix_ns: np.ndarray
    wall_ns: np.ndarray
    complete: np.ndarray
    phases_ns: np.ndarray
    offsets: np.ndarray
    start_unix_ns: np.ndarray
    clock_ns: np.ndarray
    rounds: np.ndarray
    stages: list[Stage]

    @property
    def ranks(self) -> np.ndarray:
        """Numbers of all ranks, ascending; R of them."""
        return distinct(self.rank)

    @property
    def starts(self) -> int:
        """How often the run was started: once, and once more for each time it was resumed."""
        return int(np.unique(self.rank, return_counts=True)[1].max())

    def rank_seconds(self) -> np.ndarray:
        """float64 [R, P]: seconds of each rank in each phase, over all its parts."""
        return self._per_rank(self.phases_ns)

    def rank_wall(self) -> np.ndarray:
        """float64 [R]: seconds that each rank's processes ran."""
        return self._per_rank(self.wall_ns)

    def spans(self, part: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The spans of a part, one chunk at a time: phase uint8 [n], and int64 [5, n] as ``SPAN_FIELDS``."""
        try:
            yield from self._read_spans(part)
        except UNREADABLE as error:
            raise InputError(
                f"{self.path}: damaged ({' '.join(str(error).split())}); remove it, and timing/rank-*.jsonl are "
                "gathered again"
            ) from None

    def _read_spans(self, part: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with h5py.File(self.path, "r") as file:  # inspected when it was loaded
            for start in range(int(self.offsets[part]), int(self.offsets[part + 1]), CHUNK):
                here = slice(start, min(start + CHUNK, int(self.offsets[part + 1])))
                phases, spans = own_dataset(file, "spans/phase")[here], file["spans"]
                none = np.full(len(phases), -1)
                columns = [own_dataset(spans, name)[here] if name in spans else none for name in SPAN_FIELDS]
                numbers = np.stack(columns).astype(np.int64)
                if len(phases) != here.stop - here.start or (phases >= len(PHASES)).any():
                    raise ValueError("its spans do not match its phases")
                if (np.abs(numbers) > LARGEST).any() or (numbers[-1] > MOST_MEETINGS).any():
                    raise ValueError("it has numbers that no run has")
                yield phases, numbers

    def _per_rank(self, values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(self.ranks), *values.shape[1:]))
        np.add.at(total, np.searchsorted(self.ranks, self.rank), values / 1e9)
        return total


def gather_timing(run_dir: str | Path, into: Path | None = None) -> Path:
    """Gather a run's ``timing/rank-*.jsonl`` into ``timing.h5``; lines cut off by a crash are skipped.

    Memory is bounded, whatever the number of ranks and spans.

    Args:
        into: the file to write; None: the run's own.

    Returns:
        The path of that file.

    Raises:
        InputError: the run has no timing files, one is of another format or version, or the disk is full.
    """
    run = directory.at(run_dir)
    sources = _rank_files(run)
    if not sources:
        raise InputError(f"{run.path}: has no timing/rank-*.jsonl; give the folder of a run that was started")
    gathered = into or run.timing
    with whole_hdf5(gathered) as file:
        writer = _SpanWriter(file)
        parts = [part for source in sources for part in _read_rank_file(source, writer)]
        if not parts:
            raise InputError(
                f"{run.path / 'timing'}: no rank has written a span yet; wait until the run is under way"
            )
        writer.finish(parts)
    return gathered


def load_timing(run_dir: str | Path) -> Timing:
    """The timing of a run, gathered again if ``timing.h5`` is missing, damaged or older than a rank's file.

    In a folder that may only be read, such as somebody else's run, it is gathered into a temporary file, which goes
    with the result.

    Raises:
        InputError: as ``gather_timing``.
    """
    run = directory.at(run_dir)
    sources = _rank_files(run)
    if run.timing.exists():
        written = run.timing.stat().st_mtime_ns
        if all(source.stat().st_mtime_ns <= written for source in sources):
            try:
                return _load_timing_file(run.timing)
            except UNREADABLE as error:
                if not sources:
                    raise InputError(
                        f"{run.timing}: damaged ({' '.join(str(error).split())}), and timing/rank-*.jsonl are missing"
                    ) from None
    if not run.path.exists() or os.access(run.path, os.W_OK):
        return _load_timing_file(gather_timing(run_dir))
    import shutil
    import tempfile

    try:
        folder = Path(tempfile.mkdtemp(prefix="hpc-lstm-timing-"))
    except OSError as error:
        raise InputError(
            f"{run.timing}: cannot be written, and neither can a temporary file: {error.strerror}; {WAY_OUT}"
        ) from None
    try:
        timing = _load_timing_file(gather_timing(run_dir, folder / run.timing.name))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(timing, shutil.rmtree, folder, ignore_errors=True)
    return timing


def _rank_files(run: directory.RunDirectory) -> list[Path]:
    return sorted((run.path / "timing").glob("rank-*.jsonl"))


def _load_timing_file(path: Path) -> Timing:
    with sound_hdf5(path) as file:
        if str(file.attrs["format"]) != FORMAT or int(file.attrs["version"]) != VERSION:
            raise ValueError("another format or version")

        def numbers(name: str) -> np.ndarray:
            return own_dataset(file, name)[:].astype(np.int64)

        parts = len(numbers("parts/rank"))
        known = "rounds" in file
        timing = Timing(
            path=path,
            start_unix_ns=numbers("parts/start_unix_ns") if known else np.zeros(parts, np.int64),
            clock_ns=numbers("parts/clock_ns") if known else np.full((parts, 2, 3), -1),
            rounds=np.stack([numbers(f"rounds/{name}") for name in ROUND_FIELDS])
            if known
            else np.empty((len(ROUND_FIELDS), 0), np.int64),
            stages=_read_stages(file) if "stages" in file else [],
            node=own_dataset(file, "parts/node").asstr()[:].tolist(),
            complete=own_dataset(file, "parts/complete")[:].astype(np.bool_),
            **{
                name: numbers(f"parts/{name}")
                for name in ("rank", "size", "origin_unix_ns", "wall_ns", "phases_ns", "offsets")
            },
        )
        _check(timing, len(own_dataset(file, "spans/phase")))
        return timing


def _read_stages(file: h5py.File) -> list[Stage]:
    names = own_dataset(file, "stages/name").asstr()[:].tolist()
    numbers = [own_dataset(file, f"stages/{name}")[:].astype(np.int64).tolist() for name in STAGE_FIELDS]
    return [Stage(part, name, start, end) for name, part, start, end in zip(names, *numbers, strict=True)]


def _check(timing: Timing, spans: int) -> None:
    """Refuse what ``gather_timing`` cannot have written.

    Raises:
        ValueError: parts do not match, or numbers are out of range.
    """
    parts, rounds = len(timing.rank), timing.rounds
    per_part = (timing.size, timing.origin_unix_ns, timing.wall_ns, timing.complete, timing.start_unix_ns)
    times = (*per_part[1:3], timing.start_unix_ns, timing.clock_ns, timing.phases_ns, rounds)
    sound = (
        parts > 0
        and all(array.shape == (parts,) for array in per_part)
        and len(timing.node) == parts
        and timing.phases_ns.shape == (parts, len(PHASES))
        and timing.clock_ns.shape == (parts, 2, 3)
        and timing.offsets.shape == (parts + 1,)
        and timing.offsets[0] == 0
        and timing.offsets[-1] == spans
        and (np.diff(timing.offsets) >= 0).all()
        and ((timing.rank >= 0) & (timing.rank < timing.size) & (timing.size <= MOST_RANKS)).all()
        and all((np.abs(array) <= LARGEST).all() for array in times)
        and (timing.phases_ns >= 0).all()
        and (timing.wall_ns >= 0).all()
        and ((rounds[0] >= 0) & (rounds[0] < parts)).all()
        and all(
            0 <= stage.part < parts and -LARGEST <= stage.start_ns <= stage.end_ns <= LARGEST
            for stage in timing.stages
        )
    )
    if not sound:
        raise ValueError("its parts do not match")


@dataclass
class _Part:
    """One start of one rank, as read so far."""

    rank: int
    size: int
    node: str
    origin_unix_ns: int
    wall_ns: int = 0
    complete: bool = False
    phases_ns: list[int] = field(default_factory=lambda: [0] * len(PHASES))
    spans: int = 0
    start_unix_ns: int = 0
    clock_ns: list[list[int]] = field(default_factory=list)
    rounds: list[list[int]] = field(default_factory=list)
    stages: list[tuple[str, int, int]] = field(default_factory=list)


class _SpanWriter:
    """Appends spans to the datasets of a file, ``CHUNK`` at a time."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._spans: list[tuple[int, ...]] = []
        self._written = 0

    def add(self, span: tuple[int, ...]) -> None:
        self._spans.append(span)
        if len(self._spans) == CHUNK:
            self._flush()

    def finish(self, parts: list[_Part]) -> None:
        self._flush()
        file = self._file
        file.attrs.update({"format": FORMAT, "version": VERSION, "phases": list(PHASES)})
        none = [-1, -1, -1]
        clocks = [(p.clock_ns[0], p.clock_ns[-1]) if p.clock_ns else (none, none) for p in parts]
        group = file.create_group("parts")
        group["rank"] = np.array([p.rank for p in parts], np.int32)
        group["size"] = np.array([p.size for p in parts], np.int32)
        group.create_dataset("node", data=[p.node for p in parts], dtype=h5py.string_dtype())
        group["origin_unix_ns"] = np.array([p.origin_unix_ns for p in parts], np.int64)
        group["wall_ns"] = np.array([p.wall_ns for p in parts], np.int64)
        group["complete"] = np.array([p.complete for p in parts], np.bool_)
        group["phases_ns"] = np.array([p.phases_ns for p in parts], np.int64)
        group["offsets"] = np.cumsum([0, *(p.spans for p in parts)], dtype=np.int64)
        group["start_unix_ns"] = np.array([p.start_unix_ns for p in parts], np.int64)
        group["clock_ns"] = np.array(clocks, np.int64)
        rounds = [(k, *seen) for k, p in enumerate(parts) for seen in p.rounds]
        group = file.create_group("rounds")
        for name, column in zip(ROUND_FIELDS, np.array(rounds, np.int64).reshape(-1, 4).T, strict=True):
            group[name] = column
        stages = [(k, *stage) for k, p in enumerate(parts) for stage in p.stages]
        group = file.create_group("stages")
        group.create_dataset("name", data=[s[1] for s in stages], dtype=h5py.string_dtype())
        for place, name in zip((0, 2, 3), STAGE_FIELDS, strict=True):
            group[name] = np.array([s[place] for s in stages], np.int64)

    def _flush(self) -> None:
        columns = np.array(self._spans, np.int64).reshape(-1, 1 + len(SPAN_FIELDS)).T
        stop = self._written + columns.shape[1]
        spans = self._file.require_group("spans")
        for name, column in zip(("phase", *SPAN_FIELDS), columns, strict=True):
            if self._written:
                dataset = spans[name]
                dataset.resize((stop,))
                dataset[self._written :] = column
            else:
                _create(spans, name, column.astype("u1" if name == "phase" else "i8"))
        self._written = stop
        self._spans.clear()


def _create(group: h5py.Group, name: str, first: np.ndarray) -> None:
    """A dataset to which more spans can be added, with the ``first`` of them.

    Its chunks are no larger than those: an empty one takes as long as a full one.
    """
    group.create_dataset(
        name,
        data=first,
        maxshape=(None,),
        chunks=(min(max(len(first), 1), CHUNK // 8),),
        compression="gzip",
        shuffle=True,
    )


def _read_rank_file(path: Path, writer: _SpanWriter) -> list[_Part]:
    """The parts of one rank's file; its spans go to ``writer``. A line that a crash cut off is skipped.

    Raises:
        InputError: it cannot be read, or is of another version.
    """
    parts: list[_Part] = []
    try:
        lines = open_text(path, errors="replace")
    except OSError as error:
        raise InputError(f"{path}: {why_unreadable(error, f'cannot be read: {error.strerror}')}") from None
    with lines as file:
        for number, line in enumerate(file, 1):
            try:
                record: dict[str, Any] = json.loads(line)
                if "format" in record:
                    if (record["format"], record["version"]) != (FORMAT, VERSION):
                        raise InputError(
                            f"{path}: line {number}: is {record['format']!r} version {record['version']}, "
                            f"expected {FORMAT!r} version {VERSION}; read it with the hpc-lstm that wrote it"
                        )
                    parts.append(
                        _Part(
                            _integer(record["rank"], _integer(record["size"], MOST_RANKS) - 1),
                            _integer(record["size"], MOST_RANKS),
                            _name(record["node"]),
                            _integer(record["origin_unix_ns"]),
                        )
                    )
                elif "wall_ns" in record:
                    totals = record["phases_ns"]
                    parts[-1].phases_ns = [_integer(totals[phase]) for phase in PHASES]
                    parts[-1].wall_ns, parts[-1].complete = _integer(record["wall_ns"]), True
                elif "clock_at_ns" in record:
                    clock = [_integer(record[name], least=-LARGEST) for name in CLOCK_FIELDS]
                    parts[-1].start_unix_ns = _integer(record["start_unix_ns"])
                    parts[-1].clock_ns.append(clock)
                elif "round" in record:
                    seen = [_integer(record[name], least=-1) for name in ("round", "brought_ns", "seen_ns")]
                    parts[-1].rounds.append(seen)
                elif "stage" in record:
                    start, end = (_integer(record[name], least=-LARGEST) for name in ("start_ns", "end_ns"))
                    if start <= end and len(parts[-1].stages) < MOST_STAGES:
                        parts[-1].stages.append((_name(record["stage"]), start, end))
                else:
                    part, phase = parts[-1], _NUMBERS[record["phase"]]
                    start, end, busy, count = (
                        _integer(record[name], least=0 if name == "busy_ns" else -LARGEST)
                        for name in SPAN_FIELDS[:4]
                    )
                    meeting = _integer(record.get("meeting", -1), MOST_MEETINGS, least=-1)
                    if start > end or part.phases_ns[phase] + busy > LARGEST:
                        raise ValueError("no span of time")
                    writer.add((phase, start, end, busy, count, meeting))
                    part.spans += 1
                    part.phases_ns[phase] += busy
                    part.wall_ns = max(part.wall_ns, end)
            except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
                continue
    return [part for part in parts if part.spans]


def _name(value: Any) -> str:
    """A name from a file, as HDF5 can hold it: without null bytes and halves of characters."""
    return (
        str(value)[:LONGEST_NAME].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    )


def _integer(value: Any, most: int = LARGEST, *, least: int = 0) -> int:
    """A number from a file.

    Raises:
        ValueError, TypeError, OverflowError: it is none, or out of range.
    """
    number = int(value)
    if not least <= number <= most:
        raise ValueError("a number that no run has")
    return number
