"""The sections [average] and [sync]: when and how weights are averaged, by ranks and by clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_lstm.config.section import FREE_ON_RESUME, LARGEST, SHARED_BY_CLUSTERS, Positive, Section, in_words

# Steps after which ranks that average less often still agree on loss and stopping.
AGREE_STEPS = 64
# Part of names of files and of keys in a bucket.
NAME = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
NAME_IN_WORDS = in_words('at most 64 letters, digits, ".", "_" and "-", the first a letter or digit')


class AverageConfig(Section):
    """When and what the ranks average over MPI."""

    every: Annotated[int, Field(ge=0, lt=LARGEST)] | Literal["epoch"] = Field(
        16, description='Steps between averages, or "epoch"; 0: only once, at the end of the run.'
    )
    what: Literal["weights", "weights+moments"] = Field(
        "weights", description="Average only the weights, or the optimizer's moments too."
    )
    transport: Literal["auto", "host", "mpi", "nccl"] = Field(
        "auto",
        description="How weights on GPUs are averaged: through host memory, by an MPI that takes GPU memory, or by "
        "NCCL, which needs a GPU for each rank; `auto` takes `mpi` where the MPI says it can, else `host`.",
        json_schema_extra=FREE_ON_RESUME,
    )


class SyncConfig(Section):
    """Several clusters that train one model and meet at the object store of `[storage]`."""

    cluster: str = Field(
        "",
        pattern=NAME,
        json_schema_extra=NAME_IN_WORDS,
        description="Name of this cluster among those that share the run; empty: it trains alone.",
    )
    run: str = Field(
        "",
        pattern=NAME,
        json_schema_extra=NAME_IN_WORDS,
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
        description="Fewest clusters with which a round closes; 0: more than half of `expected`.",
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
        description="What happens to a contribution that arrives after its round has closed: added to the next, or "
        "dropped.",
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
        description="Keep training while a round closes, and add its result afterwards.",
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
        description="Seconds of silence after which the earlier owner of `cluster` is taken to be dead, where "
        "there is no other way to know.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @model_validator(mode="after")
    def _check(self) -> SyncConfig:
        if self.quorum > self.expected:
            raise ValueError(f"quorum: must be at most expected ({self.expected}), got {self.quorum}")
        return self
