"""Which commands there are: each is imported when it is called, so that ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click

# By a command's name, its module in this package and its function there.
COMMANDS = {
    "checkpoints": "storage.checkpoints",
    "compare": "report.compare",
    "doctor": "jobs.doctor",
    "evaluate": "evaluation.evaluate",
    "fetch": "prices.fetch",
    "import": "prices.import_",
    "init": "training.init",
    "launcher": "jobs.launcher",
    "plot": "report.plot",
    "predict": "evaluation.predict",
    "report": "report.report",
    "rounds": "storage.rounds",
    "runs": "report.runs",
    "slurm-path": "jobs.slurm_path",
    "submit": "jobs.submit",
    "sweep": "experiments.sweep",
    "synth": "prices.synth",
    "timing": "report.timing",
    "train": "training.train",
    "tune": "experiments.tune",
}


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; one is imported when it is looked up.

    Args:
        places: by name, "module.function".
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._found: dict[str, click.Command | str] = dict(places)

    def __getitem__(self, name: str) -> click.Command:
        found = self._found[name]
        if isinstance(found, str):
            module, _, function = found.partition(".")
            found = self._found[name] = getattr(import_module(f"hpc_lstm.cli.{module}"), function)
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
