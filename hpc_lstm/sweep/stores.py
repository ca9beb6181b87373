"""The market stores that a sweep trains on: synthetic ones, each as long as its run, or one that is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_lstm.config import DataConfig

# Share of train windows in a made store. Validation and test are not measured, but take time: they are kept small.
TRAIN_SHARE = 0.96
SPLIT = [TRAIN_SHARE, 0.02, 0.02]
SEED = 0


@dataclass(frozen=True)
class SyntheticStore:
    """A market store that the sweep makes: ``symbols`` symbols of ``days`` rows each."""

    symbols: int
    days: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"synth-{self.symbols}x{self.days}.h5"

    def make(self, folder: Path) -> Path:
        """Path of its file in ``folder``, which is written if it does not exist."""
        from hpc_lstm.market.synthetic import synthesize

        path = folder / self.name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            synthesize(path, symbols=self.symbols, days=self.days, seed=SEED)
        return path


def min_days(data: DataConfig) -> int:
    """The least rows with which a symbol has a train window, split by ``SPLIT``."""
    return data.window + data.longest_horizon - 1 + int(np.ceil(1 / TRAIN_SHARE))


def smallest_store(windows: int, data: DataConfig, most_days: int) -> SyntheticStore:
    """The smallest store with at least ``windows`` train windows, split by ``SPLIT``.

    Args:
        windows: of all ranks together.
        most_days: rows of a symbol at most; more symbols are made instead.
    """
    lost = data.window + data.longest_horizon - 1  # rows of a symbol that are the target of no window
    most = max(1, int((most_days - lost) * TRAIN_SHARE))
    symbols = -(-windows // most)
    train = -(-windows // symbols)
    total = int(np.ceil(train / TRAIN_SHARE))
    return SyntheticStore(symbols, total + lost)


def count_train_windows(data: DataConfig) -> int:
    """Number of train windows in a given store, of all ranks together.

    Raises:
        StoreError, InputError: it cannot be read, a symbol is missing, or all symbols are too short.
    """
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel.world import World
    from hpc_lstm.preprocess.prepare import window_index

    with MarketStore(data.store) as store:
        return window_index(store, data, World())[0].total("train")
