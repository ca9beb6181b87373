"""The losses by the name that ``train.loss`` gives them.

A new one is a file beside this one, a line in ``LOSSES`` and its function in kernels/lstm_losses.h. The settings are
checked against this module (see ``config.NameIn``), so nothing here imports a loss before it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from hpc_lstm.model.losses.loss import Loss

# Module and class by name.
LOSSES = {
    "mse": "mse.MeanSquaredError",
    "mae": "mae.MeanAbsoluteError",
    "huber": "huber.Huber",
    "quantile": "quantile.Quantile",
    "gaussian": "gaussian.Gaussian",
    "student-t": "student_t.StudentT",
    "binary-cross-entropy": "binary_cross_entropy.BinaryCrossEntropy",
}
# Keys of ``[train]`` that a loss takes and not every other: its constructor's arguments.
SETTINGS = {
    "huber": ("huber_delta",),
    "quantile": ("quantiles",),
    "student-t": ("degrees_of_freedom",),
}

AUTO = "auto"


def names() -> tuple[str, ...]:
    """What ``train.loss`` may say."""
    return (AUTO, *LOSSES)


def create_loss(name: str, settings: Mapping[str, Any]) -> Loss:
    """The loss of this name.

    Args:
        settings: the section ``[train]``, of which it takes what is its own.
    """
    module, _, kind = LOSSES[name].partition(".")
    loss = cast("type[Loss]", getattr(import_module(f"hpc_lstm.model.losses.{module}"), kind))
    return loss(**{key: settings[key] for key in SETTINGS.get(name, ())})
