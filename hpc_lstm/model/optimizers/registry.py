"""The optimizers by the name that ``train.optimizer`` gives them.

A new one is a file beside this one and a line in ``OPTIMIZERS``. The settings are checked against this module (see
``config.NameIn``), so nothing here imports an optimizer before it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from hpc_lstm.model.optimizers.optimizer import Optimizer

# Module and class by name.
OPTIMIZERS = {
    "adam": "adam.Adam",
    "adamw": "adamw.AdamW",
    "rmsprop": "rmsprop.RMSprop",
    "sgd": "sgd.SGD",
}
# Keys of ``[train]`` that an optimizer takes and not every other: its constructor's arguments.
SETTINGS = {
    "adamw": ("weight_decay",),
}


def names() -> tuple[str, ...]:
    """What ``train.optimizer`` may say."""
    return tuple(OPTIMIZERS)


def optimizer_class(name: str) -> type[Optimizer]:
    """The optimizer of this name, of those in ``names()``."""
    module, _, kind = OPTIMIZERS[name].partition(".")
    return cast("type[Optimizer]", getattr(import_module(f"hpc_lstm.model.optimizers.{module}"), kind))


def create_optimizer(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """The optimizer of this name.

    Args:
        settings: the section ``[train]``, of which it takes what is its own.
    """
    return optimizer_class(name)(**{key: settings[key] for key in SETTINGS.get(name, ())})
