"""The loggers by the names that ``train.loggers`` gives them: a new one is a module of its own and a line here.

The settings are checked against this module (see ``config.NameIn``), so nothing here imports them or anything heavy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from hpc_lstm.errors import InputError

if TYPE_CHECKING:
    from hpc_lstm.runs.directory import RunDirectory
    from hpc_lstm.runs.loggers.logger import LoggerModule, RunLogger

# Modules by name, imported when they are asked for; each is a ``LoggerModule``.
LOGGERS = {
    "tensorboard": "hpc_lstm.runs.loggers.tensorboard",
    "mlflow": "hpc_lstm.runs.loggers.mlflow",
    "wandb": "hpc_lstm.runs.loggers.wandb",
}


def names() -> tuple[str, ...]:
    """What ``train.loggers`` may name."""
    return tuple(LOGGERS)


def check_loggers(chosen: Sequence[str]) -> None:
    """Refuse loggers whose packages are not installed.

    Raises:
        InputError: one is missing; names the extra that brings it.
    """
    for name in chosen:
        package = _module(name).PACKAGE
        if package and importlib.util.find_spec(package) is None:
            raise InputError(
                f'train.loggers: {name} needs the package {package}: pip install "hpc-lstm[{package}]"'
            )


def open_loggers(chosen: Sequence[str], run: RunDirectory, settings: Mapping[str, Any]) -> list[RunLogger]:
    """Begin to log a run with each of the chosen loggers.

    Raises:
        InputError: one cannot be opened.
    """
    return [_module(name).open_logger(run, settings) for name in dict.fromkeys(chosen)]


def _module(name: str) -> LoggerModule:
    return cast("LoggerModule", importlib.import_module(LOGGERS[name]))
