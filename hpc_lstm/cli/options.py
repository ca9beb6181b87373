"""Options that several commands have."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from hpc_lstm.errors import InputError

Command = TypeVar("Command", bound=Callable[..., None])


def warm_start_options(command: Command) -> Command:
    """The options of the commands that may start with another run's model."""
    start = click.option(
        "--init-from",
        default=None,
        type=click.Path(),
        metavar="RUN_DIR",
        help="Start with the weights of this completed run's model, and a fresh optimizer.",
    )
    keep = click.option(
        "--keep-scaling",
        is_flag=True,
        help="With --init-from: scale prices as that run did, not by the train rows of this one.",
    )
    return start(keep(command))


def refuse_without(needed: str, present: bool, *names: str) -> None:
    """Refuse options of the current command that have no effect without another one.

    Args:
        needed: the other one, as it is written.
        present: whether that was given.
        names: the parameters of those that need it.

    Raises:
        click.UsageError: one of them was given, be it with its default's value.
    """
    if present:
        return
    context = click.get_current_context()
    for option in context.command.params:
        name = option.name or ""
        if name in names and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option.opts[-1]} needs {needed}")


def json_option(command: Command) -> Command:
    """The option of every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def device_option(command: Command) -> Command:
    """The option of the commands that forecast with a trained network."""
    option = click.option(
        "--device",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "cpu", "gpu"]),
        help="Where to forecast; auto: on a GPU if there is one and that is faster.",
    )
    return option(command)


def set_option(command: Command) -> Command:
    """The option that overrides settings of a config."""
    option = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        shell_complete=complete("settings"),
        help="Override one setting.",
    )
    return option(command)


def complete(what: str) -> Callable[..., Any]:
    """A function of ``console.completion``, which is imported when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from hpc_lstm.console import completion

        return getattr(completion, what)(ctx, param, incomplete)

    return complete


class Number(click.FloatRange):
    """A number within limits, which NaN is not, though no comparison says so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class OutputFile(click.Path):
    """A file to write; where it is a symbolic link, the file that it leads to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        return os.path.realpath(path) if os.path.islink(path) else path


def numbers_of_days(option: str, text: str) -> list[int]:
    """The numbers of days that an option's text names, such as "20,50,200"."""
    try:
        days = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        days = [0]
    if any(d < 1 for d in days):
        raise InputError(f"{option}: must be numbers of days such as 20,50,200, got {json.dumps(text)}")
    return days
