"""Prices to windows: each rank's slice, scaled and cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import ConfigError, InputError
from hpc_lstm.preprocess import features
from hpc_lstm.preprocess.features import ModelColumns
from hpc_lstm.preprocess.partition import WindowIndex
from hpc_lstm.preprocess.reading import read_values
from hpc_lstm.preprocess.scaler import LocalFit, Scaler
from hpc_lstm.preprocess.windows import Windows
from hpc_lstm.world import World

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore


def backend(name: str) -> ModuleType:
    """The module that scales and cuts windows: ``train.backend``; "auto" is the fastest that works."""
    from hpc_lstm.preprocess import host

    if name not in ("auto", "host"):
        raise ConfigError(f'train.backend: "{name}" is not available in this version; use "host" or "auto"')
    return host


@dataclass
class Prepared:
    """A rank's scaled windows.

    Attributes:
        scaler: fitted on all ranks' train rows, the same on every rank.
        index: all windows of all ranks.
        columns: features and target in the store.
        train, validation: this rank's.
        skipped: names of the selected symbols that are too short to train on.
    """

    scaler: Scaler
    index: WindowIndex
    columns: ModelColumns
    train: Windows
    validation: Windows
    skipped: list[str]
    _loader: _Loader

    def load(self, part: str) -> Windows:
        """This rank's windows of "train", "validation" or "test", read anew; collective.

        Raises:
            InputError: a value that cannot be scaled, on any rank.
        """
        return self._loader.load(part)


@dataclass(frozen=True)
class _Loader:
    store: MarketStore
    index: WindowIndex
    columns: ModelColumns
    scaler: Scaler
    places: np.ndarray
    world: World
    backend: ModuleType

    def load(self, part: str) -> Windows:
        share = self.index.slice(part, self.world.rank, self.world.size)
        return self.world.together(
            lambda: Windows(
                self.store,
                share,
                self.columns,
                self.index.window,
                self.index.horizon,
                self.scaler.scale[self.places],
                self.scaler.shift[self.places],
                self.places,
                self.backend,
            )
        )


def prepare(
    store: MarketStore, data: DataConfig, world: World, backend: ModuleType, scaler: Scaler | None = None
) -> Prepared:
    """Read this rank's slices of the store, fit the scaling on all ranks' train rows, and scale; collective.

    Args:
        data: symbols, columns, windows, split and scaling.
        backend: what ``backend()`` returned.
        scaler: take this scaling instead of fitting one.

    Raises:
        InputError: unknown symbol or column, no or too few windows, a value that is not finite, or a
            scaler that lacks a symbol or has other columns.
    """
    columns, index = world.together(lambda: _find(store, data))
    names = [store.symbols[symbol] for symbol in index.symbols]
    if scaler is None:
        world.together(lambda: _enough(index.total("train"), world.size))
        scaler = _fit(store, data, world, backend, columns, index, names)
    known = scaler
    places = world.together(lambda: _places(known, columns, names))
    loader = _Loader(store, index, columns, known, places, world, backend)
    return Prepared(
        scaler=known,
        index=index,
        columns=columns,
        train=loader.load("train"),
        validation=loader.load("validation"),
        skipped=[store.symbols[symbol] for symbol in index.skipped],
        _loader=loader,
    )


def _find(store: MarketStore, data: DataConfig) -> tuple[ModelColumns, WindowIndex]:
    columns = features.find(data.features, data.target, data.horizon, store.columns, str(store.path))
    everyone = range(len(store.symbols))
    chosen = everyone if data.symbols == "all" else [store.symbol(name) for name in data.symbols]
    return columns, WindowIndex(
        store.offsets, chosen, data.window, data.horizon, data.split, columns.lookback
    )


def _enough(windows: int, ranks: int) -> None:
    if windows < ranks:
        raise InputError(
            f"{windows} train windows are fewer than {ranks} ranks; start at most {windows}, or use more "
            "symbols, longer data or a shorter data.window"
        )


def _fit(
    store: MarketStore,
    data: DataConfig,
    world: World,
    backend: ModuleType,
    columns: ModelColumns,
    index: WindowIndex,
    names: list[str],
) -> Scaler:
    share = index.slice("train", world.rank, world.size)
    local = LocalFit(share, columns, len(names), data.scaling, backend)

    def read() -> None:
        for batch in read_values(store, share, columns):
            local.add(*batch)

    world.together(read)
    return local.combine(names, data.feature_range, world)


def _places(known: Scaler, columns: ModelColumns, names: list[str]) -> np.ndarray:
    if known.columns != columns.names:
        raise InputError(
            f"the scaler has the columns {', '.join(known.columns)}, but data.features and data.target are "
            f"{', '.join(columns.names)}; use the settings of the run"
        )
    return known.select(names)
