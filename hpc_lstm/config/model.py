"""The sections [model] and [forecast]: the network, and the intervals around its forecasts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hpc_lstm.config.section import FREE_ON_RESUME, SHARED_BY_CLUSTERS, Positive, Section

# Such a network takes minutes to be described alone.
MOST_LAYERS = 1000


class ModelConfig(Section):
    """The network: stacked LSTM layers with dropout, one dense output."""

    layers: Positive = Field(
        2, le=MOST_LAYERS, description="LSTM layers.", json_schema_extra=SHARED_BY_CLUSTERS
    )
    units: Positive = Field(64, description="Units of each LSTM layer.", json_schema_extra=SHARED_BY_CLUSTERS)
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout after each LSTM layer; 0 off.")


class ForecastConfig(Section):
    """The intervals around forecasts."""

    coverage: float = Field(
        0.9,
        gt=0,
        lt=1,
        description='Share of targets that an interval should contain; with `loss = "quantile"` it is that between '
        "the outermost `quantiles`.",
        json_schema_extra=FREE_ON_RESUME,
    )
    calibration: Literal["conformal", "none"] = Field(
        "conformal",
        description="`conformal`: at the end of training, intervals are widened or narrowed "
        "to contain that share of the validation targets (split conformal prediction); losses without a distribution "
        "get their intervals from it. `none`: intervals are those of the loss, if it has a distribution.",
        json_schema_extra=FREE_ON_RESUME,
    )
