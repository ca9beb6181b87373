"""The optimizers by the name that ``train.optimizer`` gives them.

A new one is a file beside this one and its class in ``OPTIMIZERS``. The settings are checked against this module (see
``config.NameIn``), so nothing here imports them or anything heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc_lstm.model.optimizers.adam import Adam
from hpc_lstm.model.optimizers.adamw import AdamW
from hpc_lstm.model.optimizers.optimizer import Optimizer
from hpc_lstm.model.optimizers.rmsprop import RMSprop
from hpc_lstm.model.optimizers.sgd import SGD

OPTIMIZERS: tuple[type[Optimizer], ...] = (
    Adam,
    AdamW,
    RMSprop,
    SGD,
)


def names() -> tuple[str, ...]:
    """What ``train.optimizer`` may say."""
    return tuple(optimizer.name for optimizer in OPTIMIZERS)


def optimizer_class(name: str) -> type[Optimizer]:
    """The optimizer of this name, of those in ``names()``."""
    return next(optimizer for optimizer in OPTIMIZERS if optimizer.name == name)


def names_that_take(setting: str) -> tuple[str, ...]:
    """The optimizers that a setting of ``[train]`` is for; none if it is not an optimizer's own."""
    return tuple(optimizer.name for optimizer in OPTIMIZERS if setting in optimizer.settings)


def create_optimizer(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer of this name.

    Args:
        settings: the section ``[train]``, of which it takes what is its own.
    """
    kind = optimizer_class(name)
    return kind(**{key: settings[key] for key in kind.settings})
