"""Prices to windows: each rank's slice, scaled and cut into batches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.config import DataConfig, TrainConfig
from hpc_lstm.errors import CudaError, InputError
from hpc_lstm.features.columns import ModelColumns, find_columns
from hpc_lstm.parallel import gpu as gpus
from hpc_lstm.parallel.gpu import Gpu
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.scaler import LocalFit, Scaler
from hpc_lstm.preprocess.slices import Slice, WindowIndex
from hpc_lstm.preprocess.windows import Windows

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore


def backend(name: str, rows_share: float = 0.5) -> Any:
    """What scales and cuts windows: ``host``, or ``cuda.Cuda`` on this process's GPU.

    Every kernel is compiled and loaded here, so that what can go wrong goes wrong before the run begins.

    Args:
        name: ``train.backend``; "auto" is cuda where it can be used, and the log says why if it is not.
        rows_share: of the GPU's free memory that the rows of a slice may take.

    Raises:
        CudaError: "cuda" cannot be used here.
    """
    from hpc_lstm.preprocess import host

    if name == "host":
        return host
    problem = gpus.problem()
    if problem is None:
        from hpc_lstm.preprocess.cuda import Cuda

        try:
            return Cuda(rows_share)
        except CudaError as error:
            problem = str(error)
    if name == "cuda":
        raise CudaError(f'train.backend = "cuda": {problem}; or set train.backend = "host"')
    log.info("backend host, not cuda: %s", problem)
    return host


def training_backend(settings: TrainConfig, gpu: Gpu | None) -> Any:
    """The backend for a run of training; the fused engine takes its batches on the host.

    Raises:
        CudaError: see ``backend``.
    """
    name = "host" if settings.engine == "fused" else settings.backend
    return backend(name, rows_share(settings, gpu))


def backend_here(settings: TrainConfig, gpu: Gpu | None) -> Any:
    """The backend for a trained run, which may have been trained where there was a GPU: "cuda" is then "auto"."""
    return backend("host" if settings.backend == "host" else "auto", rows_share(settings, gpu))


def rows_share(settings: TrainConfig, gpu: Gpu | None) -> float:
    """The share of a GPU's free memory for the rows of this rank, one of those on it."""
    return settings.gpu_rows_share / (gpu.sharers if gpu else 1)


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

    def close(self) -> None:
        """Let go of the memory of all windows."""
        self.train.close()
        self.validation.close()

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
    backend: Any

    def load(self, part: str, rows: Any = None) -> Windows:
        share = self.index.slice(part, self.world.rank, self.world.size)
        return self.world.raise_on_all(lambda: self._windows(share, rows))

    def _windows(self, share: Slice, rows: Any) -> Windows:
        window, horizon = self.index.window, self.index.horizon
        if rows is None:
            rows = self.backend.read(self.store, share, self.columns, window, horizon)
        rows.scale(self.scaler.scale[self.places], self.scaler.shift[self.places])
        return Windows(self.store, share, self.columns, window, horizon, self.places, rows)


def prepare(
    store: MarketStore, data: DataConfig, world: World, backend: Any, scaler: Scaler | None = None
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
    columns, index = world.raise_on_all(lambda: _find(store, data))
    names = [store.symbols[symbol] for symbol in index.symbols]
    rows = None
    if scaler is None:
        world.raise_on_all(lambda: _enough(index.total("train"), world.size))
        share = index.slice("train", world.rank, world.size)
        local = LocalFit(share, columns, len(names), data.scaling, backend)
        rows = world.raise_on_all(lambda: _fitted_rows(store, share, columns, data, backend, local))
        scaler = local.combine(names, data.feature_range, world)
    known = scaler
    places = world.raise_on_all(lambda: _places(known, columns, names))
    loader = _Loader(store, index, columns, known, places, world, backend)
    return Prepared(
        scaler=known,
        index=index,
        columns=columns,
        train=loader.load("train", rows),
        validation=loader.load("validation"),
        skipped=[store.symbols[symbol] for symbol in index.skipped],
        _loader=loader,
    )


def _find(store: MarketStore, data: DataConfig) -> tuple[ModelColumns, WindowIndex]:
    columns = find_columns(data.features, data.target, data.horizon, store.columns, str(store.path))
    everyone = range(len(store.symbols))
    chosen = everyone if data.symbols == "all" else sorted(store.symbol(name) for name in data.symbols)
    if data.shard:
        part, parts = map(int, data.shard.split("/"))
        if len(chosen) < parts:
            raise InputError(
                f'data.shard = "{data.shard}": there are only {len(chosen)} symbols to share out'
            )
        chosen = chosen[part - 1 :: parts]
    return columns, WindowIndex(
        store.offsets, chosen, data.window, data.horizon, data.split, columns.lookback
    )


def _enough(windows: int, ranks: int) -> None:
    if windows < ranks:
        raise InputError(
            f"{windows} train windows are fewer than {ranks} ranks; start at most {windows}, or use more "
            "symbols, longer data or a shorter data.window"
        )


def _fitted_rows(
    store: MarketStore, share: Slice, columns: ModelColumns, data: DataConfig, backend: Any, local: LocalFit
) -> Any:
    rows = backend.read(store, share, columns, data.window, data.horizon)
    rows.fit(local)
    return rows


def _places(known: Scaler, columns: ModelColumns, names: list[str]) -> np.ndarray:
    if known.columns != columns.names:
        raise InputError(
            f"the scaler has the columns {', '.join(known.columns)}, but data.features and data.target are "
            f"{', '.join(columns.names)}; use the settings of the run"
        )
    return known.select(names)
