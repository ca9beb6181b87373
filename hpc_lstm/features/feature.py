"""What a feature is: a causal function of store columns, dates or symbols, symbol by symbol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from hpc_lstm.features.rows import SymbolRows


class Target(Protocol):
    """What the network forecasts ``horizon`` rows ahead, and the price that may follow from it.

    Attributes:
        unit: what its values are: ``PRICE``, ``RETURN``, ``DIRECTION`` or ``VOLATILITY``.
    """

    unit: ClassVar[str]

    @property
    def lookback(self) -> int:
        """Rows before its own that a value depends on; at most the horizon."""

    def compute(self, prices: np.ndarray) -> np.ndarray:
        """Target values of consecutive rows of one symbol, float64 [n]; NaN for the first ``lookback``."""

    def price(self, value: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Prices, float64 [B], of target values [B], given the last known prices [B]; increasing in the values.

        Of ``PRICE`` and ``RETURN`` alone: from others no price follows.
        """


# What a target's values are.
PRICE, RETURN, DIRECTION, VOLATILITY = "price", "return", "direction", "volatility"
# Those from which a price follows.
PRICED = (PRICE, RETURN)


@dataclass(frozen=True)
class Feature(ABC):
    """One column that a model sees.

    The value of row t depends on rows ``t - lookback`` .. t of its symbol and on nothing else: on fewer where the
    symbol begins, where a value must exist, too. A slice that is read with ``lookback`` rows before it therefore
    has the same values, to the bit, as the whole symbol. tests/unit/features/test_registry.py checks it for every
    kind in the registry.

    A subclass is a frozen dataclass whose fields are what settings give in brackets: at most one text, which comes
    first, then whole numbers from 1.

    Attributes:
        kind: its name in settings.
        positive: whether prices must be above 0.
        scaled: whether values are scaled by symbol; otherwise they reach the network as they are.
        dated: whether it looks at dates or at the symbol.
    """

    kind: ClassVar[str]
    positive: ClassVar[bool] = False
    scaled: ClassVar[bool] = True
    dated: ClassVar[bool] = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the store columns that it is computed from."""
        return ()

    @property
    def lookback(self) -> int:
        """Rows before its own that a value depends on."""
        return 0

    @abstractmethod
    def values(self, rows: SymbolRows) -> np.ndarray:
        """Values of consecutive rows of one symbol.

        Args:
            rows: prices are finite in training, and above 0 where ``positive``.

        Returns:
            float64 [n]. The first row counts as the symbol's first: where it is not, the first ``lookback`` values
            are not the symbol's, and the caller drops them.
        """

    def as_target(self, horizon: int) -> Target | None:
        """The same as a target ``horizon`` rows ahead; None if no price follows from its value."""
        return None

    @classmethod
    def usage(cls) -> str:
        """How settings write it, such as ``sma(NAME, length)``."""
        words = ["NAME" if field.type == "str" else field.name for field in fields(cls)]
        return f"{cls.kind}({', '.join(words)})" if words else cls.kind


@dataclass(frozen=True)
class ColumnFeature(Feature):
    """A feature computed from one column of the store.

    Attributes:
        column: its name.
    """

    column: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @abstractmethod
    def compute(self, prices: np.ndarray) -> np.ndarray:
        """The values, float64 [n], from the column's prices float64 [n]; see ``values``."""

    def values(self, rows: SymbolRows) -> np.ndarray:
        """The values, float64 [n]."""
        return self.compute(rows.prices[self.column])


@dataclass(frozen=True)
class TrailingFeature(ColumnFeature):
    """A feature of a column's last values.

    Attributes:
        length: how many, at least 1, that of its own row included.
    """

    length: int

    @property
    def lookback(self) -> int:
        """All but its own row."""
        return self.length - 1
