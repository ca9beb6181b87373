"""Weights & Biases: a run in a project.

Its own variables say where: WANDB_API_KEY, WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline (then ``wandb sync`` uploads
later what lies in the run directory).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.loggers.background import BackgroundLogger, Point
from hpc_lstm.runs.loggers.reason import reason_of
from hpc_lstm.runs.loggers.remembered import remember_id, remembered_id

PACKAGE = "wandb"
PROJECT = "hpc_lstm"


class WandbSink:
    """One run.

    Args:
        wandb_run: a ``wandb.Run``.
    """

    def __init__(self, wandb_run: Any) -> None:
        self._run = wandb_run

    def send(self, points: list[Point]) -> None:
        """Log the points over ``step``: a resumed run may begin before the last one that was logged."""
        for point in points:
            self._run.log({**point.values, "step": point.step})

    def finish(self) -> None:
        """Upload what is left."""
        self._run.finish()


def open_logger(run: RunDirectory, settings: Mapping[str, Any]) -> BackgroundLogger:
    """Begin a run with the settings as its config, or go on with that of the run directory.

    Raises:
        InputError: nobody is logged in, or the server does not answer.
    """
    try:
        import wandb

        wandb_run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=run.name,
            dir=str(run.path),
            id=remembered_id(run, "wandb") or None,
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        wandb_run.config.update(dict(settings), allow_val_change=True)
        wandb_run.define_metric("*", step_metric="step")
    except Exception as error:  # of wandb, its service, or its server
        raise InputError(
            f"wandb: {reason_of(error)}; set WANDB_API_KEY, or WANDB_MODE=offline, or take wandb out of train.loggers"
        ) from None
    remember_id(run, "wandb", wandb_run.id)
    return BackgroundLogger("wandb", WandbSink(wandb_run))
