"""Trains, but each step of one rank takes longer: ``slow_rank.py RANK SECONDS CONFIG RUN_DIR``."""

from __future__ import annotations

import sys
import time
from typing import Any

from hpc_lstm import cli
from hpc_lstm.training.loop import Training

SLOW, SECONDS = int(sys.argv[1]), float(sys.argv[2])
take_steps = Training.take_steps


def slowly(training: Training, *arguments: Any) -> None:
    """The real steps; on one rank their computing takes longer."""
    take_steps(training, *arguments)
    if training.world.rank == SLOW:
        with training.timeline.span("compute"):
            time.sleep(SECONDS)


Training.take_steps = slowly  # type: ignore[method-assign]
cli.main(["train", sys.argv[3], "--run-dir", sys.argv[4]])
