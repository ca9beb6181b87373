"""Retries in a time of their own."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from hpc_lstm.storage.retry import FIRST_S, MAX_S, retry


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


def failing(times: float, error: type[Exception] = OSError) -> tuple[Callable[[], str], list[int]]:
    """Work that fails so many times, and how often it was tried."""
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) <= times:
            raise error(f"try {len(tries)}")
        return "done"

    return work, tries


def attempt(work: Callable[[], str], time: Time, timeout_s: float = 1e9) -> str:
    return retry(work, lambda error: isinstance(error, OSError), timeout_s, time.sleep, time.clock)


def test_what_succeeds_is_done_once_without_a_pause() -> None:
    time = Time()
    work, tries = failing(0)
    assert attempt(work, time) == "done"
    assert (len(tries), time.pauses) == (1, [])


def test_pauses_are_random_below_a_bound_that_doubles_up_to_a_limit() -> None:
    runs = []
    for _ in range(200):
        time = Time()
        work, tries = failing(12)
        assert attempt(work, time) == "done"
        assert len(tries) == 13
        runs.append(time.pauses)
    for number, pauses in enumerate(zip(*runs, strict=True)):
        bound = min(FIRST_S * 2**number, MAX_S)
        assert 0 <= min(pauses) < 0.1 * bound
        assert 0.9 * bound < max(pauses) <= bound
        assert len(set(pauses)) == len(pauses)


def test_jitter_neither_follows_nor_moves_the_generator_that_training_seeds() -> None:
    runs = []
    for _ in range(2):
        random.seed(7)
        time = Time()
        attempt(failing(5)[0], time)
        runs.append((time.pauses, random.random()))
    assert runs[0][0] != runs[1][0], "all ranks would come back at the same moments"
    assert runs[0][1] == runs[1][1], "another number of retries would give other weights"


def test_after_the_deadline_the_last_error_is_raised() -> None:
    time = Time()
    work, tries = failing(float("inf"))
    with pytest.raises(OSError, match="try") as caught:
        attempt(work, time, timeout_s=30)
    assert str(caught.value) == f"try {len(tries)}"
    assert len(tries) > 4
    assert time.now <= 1030, "it does not sleep beyond the deadline"


def test_time_that_the_work_takes_counts() -> None:
    time = Time()

    def work() -> str:
        time.now += 20
        raise OSError("slow")

    with pytest.raises(OSError, match="slow"):
        attempt(work, time, timeout_s=30)
    assert len(time.pauses) <= 1


def test_permanent_errors_are_raised_at_once() -> None:
    time = Time()
    work, tries = failing(1, ValueError)
    with pytest.raises(ValueError, match="try 1"):
        attempt(work, time)
    assert (len(tries), time.pauses) == (1, [])
