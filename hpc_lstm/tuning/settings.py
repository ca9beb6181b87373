"""TUNE.toml: which settings of a run are tried.

[tune]       config, search, trials, seed
[settings]   "section.key" = value                       the same for all trials, over those of ``tune.config``
[space]      "section.key" = [values]                    one of these
             "section.key" = {low = 1e-4, high = 1e-2, log = true}    a number between these; whole if both ends are
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from hpc_lstm import config as configuration
from hpc_lstm.config import (
    Positive,
    RunConfig,
    Section,
    check_sections,
    check_value,
    nearest_name,
    read_toml,
    validate_sections,
)
from hpc_lstm.sweep.settings import flat, run_keys

# What all trials must have alike to be compared, or what a trial, which runs by itself, cannot have.
OWNED = (
    "data.store",
    "data.split",
    "data.until",
    "data.embargo",
    "data.shard",
    "storage.",
    "sync.",
    "train.threads",
)


class TuneSection(Section):
    """How the space is searched."""

    config: str = Field(description="Config of a run to start from, relative to the file.")
    search: Literal["random", "grid", "tpe"] = Field(
        "random",
        description="`random`: `trials` draws from the space; `grid`: every combination, only of lists; `tpe`: "
        "`trials` suggestions of Optuna, which learn from the trials before.",
    )
    trials: Positive = Field(20, description="Draws of `random`, suggestions of `tpe`.")
    seed: int = Field(0, ge=0, lt=configuration.LARGEST, description="Seed of the draws.")


class TuneConfig(Section):
    """All of TUNE.toml."""

    tune: TuneSection
    settings: dict[str, Any] = Field({})
    space: dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> TuneConfig:
        if not self.space:
            raise ValueError("space: names no setting to try")
        for table, keys in (("settings", self.settings), ("space", self.space)):
            for key in keys:
                _check_key(table, key)
        for key, values in self.space.items():
            if key in self.settings:
                raise ValueError(f"settings.{key}: is also in the space; remove one of them")
            _check_values(key, values, grid=self.tune.search == "grid")
        return self


def load_tune(path: str | Path) -> tuple[TuneConfig, RunConfig]:
    """Read a tuning file and the config that it names.

    Returns:
        The file, and the settings that its trials start from.

    Raises:
        ConfigError: a file is missing or not TOML, an unknown key, a wrong value; one line that names it.
    """
    path = Path(path)
    tables = dict(read_toml(path, "tuning", "examples/tune.toml"))
    check_sections(TuneConfig, tables, str(path))
    for name in ("settings", "space"):
        tables[name] = _flat(tables.get(name, {}))
    tune = validate_sections(TuneConfig, tables, str(path))
    base = configuration.load(path.parent / tune.tune.config)
    base = with_settings(base, tune.settings, str(path))
    tables = base.model_dump()
    for key, values in tune.space.items():
        for value in values if isinstance(values, list) else (values["low"], values["high"]):
            check_value(RunConfig, tables, key, value, f"{path}: space.")
    return tune, base


def with_settings(base: RunConfig, values: dict[str, Any], where: str) -> RunConfig:
    """Settings in which some have other values.

    Args:
        values: by ``section.key``.

    Raises:
        ConfigError: a wrong value; the message begins with ``where``.
    """
    tables = base.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        tables[section][name] = value
    return configuration.parse(tables, where)


def _flat(table: Any) -> Any:
    """As ``flat``, but ``{low, high}`` is a value."""
    if not isinstance(table, dict):
        return table
    ranges = {key: value for key, value in table.items() if isinstance(value, dict) and _is_range(value)}
    inner = {
        f"{section}.{key}": value
        for section, values in table.items()
        if isinstance(values, dict) and section not in ranges
        for key, value in values.items()
        if isinstance(value, dict)
    }
    rest = {
        section: {k: v for k, v in values.items() if not isinstance(v, dict)}
        if isinstance(values, dict)
        else values
        for section, values in table.items()
        if section not in ranges
    }
    return {**flat(rest), **inner, **ranges}


def _is_range(value: dict[str, Any]) -> bool:
    return {"low", "high"} <= value.keys()


def _check_key(table: str, key: str) -> None:
    known = run_keys()
    if key not in known:
        raise ValueError(f"{table}.{key}: no such setting of a run{nearest_name(key, known)}")
    if table == "space" and key.startswith(OWNED):
        raise ValueError(f"space.{key}: is the same for all trials; set it in the config")


def _check_values(key: str, values: Any, *, grid: bool) -> None:
    if isinstance(values, dict):
        _check_range(key, values, grid=grid)
        return
    if not isinstance(values, list) or not values:
        raise ValueError(
            f"space.{key}: must be a list of values or {{low = ..., high = ...}}, got {values!r}"
        )
    if any(values.count(value) > 1 for value in values):
        raise ValueError(f"space.{key}: names a value twice: {values}")


def _check_range(key: str, values: dict[str, Any], *, grid: bool) -> None:
    if grid:
        raise ValueError(f'space.{key}: search = "grid" takes lists of values, got {values!r}')
    if unknown := values.keys() - {"low", "high", "log"}:
        raise ValueError(f"space.{key}: {sorted(unknown)[0]}: no such key; known: low, high, log")
    low, high, log = values["low"], values["high"], values.get("log", False)
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not isinstance(log, bool) or not low < high:
        raise ValueError(
            f"space.{key}: must be {{low = ..., high = ..., log = true or false}} with low < high"
        )
    if log and low <= 0:
        raise ValueError(f"space.{key}: log = true needs low above 0, got {low}")
