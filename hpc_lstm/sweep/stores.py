"""The market stores of a sweep: made so that one pass over one is just the steps of a run, or given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_lstm.config import DataConfig

# Of the windows of a made store; the rest validates and tests, which a sweep does not time but must pay for.
TRAIN_SHARE = 0.96
SPLIT = [TRAIN_SHARE, 0.02, 0.02]
SEED = 0


@dataclass(frozen=True)
class SyntheticStore:
    """A made market store: ``symbols`` of ``days`` rows each."""

    symbols: int
    days: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"synth-{self.symbols}x{self.days}.h5"

    def make(self, folder: Path) -> Path:
        """Its file in ``folder``, written if it is not there."""
        from hpc_lstm.market.synthetic import synthesize

        path = folder / self.name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            synthesize(path, symbols=self.symbols, days=self.days, seed=SEED)
        return path


def min_days(data: DataConfig) -> int:
    """Rows with which a symbol has a train window, split as ``SPLIT``."""
    return data.window + data.horizon - 1 + int(np.ceil(1 / TRAIN_SHARE))


def smallest_store(windows: int, data: DataConfig, most_days: int) -> SyntheticStore:
    """The smallest universe with at least ``windows`` train windows, split as ``SPLIT``.

    Args:
        windows: of all ranks together.
        most_days: rows of a symbol at most; more symbols are made instead.
    """
    lost = data.window + data.horizon - 1  # rows at a symbol's beginning and end that bring no window
    most = max(1, int((most_days - lost) * TRAIN_SHARE))
    symbols = -(-windows // most)
    train = -(-windows // symbols)
    total = int(np.ceil(train / TRAIN_SHARE))
    return SyntheticStore(symbols, total + lost)


def count_train_windows(data: DataConfig) -> int:
    """Train windows, of all ranks together, in a given store.

    Raises:
        StoreError, InputError: it cannot be read, a symbol is not there or all are too short.
    """
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.slices import WindowIndex

    with MarketStore(data.store) as store:
        names = store.symbols if data.symbols == "all" else data.symbols
        chosen = [store.symbol(name) for name in names]
        return WindowIndex(store.offsets, chosen, data.window, data.horizon, data.split).total("train")
