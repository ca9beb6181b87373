"""Prices for Python: market stores from files and tables of pandas, and back."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.api.tables import import_pandas
from hpc_lstm.errors import InputError
from hpc_lstm.files import checked_path, make_parent
from hpc_lstm.market.store import MarketStore
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hpc_lstm.market.import_summary import ImportSummary


class Store:
    """The prices of many symbols in a file, a market store.

    Args:
        path: of the file, as ``hpc-lstm import``, ``fetch`` and ``synth`` write it.

    Attributes:
        path: absolute path of the file.
        symbols: names of the symbols.
        columns: names of the columns, such as ``open``, ``close``, ``volume``, ``adj_close``.
        temporary: the file goes with this object: ``read_prices`` was given no place to keep it.
        summary: what ``read_prices`` found in its files and did about it, as ``hpc-lstm import`` prints it; "" of a
            store that was opened.

    Raises:
        InputError: the file is missing, damaged, or not a market store.

    >>> import hpc_lstm as hl
    >>> store = hl.synthesize(symbols=2, days=300)
    >>> store
    Store of 2 symbols, 600 rows: 2000-01-03 to 2001-02-23
    >>> store.to_pandas("SYN00001").shape
    (300, 5)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked_path(os.fspath(path))
        self.temporary, self.summary = False, ""
        with MarketStore(self.path) as market:
            self.symbols, self.columns = market.symbols, market.columns
            self.rows = int(market.offsets[-1])
            ends = market.dates(0, self.rows)
            first, last = (ends.min(), ends.max()) if self.rows else (0, 0)
            self.first, self.last = (
                str(np.array(date, f"datetime64[{market.date_unit}]").astype("datetime64[s]")).removesuffix(
                    "T00:00:00"
                )
                for date in (first, last)
            )

    def __repr__(self) -> str:
        symbols = counted(len(self.symbols), "symbol")
        return f"Store of {symbols}, {self.rows:,} rows: {self.first} to {self.last}"

    def to_pandas(self, symbols: str | Sequence[str] | None = None) -> DataFrame:
        """The prices as a table.

        Args:
            symbols: names of symbols; None: all.

        Returns:
            A column for each of ``columns``. Indexed by ``date``, in UTC for intraday prices, if ``symbols`` is the
            name of one symbol; otherwise by ``symbol`` and ``date``.

        Raises:
            InputError: there is no such symbol, or pandas is not installed.
        """
        pandas = import_pandas()
        names = self.symbols if symbols is None else _names(symbols)
        single = symbols is not None and not _are_several(symbols)
        with MarketStore(self.path) as market:
            bounds = [market.offsets[number : number + 2] for number in map(market.symbol, names)]
            values = [market.rows(int(start), int(stop)) for start, stop in bounds]
            dates = [market.dates(int(start), int(stop)) for start, stop in bounds]
            unit = market.date_unit
        when = np.concatenate([*dates, np.empty(0, np.int64)]).astype(f"datetime64[{unit}]")
        date = pandas.DatetimeIndex(when.astype("datetime64[s]" if unit == "D" else when.dtype), name="date")
        table = np.concatenate([*values, np.empty((0, len(self.columns)))])
        if not single:
            symbol = np.repeat(np.array(names, object), [len(part) for part in dates])
            date = pandas.MultiIndex.from_arrays([symbol, date], names=["symbol", "date"])
        return pandas.DataFrame(table, index=date, columns=self.columns)

    def plot(self, symbols: str | Sequence[str], **chart: Any) -> Figure:
        """A chart of prices; several symbols are drawn as lines that begin at 100.

        Args:
            symbols: one name, or several.
            chart: what it shows, as ``report.price_plot.PriceChart`` names it: ``sma=[20, 50]``, ``candles=True``,
                ``rsi=True``, ``macd=True``, ``log=True``, ``first="2012-01-01"``, ``last``, ``column``, ``ema``.

        Raises:
            InputError: there is no such symbol, column or option, or matplotlib is not installed.
        """
        from hpc_lstm.report import figures
        from hpc_lstm.report.chart_data import read_chart_data
        from hpc_lstm.report.price_plot import PriceChart, prices_figure

        names = _names(symbols)
        chosen = _chosen(PriceChart, chart)
        with figures.styled():
            return prices_figure(read_chart_data(self.path, names, chosen.column), chosen)


def read_prices(
    prices: Store
    | str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | DataFrame
    | Mapping[str, DataFrame],
    path: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Store:
    """Read prices into a market store, or open one.

    Args:
        prices: a market store; one or several files of prices (CSV, Excel, Parquet, ...: docs/data.md); a table of
            pandas that says its symbols; or tables by symbol.
        path: the market store to write; None: a temporary file, which a run that is trained on it keeps a copy of.
        options: how to read the files, as ``market.options.ImportOptions`` names them: ``decimal=","``; a timezone
            may be a ``ZoneInfo``.

    Symbols and rows that were left out, and steps that may be splits, are given as warnings; ``summary`` of the store
    has all that was found.

    Raises:
        InputError: the prices cannot be read, or may be read in two ways: the message names the option that settles it.

    >>> import pandas as pd, hpc_lstm as hl
    >>> days = pd.date_range("2024-01-01", periods=3, name="date")
    >>> store = hl.read_prices({"ABC": pd.DataFrame({"close": [1.0, 2.0, 3.0]}, index=days)})
    >>> store.to_pandas("ABC")["close"].tolist()
    [1.0, 2.0, 3.0]
    """
    from h5py import is_hdf5

    from hpc_lstm.api.cautions import caution
    from hpc_lstm.market.importing import import_prices
    from hpc_lstm.market.options import ImportOptions

    if isinstance(prices, Store):
        if path is None and not options:
            return prices
        prices = prices.path
    sources: Any = prices
    if isinstance(prices, (str, os.PathLike)):
        file = checked_path(os.fspath(prices))
        if path is None and not options and file.is_file() and is_hdf5(file):
            return Store(file)
        sources = [str(file)]
    chosen = _chosen(ImportOptions, options)
    summaries: list[ImportSummary] = []
    store = _written(path, lambda file: summaries.append(import_prices(sources, file, chosen)))
    for said in filter(None, (summaries[0].about_left_out(), summaries[0].about_splits())):
        caution(said)
    store.summary = summaries[0].table()
    return store


def synthesize(
    path: str | os.PathLike[str] | None = None, *, symbols: int = 100, days: int = 2500, seed: int = 0
) -> Store:
    """Make prices with known structure, of which the best possible forecast error is known.

    Args:
        path: the market store to write; None: a temporary file, as ``read_prices`` does.
        symbols: number of symbols.
        days: trading days of each.
        seed: of the generator.

    Raises:
        InputError: a number is too small or too large, or the store cannot be written.
    """
    from hpc_lstm.market.synthetic import synthesize as write

    return _written(path, lambda file: write(file, symbols=symbols, days=days, seed=seed))


def _written(path: str | os.PathLike[str] | None, write: Callable[[Path], object]) -> Store:
    """The store that ``write`` writes to ``path``, or to a temporary file, which goes with the returned object."""
    if path is not None:
        file = make_parent(path)
        write(file)
        return Store(file)
    folder = tempfile.mkdtemp(prefix="hpc-lstm-")
    try:
        write(Path(folder) / "prices.h5")
        store = Store(Path(folder) / "prices.h5")
    except BaseException:
        rmtree(folder, ignore_errors=True)
        raise
    store.temporary = True
    weakref.finalize(store, rmtree, folder, ignore_errors=True)
    return store


def _are_several(names: Any) -> bool:
    return isinstance(names, Iterable) and not isinstance(names, (str, bytes))


def _names(symbols: Any) -> list[str]:
    """Names of symbols, given as one or several."""
    return [str(name) for name in symbols] if _are_several(symbols) else [str(symbols)]


def _chosen(kind: Any, options: Mapping[str, Any]) -> Any:
    """The options as an object of a dataclass."""
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            from hpc_lstm.config import nearest_name

            raise InputError(f"{name}: no such option{nearest_name(name, known)}")
    return kind(**options)
