"""The section [train]: how the network is trained."""

from __future__ import annotations

import importlib
import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_lstm.config.section import (
    FREE_ON_RESUME,
    LARGEST,
    SHARED_UNLESS_DEFAULT,
    NameIn,
    Positive,
    Section,
)

# Registries whose names settings take, as modules.
ENGINE_REGISTRY = "hpc_lstm.model.engines.registry"
OPTIMIZER_REGISTRY = "hpc_lstm.model.optimizers.registry"
LOSS_REGISTRY = "hpc_lstm.model.losses.registry"
LOGGER_REGISTRY = "hpc_lstm.runs.loggers.registry"
# What ``train.loss`` is unless it says otherwise, and what that means: for directions, and for all other targets.
AUTO_LOSS = "auto"
DIRECTION_LOSS, DEFAULT_LOSS = "binary-cross-entropy", "mse"


class TrainConfig(Section):
    """How the network is trained."""

    engine: Annotated[str, NameIn(ENGINE_REGISTRY)] = Field(
        "auto",
        description="What computes the steps. `fused` is this package's own code: CUDA on a GPU (compute capability "
        "8.0 or newer, PyCUDA and NVRTC; see [the fused engine](fused-engine.md)); on CPUs C, in float32, built with "
        "the package or by this machine's compiler (`$CC`, `cc`, `gcc` or `clang`), or slow NumPy where there is "
        "neither. `keras` is TensorFlow on CPUs or a GPU, and needs the extra `[keras]`. `auto` takes `fused` where it "
        "can, except where the Keras engine trains faster on a GPU, as measured (`hpc-lstm doctor --tune`) or by "
        "a rule.",
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
        description="What training minimizes, see [losses](losses.md): errors (`mse`, `mae`, `huber`), for a point "
        "forecast; `quantile`, `gaussian` and `student-t`, for a distribution; `binary-cross-entropy` for "
        "directions. `auto` is the last of these for directions, and `mse` for everything else.",
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
        description="Error, in scaled units, above which `huber` is linear.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    degrees_of_freedom: float = Field(
        4.0,
        ge=1,
        le=1000,
        description="Degrees of freedom of the `student-t` distribution; the fewer, the heavier its tails.",
        json_schema_extra=SHARED_UNLESS_DEFAULT,
    )
    learning_rate: float = Field(0.001, gt=0, description="Peak learning rate.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="Learning rate over the run; `cosine` falls to 0 at the last step. More `epochs` on resume stretch "
        "it: the rate continues from where the longer schedule has it, and the log says so.",
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
    loggers: list[Annotated[str, NameIn(LOGGER_REGISTRY)]] = Field(
        ["tensorboard"],
        description="Where the curves go while the run trains, besides `history.jsonl`: `tensorboard` writes event "
        "files into the run directory; `mlflow` and `wandb` need the extra of that name "
        "([watch a run](watching.md)).",
        json_schema_extra=FREE_ON_RESUME,
    )
    log_every_s: float = Field(
        10.0,
        gt=0,
        description="Seconds between progress lines when the output is not a terminal.",
        json_schema_extra=FREE_ON_RESUME,
    )

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        """Refuse a setting of another optimizer or loss than the chosen one, unless it has its default value."""
        for chosen, registry in (("optimizer", OPTIMIZER_REGISTRY), ("loss", LOSS_REGISTRY)):
            known, name = importlib.import_module(registry), getattr(self, chosen)
            for key, field in type(self).model_fields.items():
                takers = [taker for taker, own in known.SETTINGS.items() if key in own]
                if takers and name not in takers and getattr(self, key) != field.default:
                    raise ValueError(f'{key}: "{name}" takes none; set {chosen} = "{takers[0]}" or remove it')
        if any(a >= b for a, b in itertools.pairwise(self.quantiles)):
            raise ValueError(f"quantiles: must be ascending, such as [0.05, 0.5, 0.95], got {self.quantiles}")
        return self
