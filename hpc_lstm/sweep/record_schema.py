"""What a record of a sweep must have for the table, the figures and the fit; more is kept as it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hpc_lstm.sweep.measure import STEADY

Count = Annotated[int, Field(gt=0, lt=2**62)]
Number = Annotated[int, Field(ge=0, lt=2**62)]
Seconds = Annotated[float, Field(ge=0, lt=1e15)]
Positive = Annotated[float, Field(gt=0, lt=1e15)]
Finite = Annotated[float, Field(gt=-1e15, lt=1e15)]
Key = Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z_0-9]+$")]
# Of a setting, as SWEEP.toml has it.
Value = bool | Annotated[float, Field(gt=-1e300, lt=1e300)] | str | list[Any]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, defer_build=True)


class _Place(_Part):
    kind: Literal["cores", "gpus"]
    used: Count
    shared: bool
    nodes: Count


class _Busy(_Part):
    means_s: list[Seconds] = Field(min_length=1)
    variance: Seconds
    third_moment: Finite
    quantiles_s: list[Finite] = Field([], min_length=2)  # older records have none


class _Node(_Part):
    node: str
    processor: str
    cores: Count


class _Rank(_Part):
    gpu: str


class _Environment(_Part):
    versions: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], str]
    mpi: str
    transport: str
    threads: Count = 1
    nodes: list[_Node] = Field(min_length=1)
    ranks: list[_Rank] = Field(min_length=1)


class _Average(_Part):
    every: Number | str
    transport: str


class _Config(_Part):
    average: _Average


class RecordSchema(_Part):
    """The fields of ``records.make_record`` that are read."""

    name: str
    point: Number
    repeat: Number
    scaling: str
    ranks: Count
    axes: dict[Key, Value]
    batch_size: Count
    steps: Count
    cycles: Count
    interval: Count
    cycles_per_meeting: Positive = 1  # older records lack it
    averaged_bytes: Number
    samples: Count
    seconds: Positive
    samples_per_second: Positive
    phase_seconds: dict[str, Seconds]
    place: _Place
    other_load: Finite
    meeting_s: Seconds
    average_s: Seconds
    busy: _Busy
    config: _Config
    environment: _Environment

    @model_validator(mode="after")
    def _check(self) -> RecordSchema:
        if not set(STEADY) <= self.phase_seconds.keys():
            raise ValueError("phase_seconds lacks a phase of the steady state")
        if len(self.busy.means_s) != self.ranks:
            raise ValueError("busy.means_s has not one mean for each rank")
        return self
