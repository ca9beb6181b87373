"""The steady state of a run, from timing files whose content is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.errors import InputError
from hpc_lstm.sweep.measure import measure
from hpc_lstm.sweep.records import busy_summary
from hpc_lstm.timing.timeline import FORMAT, PHASES, VERSION

MS = 1_000_000


class Writer:
    """One rank's timing file, a span after the other."""

    def __init__(self, run: Path, rank: int, ranks: int) -> None:
        self.path = run / "timing" / f"rank-{rank:05d}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.now, self.totals = 0, dict.fromkeys(PHASES, 0)
        self.lines = [
            {
                "format": FORMAT,
                "version": VERSION,
                "rank": rank,
                "size": ranks,
                "node": "n",
                "origin_unix_ns": 0,
            }
        ]

    def spend(self, phase: str, ms: float, count: int = 1, **more: int) -> None:
        end = self.now + int(ms * MS)
        span = {
            "phase": phase,
            "start_ns": self.now,
            "end_ns": end,
            "busy_ns": end - self.now,
            "count": count,
        }
        self.lines.append(span | more)
        self.totals[phase] += end - self.now
        self.now = end

    def close(self, complete: bool = True) -> None:
        lines = [*self.lines, *([{"wall_ns": self.now, "phases_ns": self.totals}] if complete else [])]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_run(
    run: Path,
    steps: int,
    every: int,
    busy_ms: tuple[float, ...],
    complete: bool = True,
    epoch: int = 0,
    averages: bool = True,
    meetings: Sequence[int] = (),
) -> Path:
    """Ranks that compute ``busy_ms`` a step, and 100 times as long in the first 8; validation is slow.

    Args:
        epoch: steps of one, at whose end the ranks meet and average as well; 0: none ends.
        averages: the ranks average at each meeting, not only at ends of epochs.
        meetings: the steps at which they meet, if not at each average.
    """
    ends = set(range(epoch, steps + 1, epoch)) if epoch else set()
    meetings = meetings or sorted({*range(every, steps + 1, every), *ends})
    for rank, busy in enumerate(busy_ms):
        writer = Writer(run, rank, len(busy_ms))
        writer.spend("startup", 5000)
        writer.spend("load", 300)
        writer.spend("wait", 3)  # for another reason than a meeting
        for number, (before, step) in enumerate(zip([0, *meetings], meetings, strict=False)):
            taken = step - before
            slow = 100 if step <= 8 else 1
            writer.spend("preprocess", 0.25 * busy * taken * slow)
            writer.spend("compute", 0.75 * busy * taken * slow)
            writer.spend("wait", (max(busy_ms) - busy) * taken * slow + 0.1, meeting=number)
            if averages or step in ends:
                writer.spend("average", 0.5 * max(1, taken // every))
            if step % (2 * every) == 0:
                writer.spend("evaluate", 700)
                writer.spend("checkpoint", 200)
        writer.close(complete)
    entries = [{"kind": "train", "step": step} for step in meetings]
    entries.insert(1, {"kind": "validation", "step": every})
    (run / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return run


def test_only_the_steady_state_counts(tmp_path: Path) -> None:
    found = measure(write_run(tmp_path, 40, 4, (2.0, 3.0)), warmup=8, steps=24, interval=4)
    assert found.steps == 24
    assert found.nodes == ["n", "n"]
    # 6 cycles of 4 steps at the slower rank's 3 ms, a meeting's 0.1 ms and an average's 0.5 ms.
    assert found.seconds == pytest.approx(6 * (12 + 0.1 + 0.5) / 1e3)
    assert found.phase_seconds["average"] == pytest.approx(6 * 0.5 / 1e3)
    assert found.phase_seconds["wait"] == pytest.approx(6 * (0.1 + 4 / 2) / 1e3)
    assert found.busy.mean(axis=1) == pytest.approx([8e-3, 12e-3])
    assert found.meeting_s == pytest.approx(1e-4)
    assert found.average_s == pytest.approx(5e-4)


def test_a_warmup_between_meetings_is_rounded_up(tmp_path: Path) -> None:
    found = measure(write_run(tmp_path, 40, 4, (2.0,)), warmup=9, steps=24, interval=4)
    assert found.steps == 20  # from step 12 to 32, inside of 9 to 33


def test_epochs_that_end_between_averages(tmp_path: Path) -> None:
    """Ranks meet at 8, 10, 12, 16, 20, 24, 28, 30, 32: four stretches are of 4 steps."""
    found = measure(write_run(tmp_path, 40, 4, (2.0, 3.0), epoch=10), warmup=8, steps=24, interval=4)
    assert found.cycles == 4
    assert found.steps == 16
    assert found.seconds == pytest.approx(4 * (12 + 0.1 + 0.5) / 1e3)
    assert found.busy == pytest.approx(np.tile([[8e-3], [12e-3]], 4))


def test_averages_at_the_ends_of_epochs_alone(tmp_path: Path) -> None:
    """Epochs end at 12, 24, 36: the cycles after 12 and 24 begin with an average."""
    run = write_run(tmp_path, 40, 4, (2.0, 2.0), epoch=12, averages=False)
    found = measure(run, warmup=8, steps=24, interval=4, averages=False)
    assert found.cycles == 4
    assert found.average_s == 0


def test_several_averages_between_two_meetings(tmp_path: Path) -> None:
    """Ranks average every 4 steps and meet once a call, which takes 4 steps at first and 12 or 8 then."""
    meetings = [4, 16, 28, 36, 40, 52, 64, 72, 76, 88, 100, 108]
    run = write_run(tmp_path, 108, 4, (2.0, 3.0), meetings=meetings)
    found = measure(run, warmup=16, steps=84, interval=4)
    assert found.interval == 4
    assert list(found.lengths) == [3, 2, 1, 3, 3, 2, 1, 3, 3]
    assert found.cycles == 21
    assert found.steps == 84
    assert found.average_s == pytest.approx(0.5e-3)
    assert found.meeting_s == pytest.approx(9 * 0.1e-3 / 21)
    assert found.seconds == pytest.approx(21 * (12 + 0.5) / 1e3 + 9 * 0.1e-3)
    assert found.busy == pytest.approx(np.array([[8e-3], [12e-3]]) * found.lengths)


@pytest.mark.parametrize("calls", [2, 8, 64])
def test_cycles_of_calls_have_the_moments_of_independent_ones(calls: int) -> None:
    """In the mean over many measurements, also of few calls."""
    lengths = np.resize([16, 4, 1], calls)
    found = []
    for seed in range(2000):
        draws = np.random.default_rng(seed).gamma(4.0, 1.0, (2, lengths.sum()))  # variance 4, third moment 8
        sums = np.add.reduceat(draws, np.append(0, np.cumsum(lengths)[:-1]), axis=1)
        summary = busy_summary(sums, lengths)
        assert summary["means_s"] == pytest.approx(draws.mean(axis=1))
        found.append((summary["variance"], summary["third_moment"]))
    variance, third = np.mean(found, axis=0)
    assert variance == pytest.approx(4, rel=0.1)
    assert third == pytest.approx(8 * {2: 0.2, 8: 0.7, 64: 1.0}[calls], abs=1.5), (
        "of few, less is seen of the tail"
    )


def test_no_whole_interval(tmp_path: Path) -> None:
    run = write_run(tmp_path, 40, 4, (2.0,), epoch=2)
    with pytest.raises(InputError, match=r"its epochs end before 4 steps were taken"):
        measure(run, warmup=8, steps=24, interval=4)


def test_too_short_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="took 8 steps, too few for 8 of warm-up and 24 to measure"):
        measure(write_run(tmp_path, 8, 4, (2.0,)), warmup=8, steps=24, interval=4)


def test_a_killed_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was killed or resumed"):
        measure(write_run(tmp_path, 40, 4, (2.0, 2.0), complete=False), warmup=8, steps=24, interval=4)


def test_merged_spans_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, 40, 4, (2.0,))
    path = tmp_path / "timing" / "rank-00000.jsonl"
    path.write_text(path.read_text().replace('"count": 1}', '"count": 2}'))
    with pytest.raises(InputError, match="measure fewer steps"):
        measure(tmp_path, warmup=8, steps=24, interval=4)
