"""All settings of one run, and what sections must agree on."""

from __future__ import annotations

from pydantic import Field, model_validator

from hpc_lstm.config.averaging import AverageConfig, SyncConfig
from hpc_lstm.config.data import DataConfig
from hpc_lstm.config.model import ForecastConfig, ModelConfig
from hpc_lstm.config.section import Section
from hpc_lstm.config.storage import CheckpointConfig, StorageConfig
from hpc_lstm.config.train import AUTO_LOSS, DEFAULT_LOSS, DIRECTION_LOSS, TrainConfig


class RunConfig(Section):
    """All settings of one run."""

    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    forecast: ForecastConfig = Field(default_factory=ForecastConfig)
    average: AverageConfig = Field(default_factory=AverageConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    sync: SyncConfig = Field(default_factory=SyncConfig)

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
                "train them in a separate run"
            )
        if (self.loss == DIRECTION_LOSS) != bool(directions):
            wrong = f'takes only loss = "{DIRECTION_LOSS}"' if directions else "is not a direction"
            raise ValueError(
                f'train.loss: "{self.loss}", but data.target = "{self.data.targets[0]}" {wrong}; set '
                f'loss = "{AUTO_LOSS}"'
            )
        return self
