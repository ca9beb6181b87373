"""Trains, but each step of one rank takes longer: ``slow_rank.py RANK SECONDS CONFIG RUN_DIR``."""

from __future__ import annotations

import sys
import time
from typing import Any

from hpc_lstm import cli
from hpc_lstm.training import loop
from hpc_lstm.training.setup import Run

SLOW, SECONDS = int(sys.argv[1]), float(sys.argv[2])
take_steps = loop.take_steps


def slowly(run: Run, *arguments: Any) -> Any:
    """The real steps; on one rank their computing takes longer."""
    averages = take_steps(run, *arguments)
    if run.world.rank == SLOW:
        with run.timeline.span("compute"):
            time.sleep(SECONDS)
    return averages


loop.take_steps = slowly
cli.main(["train", sys.argv[3], "--run-dir", sys.argv[4]])
