"""The losses by the name that ``train.loss`` gives them.

A new one is a file beside this one, its class in ``LOSSES`` and its function in kernels/lstm_losses.h. The settings are
checked against this module (see ``config.NameIn``), so nothing here imports anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc_lstm.model.losses.binary_cross_entropy import BinaryCrossEntropy
from hpc_lstm.model.losses.gaussian import Gaussian
from hpc_lstm.model.losses.huber import Huber
from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.losses.mae import MeanAbsoluteError
from hpc_lstm.model.losses.mse import MeanSquaredError
from hpc_lstm.model.losses.quantile import Quantile
from hpc_lstm.model.losses.student_t import StudentT

LOSSES: tuple[type[Loss], ...] = (
    MeanSquaredError,
    MeanAbsoluteError,
    Huber,
    Quantile,
    Gaussian,
    StudentT,
    BinaryCrossEntropy,
)

AUTO = "auto"


def names() -> tuple[str, ...]:
    """What ``train.loss`` may say."""
    return (AUTO, *(loss.name for loss in LOSSES))


def names_that_take(setting: str) -> tuple[str, ...]:
    """The losses that a setting of ``[train]`` is for; none if it is not a loss's own."""
    return tuple(loss.name for loss in LOSSES if setting in loss.settings)


def create_loss(name: str, settings: Mapping[str, Any]) -> Loss:
    """The loss of this name.

    Args:
        settings: the section ``[train]``, of which it takes what is its own.
    """
    kind = next(loss for loss in LOSSES if loss.name == name)
    return kind(**{key: settings[key] for key in kind.settings})
