"""SWEEP.toml: what is varied, how often each point is measured, and how runs are started.

[sweep]      scaling, ranks, repeats, steps, warmup, ...
[settings]   "section.key" = value        the same for all runs, over those of ``sweep.config``
[axes]       "section.key" = [values]     every combination is a point, times every number of ranks
[local]      how ranks are started here
[slurm]      the jobs of ``sweep.runner = "slurm"``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpc_lstm import config as configuration
from hpc_lstm.config import (
    Positive,
    RunConfig,
    Section,
    check_sections,
    nearest_name,
    read_toml,
    section_fields,
    validate_sections,
)
from hpc_lstm.errors import ConfigError, InputError
from hpc_lstm.files import expanded

Value = bool | int | float | str | list[Any]
# A run of a sweep is one stretch of steps; when it saves, ends or meets other clusters is the sweep's to say.
OWNED = ("train.epochs", "train.patience", "checkpoint.", "storage.", "sync.", "data.shard", "train.threads")


class SweepSection(Section):
    """What is measured."""

    config: str = Field(
        "", description="Config of a run to start from, relative to the sweep's file; empty: the defaults."
    )
    scaling: Literal["weak", "strong"] = Field(
        "weak",
        description="`weak`: every rank takes `steps` steps; `strong`: all ranks together take as many windows as the "
        "smallest number of ranks does in `steps` steps.",
    )
    batch: Literal["rank", "all"] = Field(
        "rank",
        description="Strong scaling: `train.batch_size` is a rank's, so that more ranks take fewer steps, or that of "
        "`all` ranks together, so that more ranks take smaller batches.",
    )
    ranks: list[Positive] = Field([1, 2], min_length=1, description="Numbers of ranks.")
    repeats: Positive = Field(3, description="Runs of each point.")
    steps: Positive = Field(
        128, description="Measured steps of a rank (strong: at the smallest number of ranks)."
    )
    warmup: Positive = Field(64, description="Steps of each run before those that are measured.")
    threads: Positive = Field(1, description="CPU threads of a rank.")
    launch: Literal["run", "repeat", "ranks"] = Field(
        "run",
        description="One set of processes measures: one `run`; all runs of a `repeat` with the same number of ranks, "
        "one after the other, which saves importing TensorFlow each time; or all runs with the same number of `ranks`.",
    )
    seed: int = Field(0, ge=0, lt=configuration.LARGEST, description="Seed of the order of the runs.")
    days: Annotated[int, Field(ge=100, lt=configuration.LARGEST)] = Field(
        2500, description="Most rows of a symbol, where the sweep makes the market store."
    )
    runner: Literal["local", "slurm"] = Field(
        "local", description="Start ranks here, or submit jobs to Slurm."
    )
    timeout_s: float = Field(1800.0, gt=0, description="Seconds after which a set of processes is ended.")


class LocalSection(Section):
    """How ranks are started on this machine."""

    launcher: list[str] = Field(
        [],
        description='The launcher and its options, such as ["mpirun", "--bind-to", "core"]; empty: `mpiexec`.',
    )


class SlurmSection(Section):
    """The jobs; an empty text or a 0 leaves the choice to Slurm."""

    ranks_per_node: Positive = Field(1, description="Ranks on a node.")
    gpus_per_node: int = Field(0, ge=0, lt=configuration.LARGEST, description="GPUs of a node.")
    cpus_per_task: int = Field(
        0, ge=0, lt=configuration.LARGEST, description="Cores of a rank; 0: `sweep.threads`."
    )
    time: str = Field("", description="Time limit of a job, such as `00:20:00`.")
    account: str = Field("", description="Account to charge.")
    partition: str = Field("", description="Partition.")
    exclusive: bool = Field(False, description="Nodes that no other job shares.")
    at_once: Positive = Field(20, description="Jobs of the sweep in the queue at any time.")


class SweepConfig(Section):
    """All of SWEEP.toml."""

    sweep: SweepSection = SweepSection()
    settings: dict[str, Any] = Field({})
    axes: dict[str, Any] = Field({})
    skip: list[dict[str, Any]] = Field([])
    local: LocalSection = LocalSection()
    slurm: SlurmSection = SlurmSection()

    @model_validator(mode="after")
    def _check(self) -> SweepConfig:
        if len(set(self.sweep.ranks)) < len(self.sweep.ranks):
            raise ValueError(f"sweep.ranks: names a number twice: {self.sweep.ranks}")
        if self.sweep.batch == "all" and self.sweep.scaling == "weak":
            raise ValueError(
                'sweep.batch: "all" is for scaling = "strong"; weak scaling keeps a rank\'s batch'
            )
        for name in ("settings", "axes"):
            for key in getattr(self, name):
                _check_key(name, key)
        for key, values in self.axes.items():
            if key in self.settings:
                raise ValueError(f"settings.{key}: is also an axis; remove one of them")
            if not isinstance(values, list) or not values:
                raise ValueError(f"axes.{key}: must be a list of values, got {values!r}")
            if any(values.count(value) > 1 for value in values):
                raise ValueError(f"axes.{key}: names a value twice: {values}")
        for rule in self.skip:
            for key, values in rule.items():
                known = {"ranks": self.sweep.ranks, **self.axes}
                if key not in known:
                    raise ValueError(f"skip.{key}: neither ranks nor an axis{nearest_name(key, known)}")
                if not isinstance(values, list) or any(value not in known[key] for value in values):
                    raise ValueError(
                        f"skip.{key}: must be a list of values out of {known[key]}, got {values!r}"
                    )
        return self

    def skips(self, ranks: int, axes: dict[str, Any]) -> bool:
        """True of a combination that one of the rules under ``skip`` leaves out."""
        point = {"ranks": ranks, **axes}
        return any(all(point[key] in values for key, values in rule.items()) for rule in self.skip)


def load_sweep(path: str | Path) -> tuple[SweepConfig, dict[str, Any]]:
    """Read a sweep file and the config that it names.

    Returns:
        The sweep, and the tables of settings that its runs start from; ``data.store`` absolute, or "" where the
        sweep makes the stores.

    Raises:
        ConfigError: a file is missing or not TOML, an unknown key, a wrong value; one line that names it.
    """
    path = Path(path)
    tables = read_toml(path, "sweep", "examples/sweep.toml")
    return parse_sweep(tables, str(path), path.parent)


def parse_sweep(tables: dict[str, Any], where: str, folder: Path) -> tuple[SweepConfig, dict[str, Any]]:
    """As ``load_sweep``, from tables.

    Args:
        where: their source, for errors.
        folder: what paths in them are relative to.
    """
    check_sections(SweepConfig, tables, where)
    tables = dict(tables)
    for name in ("settings", "axes"):
        tables[name] = flat(tables.get(name, {}))
    tables["skip"] = [flat(rule) if isinstance(rule, dict) else rule for rule in tables.get("skip", [])]
    sweep = validate_sections(SweepConfig, tables, where)
    base: dict[str, Any] = {"data": {"store": ""}}
    if sweep.sweep.config:
        base = configuration.load(folder / sweep.sweep.config).model_dump()
    for key, value in sweep.settings.items():
        section, _, name = key.partition(".")
        if key == "data.store":
            try:
                value = str((folder / expanded(str(value))).resolve())
            except InputError as error:
                raise ConfigError(f"{where}: settings.data.store: {error}") from None
        base.setdefault(section, {})[name] = value
    return sweep, base


def run_keys() -> list[str]:
    """Every ``section.key`` of a run's settings."""
    return [
        f"{section}.{key}" for section in RunConfig.model_fields for key in section_fields(RunConfig, section)
    ]


def flat(table: dict[str, Any]) -> dict[str, Any]:
    """``[axes.train] batch_size`` and ``[axes] "train.batch_size"`` are the same."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat


def _check_key(table: str, key: str) -> None:
    known = run_keys()
    if key not in known:
        raise ValueError(f"{table}.{key}: no such setting of a run{nearest_name(key, known)}")
    if key.startswith(OWNED):
        own = " (its own is sweep.threads)" if key == "train.threads" else ""
        raise ValueError(f"{table}.{key}: the sweep sets it for its runs{own}; remove it")
    if table == "axes" and key == "data.store":
        raise ValueError("axes.data.store: make a sweep for each store")
