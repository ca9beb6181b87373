"""``NAME``: a column of the store as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_lstm.features.feature import PRICE, ColumnFeature, Target


@dataclass(frozen=True)
class StoreColumn(ColumnFeature):
    """The column itself, as a feature and as a target."""

    kind = "NAME"
    unit: ClassVar[str] = PRICE

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """The prices; NaN stays NaN."""
        return prices

    def as_target(self, horizon: int) -> Target | None:
        """Itself: the forecast is a price."""
        return self

    def price(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The target value."""
        return value

    @classmethod
    def usage(cls) -> str:
        """The bare name."""
        return cls.kind
