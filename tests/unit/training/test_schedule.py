"""The calendar of a run, against a plain walk in single steps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.config import parse
from hpc_lstm.training.schedule import AGREE_STEPS, Progress, Schedule, make_schedule


def config(every: Any = 16, checkpoint: Any = 500, epochs: int = 2, batch_size: int = 4) -> Any:
    return parse(
        {
            "data": {"store": "market.h5"},
            "train": {"epochs": epochs, "batch_size": batch_size},
            "average": {"every": every},
            "checkpoint": {"every": checkpoint},
        },
        "test",
    )


RUNS = st.fixed_dictionaries(
    {
        "every": st.integers(0, 100) | st.just("epoch"),
        "checkpoint": st.integers(1, 150) | st.just("epoch"),
        "epochs": st.integers(1, 4),
        "batch_size": st.integers(1, 16),
    }
)
WINDOWS, RANKS = st.integers(1, 600), st.integers(1, 5)


def walk(schedule: Schedule, chunks: Any, samples: int = 1) -> list[Progress]:
    """Every position where something may be due, taking at most so many steps at once as ``chunks`` says."""
    at, seen = Progress(), []
    while not schedule.is_done(at):
        steps = min(chunks(), schedule.steps_until_due(at))
        assert steps >= 1
        at = schedule.advance(at, steps, steps * samples)
        seen.append(at)
    return seen


@given(RUNS, WINDOWS, RANKS, st.data())
def test_nothing_due_is_skipped_however_many_steps_are_taken_at_once(
    run: dict[str, Any], windows: int, ranks: int, data: st.DataObject
) -> None:
    schedule = make_schedule(config(**run), windows, ranks)
    singly = walk(schedule, lambda: 1)
    largest = data.draw(st.integers(1, 200))
    at_once = walk(schedule, lambda: largest)
    for due in (schedule.averages_at, schedule.agrees_at, schedule.checkpoints_at, schedule.ends_epoch_at):
        assert [at for at in at_once if due(at)] == [at for at in singly if due(at)]
    assert at_once[-1] == singly[-1]


@given(RUNS, WINDOWS, RANKS, st.integers(1, 64))
def test_a_call_with_averages_is_a_whole_number_of_cycles(
    run: dict[str, Any], windows: int, ranks: int, most: int
) -> None:
    every = run["every"] if isinstance(run["every"], int) else 0
    asked = tuple(every * number for number in (2, 7))
    schedule = make_schedule(config(**run), windows, ranks, asked)
    singly = {at.step: at for at in walk(schedule, lambda: 1)}
    at, averaged = Progress(), []
    while not schedule.is_done(at):
        together = schedule.steps_with_averages(at, most)
        steps = together or min(most, schedule.steps_until_due(at))
        assert 1 <= steps <= most
        for step in range(at.step + 1, at.step + steps):
            due = singly[step]
            assert not schedule.checkpoints_at(due)
            assert not schedule.ends_epoch_at(due)
            assert step not in asked
            assert together or not schedule.agrees_at(due)
        if together:
            assert at.step % every == steps % every == 0
            assert at.step_in_epoch > 0
            averaged += [at.step + taken for taken in range(every, steps, every)]
        at = schedule.advance(at, steps, steps)
        averaged += [at.step] if schedule.averages_at(at) else []
    assert averaged == [step for step, due in singly.items() if schedule.averages_at(due)]


@given(RUNS, WINDOWS, RANKS)
def test_calendar_is_what_the_settings_say(run: dict[str, Any], windows: int, ranks: int) -> None:
    schedule = make_schedule(config(**run), windows, ranks)
    taken = ranks * run["batch_size"]
    walked = walk(schedule, lambda: 1, taken)
    epoch = -(-windows // taken)
    assert schedule.steps_per_epoch == epoch
    assert [at.step for at in walked] == list(range(1, run["epochs"] * epoch + 1)), "each step once"
    assert windows <= walked[epoch - 1].samples < windows + taken, "an epoch is every window once, rounded up"
    for at in walked:
        end = at.step % epoch == 0
        every, checkpoint = run["every"], run["checkpoint"]
        averages = end if every == "epoch" else bool(every) and (at.step % every == 0 or end)
        assert schedule.averages_at(at) == averages
        assert schedule.checkpoints_at(at) == (end if checkpoint == "epoch" else at.step % checkpoint == 0)
        assert schedule.ends_epoch_at(at) == end
        assert schedule.agrees_at(at) or not (averages or end), (
            "loss and stopping are agreed on wherever ranks meet"
        )
        assert schedule.epochs_done(at) == pytest.approx(at.step / epoch)
        assert schedule.steps_left(at) == len(walked) - at.step
    meetings = [0, *(at.step for at in walked if schedule.agrees_at(at))]
    assert max(b - a for a, b in pairwise(meetings)) <= AGREE_STEPS
    assert meetings[-1] == len(walked)


@given(RUNS, WINDOWS, RANKS, RANKS, st.data())
def test_refit_keeps_progress(
    run: dict[str, Any], windows: int, ranks: int, others: int, data: st.DataObject
) -> None:
    settings = config(**run)
    before, after = make_schedule(settings, windows, ranks), make_schedule(settings, windows, others)
    at = data.draw(st.sampled_from([Progress(), *walk(before, lambda: 1)]))
    found = after.rescaled(at, before.steps_per_epoch)
    assert (found.step, found.epoch, found.samples) == (at.step, at.epoch, at.samples)
    assert 0 <= found.step_in_epoch < after.steps_per_epoch
    lost = before.epochs_done(at) - after.epochs_done(found)
    assert -1e-9 <= lost < 1 / after.steps_per_epoch, "no more than a step is taken again, none is left out"
    if ranks == others:
        assert found == at
    remaining = 0
    while not after.is_done(found):
        steps = after.steps_until_due(found)
        found, remaining = after.advance(found, steps, 0), remaining + steps
    assert found.epoch == settings.train.epochs


def test_no_average_but_at_the_end() -> None:
    schedule = make_schedule(config(every=0), 400, 2)
    assert not any(schedule.averages_at(at) for at in walk(schedule, lambda: 10**6))
    assert not schedule.averages_at_epoch_end


def test_nothing_is_due_before_the_first_step() -> None:
    schedule = make_schedule(config(every=1, checkpoint=1), 8, 2)
    for due in (
        schedule.averages_at,
        schedule.agrees_at,
        schedule.checkpoints_at,
        schedule.ends_epoch_at,
        schedule.is_done,
    ):
        assert not due(Progress())
    assert schedule.steps_left(Progress(epoch=5)) == 0
