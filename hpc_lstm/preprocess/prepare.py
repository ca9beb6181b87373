"""Prices to windows: each rank's slice, scaled and cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.features.columns import ModelColumns, find_columns
from hpc_lstm.features.symbol_indicator import SymbolIndicator
from hpc_lstm.parallel.world import World
from hpc_lstm.preprocess.market_means import with_market
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.preprocess.scaling_fit import ScalingFit
from hpc_lstm.preprocess.slices import Slice, WindowIndex, known_rows
from hpc_lstm.preprocess.split import Bounds, SplitDates, split_by_date
from hpc_lstm.preprocess.windows import Windows

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.backend import Backend, ResidentRows


@dataclass
class Prepared:
    """A rank's scaled windows.

    Attributes:
        scaler: fitted on all ranks' train rows, the same on every rank.
        index: all windows of all ranks.
        columns: features and target in the store.
        train, validation: this rank's.
        skipped: names of the selected symbols that have no train window.
        split_dates: where the parts are cut; None: each symbol was split by itself.
    """

    scaler: Scaler
    index: WindowIndex
    columns: ModelColumns
    train: Windows
    validation: Windows
    skipped: list[str]
    split_dates: SplitDates | None
    _loader: _Loader
    _read: dict[str, Windows] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """Rows from a window's last row to the target that is looked at."""
        return self.columns.target.horizon

    def of_output(self, output: int) -> Prepared:
        """The same windows, with prices around another target; they are this one's to close."""
        columns = replace(self.columns, output=output)
        return replace(
            self,
            columns=columns,
            train=self.train.of_output(columns),
            validation=self.validation.of_output(columns),
            _loader=replace(self._loader, columns=columns),
        )

    @property
    def store(self) -> MarketStore:
        """Where the rows come from."""
        return self._loader.store

    def close(self) -> None:
        """Release the memory of all windows."""
        for windows in (self.train, self.validation, *self._read.values()):
            windows.close()

    def load_windows(self, part: str) -> Windows:
        """This rank's windows of "train", "validation", "test" or "new", read at the first call; collective.

        Raises:
            InputError: a value that cannot be scaled, on any rank.
        """
        if part not in self._read:
            self._read[part] = self._loader.load(part)
        return self._read[part].of_output(self.columns)


@dataclass(frozen=True)
class _Loader:
    """What reads and scales this rank's windows of a part.

    Attributes:
        indices: int64 [U], of the index's symbols into ``scaler.symbols``.
    """

    store: MarketStore
    index: WindowIndex
    columns: ModelColumns
    scaler: Scaler
    indices: np.ndarray
    world: World
    backend: Backend

    def load(self, part: str, rows: ResidentRows | None = None) -> Windows:
        share = self.index.slice(part, self.world.rank, self.world.size)
        return self.world.raise_on_all(lambda: self._scaled_windows(share, rows))

    def _scaled_windows(self, share: Slice, rows: ResidentRows | None) -> Windows:
        window, horizon = self.index.window, self.index.horizon
        if rows is None:
            rows = self.backend.read_rows(self.store, share, self.columns, window, horizon)
        rows.scale(self.scaler.scale[self.indices], self.scaler.shift[self.indices])
        return Windows(self.store, share, self.columns, window, horizon, self.indices, rows)


def prepare(
    store: MarketStore,
    data: DataConfig,
    world: World,
    backend: Backend,
    scaler: Scaler | None = None,
    *,
    known: np.ndarray | None = None,
    split_dates: SplitDates | None = None,
    to_train: bool = True,
    left_out: Sequence[int] = (),
) -> Prepared:
    """Read this rank's slices of the store, fit the scaling on all ranks' train rows, and scale; collective.

    Args:
        data: symbols, columns, windows, split and scaling.
        backend: where rows are scaled and windows cut.
        scaler: take this scaling instead of fitting one.
        known: int64 [store symbols], how many of each one's first rows are split; None: all.
        split_dates: with ``data.split_by = "date"``, cut here; None: where ``data.split`` says.
        to_train: leave out symbols without a train window; otherwise those without any window.
        left_out: numbers in the store of symbols that are not read.

    Raises:
        InputError: unknown symbol, also in a feature, or column, no or too few windows, a value that is not finite,
            or a scaler that lacks a symbol or has other columns.
    """
    columns = world.raise_on_all(lambda: model_columns(store, data))
    columns = with_market(store, columns, world)
    index, cut = window_index(
        *(store, data, world, columns.lookback),
        known=known,
        dates=split_dates,
        to_train=to_train,
        left_out=left_out,
    )
    names = [store.symbols[symbol] for symbol in index.symbols]
    # Rows that the scaling was fitted on are cut into windows afterwards: they are read to the backend once.
    rows = None
    if scaler is None:
        world.raise_on_all(lambda: check_windows(index.total("train"), world.size))
        chosen = [*names, *(store.symbols[symbol] for symbol in index.skipped)]
        world.raise_on_all(lambda: _check_indicators(columns, chosen))
        share = index.slice("train", world.rank, world.size)
        fit = ScalingFit(share, columns, len(names), data.scaling)
        rows = world.raise_on_all(lambda: _fitted_rows(store, share, columns, data, backend, fit))
        scaler = fit.combine(names, data.feature_range, world)
    fitted = scaler
    indices = world.raise_on_all(lambda: _indices_into_scaler(fitted, columns, names))
    loader = _Loader(store, index, columns, fitted, indices, world, backend)
    return Prepared(
        scaler=fitted,
        index=index,
        columns=columns,
        train=loader.load("train", rows),
        validation=loader.load("validation"),
        skipped=[store.symbols[symbol] for symbol in index.skipped],
        split_dates=cut,
        _loader=loader,
    )


def model_columns(store: MarketStore, data: DataConfig) -> ModelColumns:
    """The settings' features and target, found in the store; raises as ``find_columns``."""
    return find_columns(data.features, data.targets, data.horizons, store.columns, str(store.path))


def window_index(
    store: MarketStore,
    data: DataConfig,
    world: World,
    lookback: int = 0,
    *,
    known: np.ndarray | None = None,
    dates: SplitDates | None = None,
    to_train: bool = True,
    left_out: Sequence[int] = (),
) -> tuple[WindowIndex, SplitDates | None]:
    """All windows of the chosen symbols, split as the settings say, and where a split by date cuts; collective.

    Args:
        lookback: rows before a window's first that its features need.
        known: int64 [store symbols], how many of each one's first rows are split; None: all.
        dates: cut here instead of where ``data.split`` says.
        to_train: leave out symbols without a train window; otherwise those without any window.
        left_out: numbers in the store of symbols that have no windows.

    Raises:
        InputError: an unknown symbol; no symbol is usable.
    """
    # Clusters that share a store out cut it on the same days: those of all of their symbols.
    everyone = data.model_copy(update={"shard": ""})
    chosen, all_chosen = (
        world.raise_on_all(lambda: np.array(chosen_symbols(store, choice), np.int64))  # noqa: B023
        for choice in (data, everyone)
    )
    chosen = chosen[~np.isin(chosen, np.array(left_out, np.int64))]
    shares = data.split_shares
    if data.split_by == "symbol" and shares is not None:
        by_symbol = world.raise_on_all(
            lambda: WindowIndex.by_symbol(
                *(store.offsets, chosen, data.window, data.longest_horizon, shares, lookback, known),
                to_train=to_train,
            )
        )
        return by_symbol, None
    rows, _ = known_rows(store.offsets, all_chosen, known)
    bounds, cut = split_by_date(store, all_chosen, rows, data, world, dates)
    own = np.isin(all_chosen, chosen)
    bounds = Bounds(bounds.start[:, own], bounds.stop[:, own])
    index = WindowIndex(
        store.offsets, chosen, data.window, data.longest_horizon, bounds, lookback, to_train=to_train
    )
    if not len(index.symbols):
        last = cut.texts(store.date_unit)["train_ends"]
        missing = f"train window up to {last}, the last train day by data.split" if to_train else "window"
        raise world.on_all_ranks(
            InputError(
                f"{store.path}: with data.window = {data.window} and data.horizon = {data.longest_horizon} no symbol "
                f"has a {missing}; shorten data.window or take longer data"
            )
        )
    return index, cut


def chosen_symbols(store: MarketStore, data: DataConfig) -> Sequence[int]:
    """Numbers in the store of the symbols that the settings choose, ascending.

    Raises:
        InputError: one that the store lacks, or fewer symbols than there are shares.
    """
    chosen: Sequence[int] = range(len(store.symbols))
    if data.symbols != "all":
        chosen = sorted(store.symbol(name) for name in data.symbols)
    if data.shard:
        part, parts = map(int, data.shard.split("/"))
        if len(chosen) < parts:
            raise InputError(
                f'data.shard = "{data.shard}": there are only {len(chosen)} symbols to share out'
            )
        chosen = chosen[part - 1 :: parts]
    return chosen


def check_windows(windows: int, ranks: int) -> None:
    """Refuse to train on fewer train windows than ranks.

    Raises:
        InputError: there are fewer.
    """
    if windows < ranks:
        raise InputError(
            f"{windows} train windows are fewer than {ranks} ranks; start at most {windows}, or use more "
            "symbols, longer data or a shorter data.window"
        )


def _check_indicators(columns: ModelColumns, chosen: list[str]) -> None:
    """Refuse the indicator of a symbol that the run has not: it would be 0 in every row."""
    for column in columns.features:
        feature = column.feature
        if isinstance(feature, SymbolIndicator) and feature.name not in chosen:
            import difflib

            near = difflib.get_close_matches(feature.name, chosen, n=1)
            raise InputError(
                f'data.features: "{column.name}": the run has no symbol {feature.name}; '
                + (f"did you mean {near[0]}?" if near else "name one of data.symbols")
            )


def _fitted_rows(
    store: MarketStore,
    share: Slice,
    columns: ModelColumns,
    data: DataConfig,
    backend: Backend,
    fit: ScalingFit,
) -> ResidentRows:
    rows = backend.read_rows(store, share, columns, data.window, data.longest_horizon)
    rows.fit(fit)
    return rows


def _indices_into_scaler(known: Scaler, columns: ModelColumns, names: list[str]) -> np.ndarray:
    if known.columns != columns.names:
        raise InputError(
            f"the scaler has the columns {', '.join(known.columns)}, but data.features and data.target are "
            f"{', '.join(columns.names)}; use the settings of the run"
        )
    return known.select(names)
