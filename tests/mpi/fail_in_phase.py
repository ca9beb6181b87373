"""Trains, but rank 1 raises on its first, second ... entry into a phase: ``fail_in_phase.py PHASE CONFIG RUN_DIR``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hpc_lstm import cli
from hpc_lstm.timing import timeline as timing
from hpc_lstm.training import setup

PHASE, CONFIG, RUN_DIR = sys.argv[1:]
entered = timing.Timeline.span


@contextmanager
def span(timeline: timing.Timeline, phase: str) -> Iterator[None]:
    """The real span, but for the failure."""
    with entered(timeline, phase):
        if phase == PHASE and timeline.rank_for_test == 1:
            explode()
        yield


def explode() -> None:
    print(f"raised at {time.time()}", flush=True)
    raise RuntimeError(f"broken in {PHASE}")


begin = timing.Timeline.__init__


def remember_rank(timeline: timing.Timeline, path: object = None, rank: int = 0, *rest: object) -> None:
    """The real constructor; ``startup`` has no span, so the failure there is in it."""
    begin(timeline, path, rank, *rest)
    timeline.rank_for_test = rank
    if PHASE == "startup" and rank == 1:
        explode()


timing.Timeline.__init__ = remember_rank
timing.Timeline.span = span
assert setup.Timeline is timing.Timeline
cli.main(["train", CONFIG, "--run-dir", RUN_DIR])
