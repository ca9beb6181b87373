"""Every setting of a run: its name, default, unit and check.

``load`` reads a TOML file and ``--set`` overrides into a ``RunConfig``; ``dump`` writes the resolved one back.
An unknown key is refused with the nearest known name; a wrong value with what the key takes.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from hpc_lstm.errors import ConfigError
from hpc_lstm.files import checked_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Far above any useful value, and still safe in the integer arithmetic of arrays.
LARGEST = 2**31
# Steps after which ranks that average less often still agree on loss and stopping.
AGREE_STEPS = 64
# Targets times horizons: the head of the network, and all its forecasts of a window.
MOST_OUTPUTS = 64
# Features that are points on a circle, which take a sine and a cosine.
CIRCLES = ("weekday", "month", "day-of-year")
# Such a network takes minutes to be described alone.
MOST_LAYERS = 1000
Positive = Annotated[int, Field(gt=0, lt=LARGEST)]
Fraction = Annotated[float, Field(ge=0, le=1)]


# Flags of a setting, on its own field. It may differ when a run is resumed, as it does not change what is learned:
FREE_ON_RESUME: dict[str, JsonValue] = {"free_on_resume": True}
# All clusters that train one model must agree on it: weights mean the same, and rounds are merged alike.
SHARED_BY_CLUSTERS: dict[str, JsonValue] = {"shared_by_clusters": True}
# The same, but clusters of older versions do not know of it: they say nothing about it, which means the default.
SHARED_UNLESS_DEFAULT: dict[str, JsonValue] = {"shared_by_clusters": "unless default"}


# Defaults that have changed, as they were: a run writes all of its settings, so that what an older run's file leaves
# out is what its version did not know.
FORMER_DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {"split_by": "symbol", "features": ["close"], "target": "close", "scaling": "minmax"}
}

# Registries whose names settings take, as modules.
ENGINE_REGISTRY = "hpc_lstm.model.engines.registry"
OPTIMIZER_REGISTRY = "hpc_lstm.model.optimizers.registry"
LOSS_REGISTRY = "hpc_lstm.model.losses.registry"
# What ``train.loss`` is unless it says otherwise, and what that means: for directions, and for all other targets.
AUTO_LOSS = "auto"
DIRECTION_LOSS, DEFAULT_LOSS = "binary-cross-entropy", "mse"


class NameIn:
    """Marks a setting whose value is a name in a registry, so that an entry there is all that a new name takes.

    Registries belong to later layers, which settings know nothing of: like a plug-in, one is imported when a value is
    checked.

    Args:
        registry: the module, which has ``names()`` and imports nothing heavy.
    """

    def __init__(self, registry: str) -> None:
        self.registry = registry

    def names(self) -> tuple[str, ...]:
        """All that the setting may be."""
        known: tuple[str, ...] = importlib.import_module(self.registry).names()
        return known

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.names())}

    def _check(self, value: str, info: ValidationInfo) -> str:
        known = self.names()
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ValueError(
                f"{info.field_name}: input should be {' or '.join(map(repr, known))}, got {value!r}{hint}"
            )
        return value


def _range_ends(text: str) -> tuple[int, int]:
    """First and last number of a range such as "1..20"; 0 and 0 where it is none."""
    match = re.fullmatch(r"\s*([0-9]{1,4})\s*\.\.\s*([0-9]{1,4})\s*", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class Section(BaseModel):
    """A table of the TOML file: immutable, no unknown keys, no silent conversion of text into numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


class DataConfig(Section):
    """Which prices, and how they become windows."""

    store: str = Field(
        description="Path of the market store (HDF5); relative to the config file.",
        json_schema_extra=FREE_ON_RESUME,
    )
    symbols: Literal["all"] | list[str] = Field("all", description='Symbols to train on, or "all".')
    features: list[str] = Field(
        ["log-returns(adjusted)"],
        description='Model inputs: `"NAME"`, a store column; `"log-returns(NAME)"`, row over row (`"log-returns"`: of '
        'close); `"returns(NAME)"`; `"sma(NAME, length)"` and `"ema(NAME, span)"`, moving averages; '
        '`"rsi(NAME, length)"`; `"macd(NAME, fast, slow)"`, '
        '`"macd-signal(NAME, fast, slow, smoothing)"`; `"bollinger-width(NAME, length)"`; '
        '`"volatility(NAME, length)"`; `"volume-change(NAME)"`; `"zscore(NAME, length)"`; `"lag(NAME, rows)"`; '
        '`"relative(NAME, length)"`; `"atr(length)"`; the calendar, `"weekday"`, `"month"`, `"day-of-year"`, each a '
        'sine and a cosine (`"weekday-sine"`, `"weekday-cosine"`, '
        '`"month-sine"`, `"month-cosine"`, `"day-of-year-sine"`, '
        '`"day-of-year-cosine"`), and `"month-end"`; `"market(NAME)"`, the mean log return of all symbols; '
        '`"symbol(NAME)"`, 1 in the rows of that symbol, and `"symbol"`, '
        "that of each of `symbols`. `adjusted` stands for `adj_close`, or for `close` in a store that has none. See "
        "[features](features.md).",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    target: str | list[str] = Field(
        "log-returns(adjusted)",
        description='What is forecast, one or a list: `"NAME"`, a store column; `"log-returns(NAME)"` '
        '(`"log-returns"`: of close), the log return over the horizon, turned back into a price for the metrics; '
        '`"direction(NAME)"`, the probability that the price rises over the horizon; `"volatility(NAME)"`, the root '
        "mean square of its log returns over the horizon. A price as it is leaves the range that the scaling was "
        "fitted on. See [features](features.md#targets).",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    horizon: Positive | list[Positive] | str = Field(
        1,
        description="Rows (trading days) from the window's last row to the target. Several, `[1, 5, 20]` or "
        '`"1..20"`: the network has an output for each, and forecasts all at once.',
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    window: Positive = Field(
        60, description="Rows (trading days) in one input window.", json_schema_extra=SHARED_BY_CLUSTERS
    )
    split: list[Fraction] | list[str] = Field(
        [0.7, 0.15, 0.15],
        description="Shares of train, validation and test, which sum to 1; or the first day of validation and the "
        'first day of test: `["2010-01-01", "2012-01-01"]`.',
    )
    split_by: Literal["date", "symbol"] = Field(
        "date",
        description="What shares are of. `date`: of the days on which there is a target, the same for all symbols, so "
        "that every forecast of validation and test is made when all training days are past. `symbol`: of each "
        "symbol's own windows, as version 0.1.0 did; symbols are then trained on days on which others are tested.",
    )
    embargo: int = Field(
        0,
        ge=0,
        lt=LARGEST,
        description="Days that have a target and are left out at the end of train and of validation, as a distance to "
        "what follows. For a split by date.",
    )
    train_from: str = Field(
        "", description="First day of a train target, such as `2005-01-01`; empty: the first there is."
    )
    until: str = Field("", description="Last day of a test target; empty: the last there is.")
    scaling: Literal["minmax", "standard"] = Field(
        "standard",
        description="Per symbol and column, fitted on train rows: zero mean and unit variance, or min-max.",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    feature_range: list[float] = Field(
        [0.0, 1.0],
        min_length=2,
        max_length=2,
        description="Range that min-max scaling maps the train rows to.",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )

    unusable: Literal["refuse", "leave-out"] = Field(
        "refuse",
        description="What becomes of symbols with a value that cannot be computed with: missing, infinite, or not "
        "above 0 where a log return is taken. `refuse` names them all, before the first step; `leave-out` trains "
        "without them.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    shard: str = Field(
        "",
        pattern=r"^([1-9][0-9]{0,5}/[1-9][0-9]{0,5})?$",
        description='This cluster\'s share of the symbols where several share a store: "1/2" is the first of two, '
        "every second symbol; empty: all.",
    )

    @field_validator("split", "train_from", "until", mode="before")
    @classmethod
    def _dates_as_text(cls, value: Any) -> Any:
        """TOML has dates of its own: ``split = [2010-01-01, 2012-01-01]``."""
        if isinstance(value, list):
            return [each.isoformat() if isinstance(each, date) else each for each in value]
        return value.isoformat() if isinstance(value, date) else value

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, tables: Any) -> Any:
        """Features that take several columns: a circle of the calendar, and a one-hot code of the symbols."""
        features = tables.get("features") if isinstance(tables, dict) else None
        if not isinstance(features, list):
            return tables
        symbols, expanded = tables.get("symbols", "all"), []
        for name in features:
            if name in CIRCLES:
                expanded += [f"{name}-sine", f"{name}-cosine"]
            elif name == "symbol" and isinstance(symbols, list):
                expanded += [f"symbol({each})" for each in symbols]
            elif name == "symbol":
                raise ValueError('features: "symbol" has a column for each symbol; name them in data.symbols')
            else:
                expanded.append(name)
        return {**tables, "features": expanded}

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.shard and int(self.shard.split("/")[0]) > int(self.shard.split("/")[1]):
            raise ValueError(f'shard: "{self.shard}" is no share; the first number is at most the second')
        self._check_split()
        for name in ("train_from", "until"):
            if day := getattr(self, name):
                _check_date(name, day)
        by_date = ("embargo", "train_from", "until")
        if self.split_by == "symbol" and (given := [name for name in by_date if getattr(self, name)]):
            raise ValueError(f'{given[0]}: is for a split by date; remove it, or split_by = "symbol"')
        if self.feature_range[0] >= self.feature_range[1]:
            raise ValueError(f"feature_range: must be [low, high] with low < high, got {self.feature_range}")
        if not self.store.strip() or "\0" in self.store:
            raise ValueError("store: must name a file")
        self._check_horizons()
        for name, chosen in (
            ("symbols", self.symbols),
            ("features", self.features),
            ("target", self.targets),
        ):
            if not chosen:
                hint = ', or "all"' if name == "symbols" else ""
                raise ValueError(f"{name}: name at least one{hint}")
            twice = [c for c in chosen if chosen != "all" and chosen.count(c) > 1]
            if twice:
                raise ValueError(f'{name}: "{twice[0]}" is named twice')
        return self

    @property
    def targets(self) -> list[str]:
        """What is forecast, each at every one of the horizons."""
        return [self.target] if isinstance(self.target, str) else self.target

    @property
    def horizons(self) -> list[int]:
        """Rows from a window's last row to its targets, ascending."""
        if isinstance(self.horizon, str):
            first, last = _range_ends(self.horizon)
            return list(range(first, last + 1))
        return [self.horizon] if isinstance(self.horizon, int) else self.horizon

    @property
    def longest_horizon(self) -> int:
        """Rows from a window's last row to its last target."""
        return self.horizons[-1]

    def _check_horizons(self) -> None:
        if isinstance(self.horizon, str):
            first, last = _range_ends(self.horizon)
            if not 1 <= first <= last:
                raise ValueError(
                    f'horizon: "{self.horizon}" is no range; write it such as "1..20", from 1 on and upwards'
                )
        elif not self.horizons or any(a >= b for a, b in itertools.pairwise(self.horizons)):
            raise ValueError(f"horizon: must be ascending, such as [1, 5, 20], got {self.horizon}")
        if (outputs := len(self.targets) * len(self.horizons)) > MOST_OUTPUTS:
            raise ValueError(f"horizon: at most {MOST_OUTPUTS} targets times horizons, got {outputs}")

    @property
    def split_shares(self) -> list[float] | None:
        """Shares of train, validation and test; None where ``split`` has dates."""
        shares = [share for share in self.split if isinstance(share, float)]
        return shares or None

    @property
    def split_dates(self) -> list[str] | None:
        """First day of validation and of test; None where ``split`` has shares."""
        dates = [day for day in self.split if isinstance(day, str)]
        return dates or None

    def _check_split(self) -> None:
        shares, dates = self.split_shares, self.split_dates
        if shares is not None:
            if len(shares) != 3:
                raise ValueError(f"split: must be 3 shares, of train, validation and test, got {self.split}")
            if abs(sum(shares) - 1) > 1e-6:
                raise ValueError(f"split: must sum to 1, got {self.split} (sum {sum(shares):g})")
            if shares[0] <= 0:
                raise ValueError("split: the first share (train) must be above 0")
            return
        if dates is None or len(dates) != 2:
            raise ValueError(
                "split: must be 3 shares, or 2 dates, the first day of validation and of test, "
                f"got {self.split}"
            )
        for day in dates:
            _check_date("split", day)
        if dates[0] > dates[1]:
            raise ValueError(f"split: validation must begin before test, got {self.split}")
        if self.split_by == "symbol":
            raise ValueError('split: dates are the same for all symbols; remove split_by = "symbol"')


def _check_date(key: str, day: str) -> None:
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ValueError(f'{key}: "{day}" is no date; write it such as "2012-01-31"') from None


class ModelConfig(Section):
    """The network: stacked LSTM layers with dropout, one dense output."""

    layers: Positive = Field(
        2, le=MOST_LAYERS, description="LSTM layers.", json_schema_extra=SHARED_BY_CLUSTERS
    )
    units: Positive = Field(64, description="Units of each LSTM layer.", json_schema_extra=SHARED_BY_CLUSTERS)
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout after each LSTM layer; 0 off.")


class TrainConfig(Section):
    """How the network is trained."""

    engine: Annotated[str, NameIn(ENGINE_REGISTRY)] = Field(
        "auto",
        description="What computes the steps: `fused` is code of our own, in CUDA on a GPU (compute capability 8.0 or "
        "newer, PyCUDA and NVRTC; see [the fused engine](fused-engine.md)), and in C on CPUs, in float32, built with "
        "the package or by this machine's compiler (`$CC`, `cc`, `gcc` or `clang`), without either slowly in NumPy; "
        "`keras` is TensorFlow on CPUs or a GPU, and needs the extra `[keras]`. `auto` takes `fused` where it can.",
        json_schema_extra=FREE_ON_RESUME,
    )
    backend: Literal["auto", "host", "cuda"] = Field(
        "auto",
        description="What scales and cuts the windows: NumPy on the host, or CUDA kernels on this rank's GPU. "
        "`auto` takes `cuda` where there is a GPU, PyCUDA and a compiler for the kernels, else `host`; "
        "the batches are the same, to the bit with min-max scaling, to the last bits with standard scaling.",
        json_schema_extra=FREE_ON_RESUME,
    )
    gpu_rows_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a GPU's free memory that a rank's rows may take in the `cuda` backend, once for "
        "training and once for validation; rows that do not fit stay in pinned host memory, from where the "
        "kernels read them.",
        json_schema_extra=FREE_ON_RESUME,
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Arithmetic of the network; weights, moments and sums stay float32. `bfloat16` is for GPUs.",
        json_schema_extra=FREE_ON_RESUME,
    )
    epochs: Positive = Field(
        10,
        description="Passes over all train windows of all ranks together.",
        json_schema_extra=FREE_ON_RESUME,
    )
    batch_size: Positive = Field(64, description="Windows per step on one rank.")
    optimizer: Annotated[str, NameIn(OPTIMIZER_REGISTRY)] = Field(
        "adam", description="Update rule: the formulas and constants of the Keras optimizer of the same name."
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="Decoupled weight decay of `adamw`: each step subtracts this times the learning rate times the "
        "weight. Other optimizers have none.",
    )
    loss: Annotated[str, NameIn(LOSS_REGISTRY)] = Field(
        AUTO_LOSS,
        description="What the steps make small, see [losses](losses.md): errors (`mse`, `mae`, `huber`), for a point "
        "forecast; `quantile`, `gaussian` and `student-t`, for a distribution; `binary-cross-entropy` for "
        "directions. `auto` is that for directions, and `mse` for all else.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.05, 0.5, 0.95],
        min_length=2,
        max_length=32,
        description='Levels of the quantiles that `loss = "quantile"` forecasts, ascending.',
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    huber_delta: float = Field(
        1.0,
        gt=0,
        description="Error, in scaled units, from which on `huber` is linear.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    degrees_of_freedom: float = Field(
        4.0,
        ge=1,
        le=1000,
        description="Of the distribution of `student-t`; the fewer, the heavier its tails.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    learning_rate: float = Field(0.001, gt=0, description="Peak learning rate.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="Learning rate over the run; `cosine` falls to 0 at the last step. More `epochs` on resume stretch "
        "it: the rate goes on where the longer schedule has it, as the log says.",
    )
    warmup: float = Field(
        0.0, ge=0, description="Epochs over which the learning rate rises from 0 to its peak."
    )
    clip_norm: float = Field(0.0, ge=0, description="Largest global norm of a gradient; 0 off.")
    patience: int = Field(
        0,
        ge=0,
        lt=LARGEST,
        description="Epochs without a better validation loss after which training stops; 0 off.",
        json_schema_extra=FREE_ON_RESUME,
    )
    min_delta: float = Field(
        0.0, ge=0, description="Least fall of the validation loss that counts as better."
    )
    restore_best: bool = Field(
        True, description="End with the weights of the best validation loss instead of the last ones."
    )
    seed: int = Field(
        0, ge=0, lt=LARGEST, description="Seed of initial weights, order of windows and dropout."
    )
    deterministic: bool = Field(
        False, description="Bit-identical results for the same config, seed and number of ranks; slower."
    )
    threads: int = Field(
        0,
        ge=0,
        lt=LARGEST,
        description="CPU threads of a rank; 0: as many as `OMP_NUM_THREADS` says, otherwise as many as Slurm allots to "
        "it, otherwise the node's cores over its ranks.",
        json_schema_extra=FREE_ON_RESUME,
    )
    log_every_s: float = Field(
        10.0,
        gt=0,
        description="Seconds between progress lines when the output is no terminal.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        """Refuse a setting of another optimizer or loss than the chosen one, unless it has its default value."""
        for chosen, registry in (("optimizer", OPTIMIZER_REGISTRY), ("loss", LOSS_REGISTRY)):
            known, name = importlib.import_module(registry), getattr(self, chosen)
            for key, field in type(self).model_fields.items():
                takers = known.names_that_take(key)
                if takers and name not in takers and getattr(self, key) != field.default:
                    raise ValueError(f'{key}: "{name}" takes none; set {chosen} = "{takers[0]}" or remove it')
        if any(a >= b for a, b in itertools.pairwise(self.quantiles)):
            raise ValueError(f"quantiles: must be ascending, such as [0.05, 0.5, 0.95], got {self.quantiles}")
        return self


class AverageConfig(Section):
    """When and what the ranks average over MPI."""

    every: Annotated[int, Field(ge=0, lt=LARGEST)] | Literal["epoch"] = Field(
        16, description='Steps between averages, or "epoch"; 0: only once, at the end of the run.'
    )
    what: Literal["weights", "weights+moments"] = Field(
        "weights", description="Average the weights alone, or the optimizer's moments too."
    )
    transport: Literal["auto", "host", "mpi", "nccl"] = Field(
        "auto",
        description="How weights on GPUs are averaged: through host memory, by an MPI that takes GPU memory, or by "
        "NCCL, which wants a GPU for each rank; `auto` takes `mpi` where the MPI says it can, else `host`.",
        json_schema_extra=FREE_ON_RESUME,
    )


class CheckpointConfig(Section):
    """How often the state of all ranks is written, and how much of it is kept."""

    every: Positive | Literal["epoch"] = Field(
        500, description='Steps between checkpoints, or "epoch".', json_schema_extra=FREE_ON_RESUME
    )
    keep: Positive = Field(
        3,
        description="Newest checkpoints kept, beside the one of the best validation loss.",
        json_schema_extra=FREE_ON_RESUME,
    )


class StorageConfig(Section):
    """Where checkpoints go: the run directory, another folder, or S3."""

    url: str = Field(
        "",
        description="`file:///folder`, the same as `/folder`, or `s3://bucket/prefix`; empty: the run directory. "
        "Checkpoints go to `<url>/<name of the run directory>/checkpoints/`, or those of clusters that share a run to "
        "`<url>/_shared/checkpoints/`, with `sync.run` in place of either name where that is set.",
        json_schema_extra=FREE_ON_RESUME,
    )
    endpoint_url: str = Field(
        "",
        description="Address of an S3 server other than AWS, such as Ceph or MinIO.",
        json_schema_extra=FREE_ON_RESUME,
    )
    sse: Literal["", "AES256", "aws:kms"] = Field(
        "", description="Server-side encryption that S3 is asked for.", json_schema_extra=FREE_ON_RESUME
    )
    sse_kms_key: str = Field(
        "",
        description='Name, alias or ARN of the key of `sse = "aws:kms"`; empty: the one that AWS keeps for S3.',
        json_schema_extra=FREE_ON_RESUME,
    )
    max_failures: Positive = Field(
        3,
        description="Checkpoints in a row that may fail to upload before the run is stopped.",
        json_schema_extra=FREE_ON_RESUME,
    )
    timeout_s: float = Field(
        120.0,
        gt=0,
        description="Seconds that one object may take, retries included, before it counts as failed.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @field_validator("url")
    @classmethod
    def _path_is_url(cls, url: str) -> str:
        return f"file://{url}" if url.startswith("/") else url

    @model_validator(mode="after")
    def _check(self) -> StorageConfig:
        # An address with credentials in it would end up in config.toml, logs and messages.
        for name in ("url", "endpoint_url"):
            if "\0" in getattr(self, name):
                raise ValueError(f"{name}: has a null byte, which no address has")
            if "@" in getattr(self, name):
                raise ValueError(
                    f"{name}: must hold no credentials; boto3 reads them from the environment or ~/.aws"
                )
        return self


class SyncConfig(Section):
    """Several clusters that train one model and meet at the object store of `[storage]`."""

    cluster: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
        description="Name of this cluster among those that share the run; empty: it trains alone.",
    )
    run: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
        description="Name of the run that they share, where several runs use one `storage.url`; empty: `_shared`, so "
        "that clusters with the same URL find each other, whatever their run directories are called.",
    )
    expected: Positive = Field(1, description="Clusters that take part.", json_schema_extra=FREE_ON_RESUME)
    every: int = Field(
        4, ge=0, lt=LARGEST, description="Averages between two rounds; 0: only one, at the end."
    )
    quorum: int = Field(
        0,
        ge=0,
        lt=LARGEST,
        description="Clusters without which no round closes; 0: more than half of `expected`.",
        json_schema_extra=FREE_ON_RESUME,
    )
    deadline_s: float = Field(
        600.0,
        ge=0,
        description="Seconds that a cluster waits for the others before a quorum is enough.",
        json_schema_extra=FREE_ON_RESUME,
    )
    late: Literal["fold", "drop"] = Field(
        "fold",
        description="What becomes of a change that comes after its round has closed: added to the next, or dropped.",
        json_schema_extra=FREE_ON_RESUME,
    )
    outer: Literal["average", "nesterov"] = Field(
        "average",
        description="How a round's changes become new weights: their mean by samples, or a step of SGD with "
        "Nesterov momentum along it (DiLoCo).",
        json_schema_extra=SHARED_BY_CLUSTERS,
    )
    outer_lr: float = Field(
        0.7, gt=0, description='Learning rate of `outer = "nesterov"`.', json_schema_extra=SHARED_BY_CLUSTERS
    )
    outer_momentum: float = Field(
        0.9, ge=0, lt=1, description='Momentum of `outer = "nesterov"`.', json_schema_extra=SHARED_BY_CLUSTERS
    )
    overlap: bool = Field(
        False,
        description="Train on while a round closes, and add its outcome then.",
        json_schema_extra=FREE_ON_RESUME,
    )
    payload: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of a cluster's contributions: bfloat16 has half the bytes; the rounding error is "
        "carried over to the next round.",
        json_schema_extra=FREE_ON_RESUME,
    )
    keep: int = Field(
        4,
        ge=2,
        lt=LARGEST,
        description="Newest rounds whose vectors stay in the store.",
        json_schema_extra=FREE_ON_RESUME,
    )
    lease_s: float = Field(
        60.0,
        ge=1,
        description="Seconds of silence after which the earlier owner of `cluster` is taken for dead, where it "
        "cannot be told otherwise.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @model_validator(mode="after")
    def _check(self) -> SyncConfig:
        if self.quorum > self.expected:
            raise ValueError(f"quorum: must be at most expected ({self.expected}), got {self.quorum}")
        return self


class ForecastConfig(Section):
    """The intervals around forecasts."""

    coverage: float = Field(
        0.9,
        gt=0,
        lt=1,
        description='Share of targets that an interval is to contain; with `loss = "quantile"` it is that between '
        "the outermost `quantiles`.",
        json_schema_extra=FREE_ON_RESUME,
    )
    calibration: Literal["conformal", "none"] = Field(
        "conformal",
        description="`conformal`: at the end of training, intervals are made as much wider or narrower as they must be "
        "to contain that share of the validation targets (split conformal prediction); losses without a distribution "
        "get their intervals from it. `none`: intervals are those of the loss, if it has a distribution.",
        json_schema_extra=FREE_ON_RESUME,
    )


class RunConfig(Section):
    """All settings of one run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    forecast: ForecastConfig = ForecastConfig()
    average: AverageConfig = AverageConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    storage: StorageConfig = StorageConfig()
    sync: SyncConfig = SyncConfig()

    @property
    def loss(self) -> str:
        """The name of the loss that the run is trained with."""
        if self.train.loss != AUTO_LOSS:
            return self.train.loss
        return DIRECTION_LOSS if self._directions else DEFAULT_LOSS

    @property
    def _directions(self) -> list[str]:
        """The targets that are directions."""
        return [name for name in self.data.targets if name.partition("(")[0].strip() == "direction"]

    @model_validator(mode="after")
    def _check_loss(self) -> RunConfig:
        directions = self._directions
        if directions and len(directions) < len(self.data.targets):
            raise ValueError(
                f'data.target: "{directions[0]}" is trained by {DIRECTION_LOSS}, and other targets are not; '
                "train them in a run of their own"
            )
        if (self.loss == DIRECTION_LOSS) != bool(directions):
            wrong = f'takes loss = "{DIRECTION_LOSS}" alone' if directions else "is no direction"
            raise ValueError(
                f'train.loss: "{self.loss}", but data.target = "{self.data.targets[0]}" {wrong}; set '
                f'loss = "{AUTO_LOSS}"'
            )
        return self


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file, apply ``section.key=value`` overrides, and check everything.

    Args:
        path: the TOML file.
        overrides: texts such as ``train.epochs=3``; the value is TOML, or a bare word taken as text.

    Returns:
        The checked settings, with ``data.store`` made absolute.

    Raises:
        ConfigError: file missing, not TOML, unknown key, wrong type or range; one line that names it.
        InputError: the path of ``data.store`` is not UTF-8.
    """
    path = Path(path)
    tables = read_toml(path, "config", "examples/quickstart.toml")
    for text in overrides:
        _override(tables, text)
    config = parse(tables, str(path))
    try:
        store = Path(config.data.store).expanduser()
    except RuntimeError:
        raise ConfigError(f'{path}: data.store: no such home folder: "{config.data.store}"') from None
    if not store.is_absolute():
        store = (path.parent / store).resolve()
    store = checked_path(store)
    return config.model_copy(update={"data": config.data.model_copy(update={"store": str(store)})})


def load_saved(path: Path) -> RunConfig:
    """Read the settings that a run has written; what one of an older version leaves out is as it was then.

    Raises:
        ConfigError: as ``load``.
    """
    return _filled(load(path), FORMER_DEFAULTS)


def parse_saved(tables: dict[str, Any], where: str) -> RunConfig:
    """``parse`` for settings that a run has written: see ``load_saved``."""
    return _filled(parse(tables, where), FORMER_DEFAULTS)


def with_left_out_of(run: RunConfig, config: RunConfig) -> RunConfig:
    """Settings to resume a run with: what the file leaves out is as in the run where the default has changed."""
    return _filled(config, {name: dict(getattr(run, name)) for name in FORMER_DEFAULTS})


def _filled(config: RunConfig, values: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Settings in which the keys of ``FORMER_DEFAULTS`` that were left out have other values."""
    sections = {}
    for name, former in FORMER_DEFAULTS.items():
        section = getattr(config, name)
        left_out = former.keys() - section.model_fields_set
        sections[name] = section.model_copy(update={key: values[name][key] for key in left_out})
    return config.model_copy(update=sections)


def parse(tables: dict[str, Any], where: str) -> RunConfig:
    """Check nested tables of settings; ``where`` names their source in errors.

    Raises:
        ConfigError: one line on the first wrong key.
    """
    check_sections(RunConfig, tables, where)
    config = validate_sections(RunConfig, tables, where)
    if config.sync.cluster and not config.storage.url:
        raise ConfigError(
            f'{where}: sync.cluster: clusters meet at an object store; set storage.url = "s3://bucket/prefix", or '
            '"file:///folder" on storage that they share'
        )
    if config.sync.cluster and config.average.every == 0:
        raise ConfigError(
            f"{where}: average.every: 0 leaves the ranks with different weights, but a cluster contributes one set of "
            "weights; set average.every = 16"
        )
    return config


def dump(config: RunConfig) -> str:
    """The resolved settings as TOML, every key written out."""
    import tomli_w

    return tomli_w.dumps(config.model_dump())


def get(config: RunConfig, key: str) -> Any:
    """The value of ``section.name``."""
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """All settings by ``section.name``."""
    return {key: get(config, key) for key in keys()}


def differences(old: RunConfig, new: RunConfig) -> list[tuple[str, Any, Any]]:
    """Keys, as ``section.name``, in which two runs differ, each with its old and new value."""
    return [(key, get(old, key), get(new, key)) for key in keys() if get(old, key) != get(new, key)]


def keys() -> list[str]:
    """All keys, as ``section.name``, in their order."""
    return [
        f"{section}.{name}"
        for section in RunConfig.model_fields
        for name in section_fields(RunConfig, section)
    ]


def free_on_resume() -> frozenset[str]:
    """Keys that may differ when a run is resumed."""
    return _flagged("free_on_resume")


def shared_by_clusters() -> frozenset[str]:
    """Keys on which all clusters that train one model must agree."""
    return _flagged("shared_by_clusters")


def shared_settings(config: RunConfig) -> dict[str, Any]:
    """The values of ``shared_by_clusters``, less those that older versions do not know where they are the default."""
    found = {}
    for key in sorted(shared_by_clusters()):
        section, name = key.split(".")
        field = section_fields(RunConfig, section)[name]
        known_to_all = field.json_schema_extra == SHARED_BY_CLUSTERS
        if known_to_all or get(config, key) != field.default:
            found[key] = get(config, key)
    return found


def digest(config: RunConfig) -> str:
    """SHA-256 of the settings that a resumption may not change."""
    tables = config.model_dump()
    for key in free_on_resume():
        section, name = key.split(".")
        del tables[section][name]
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _flagged(flag: str) -> frozenset[str]:
    return frozenset(
        f"{section}.{name}"
        for section in RunConfig.model_fields
        for name, field in section_fields(RunConfig, section).items()
        if isinstance(field.json_schema_extra, dict) and flag in field.json_schema_extra
    )


def _override(tables: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name):
        raise ConfigError(f'--set {text}: must be "section.key=value", such as "train.epochs=3"')
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    table = tables.setdefault(section, {})
    if isinstance(table, dict):
        table[name] = parsed


def read_toml(path: Path, kind: str, example: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        kind: what the file is, such as "config", and ``example``, one to start from: for the error.

    Raises:
        ConfigError: it is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {kind} file; {example} is one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def check_sections(model: type[Section], tables: dict[str, Any], where: str) -> None:
    """Refuse a table that is no section of ``model``, and a value in the place of one.

    Raises:
        ConfigError: it begins with ``where`` and names the section.
    """
    for name, value in tables.items():
        if name not in model.model_fields:
            raise ConfigError(f"{where}: [{name}]: no such section{nearest_name(name, model.model_fields)}")
        repeated = get_origin(model.model_fields[name].annotation) is list
        kind, written = (list, f"[[{name}]]") if repeated else (dict, f"[{name}]")
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {name}: must be a section, {written}, got {value!r}")


def validate_sections(model: type[S], tables: dict[str, Any], where: str) -> S:
    """The settings in ``tables``, checked by the fields of ``model``.

    Raises:
        ConfigError: one line on the first wrong key; it begins with ``where``.
    """
    try:
        return model.model_validate(_integers_as_floats(model, tables))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from None


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(known)}"


def section_fields(model: type[Section], section: str) -> dict[str, FieldInfo]:
    """The fields of a section by name; none where it takes any key."""
    return getattr(model.model_fields[section].annotation, "model_fields", {})


def _integers_as_floats(model: type[Section], tables: dict[str, Any]) -> dict[str, Any]:
    """Strict checking refuses TOML's ``1`` where a float is meant, which is right: made a float here."""

    def widen(value: Any, annotation: Any) -> Any:
        if isinstance(value, list) and "float" in str(annotation):
            return [widen(v, float) for v in value]
        # Beyond 2**1023 there is no such float: left as it is, to be refused.
        if annotation is float and type(value) is int and value.bit_length() < 1024:
            return float(value)
        return value

    def widened(section: str, table: Any) -> Any:
        fields = section_fields(model, section)
        if not fields:
            return table
        return {k: widen(v, fields[k].annotation) if k in fields else v for k, v in table.items()}

    return {section: widened(section, table) for section, table in tables.items()}


def _first_problem(model: type[Section], error: ValidationError) -> str:
    """The first problem of a pydantic report as one line that begins with its key."""
    problem = error.errors()[0]
    section, *rest = map(str, problem["loc"] or [""])
    if problem["type"] == "value_error":  # from a validator of ours, and begins with the key
        message = problem["msg"].removeprefix("Value error, ")
        return f"{section}.{message}" if section else message
    fields = section_fields(model, section)
    if not rest and problem["type"] == "missing":
        rest = [next(name for name, field in fields.items() if field.is_required())]
    key = ".".join([section, *rest[:1]])
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such key{nearest_name(rest[0], fields)}"
    if problem["type"] == "missing":
        return f"{key}: is required but not set"
    # A key that takes several types has a problem for each; together they say what it takes.
    expected = [
        p["msg"][0].lower() + p["msg"][1:] for p in error.errors() if p["loc"][:2] == problem["loc"][:2]
    ]
    return f"{key}: {' or '.join(dict.fromkeys(expected))}, got {problem['input']!r}"
