"""A commented config to start from, made for a market store."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_lstm.config import load
from hpc_lstm.errors import InputError
from hpc_lstm.files import checked_path, write_text
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore

# Rows of the store that are read at a time.
ROWS_AT_ONCE = 65_536
# Train windows a step of all ranks together: enough steps in an epoch, and not so small that a step is all overhead.
BATCH_SIZES = (32, 64, 128, 256, 512, 1024)
STEPS_PER_EPOCH = 500

_TEMPLATE = """\
# {about}
#
#   hpc-lstm train {name}                        on one rank
#   mpiexec -n 2 hpc-lstm train {name}           on two; `--resume` continues a stopped run
#   hpc-lstm report {folder}                  {gap}its results
#
# Keys that are not here have their defaults: docs/configuration.md lists all. A wrong key or value is refused.

[data]
store = {store}
# symbols = ["AAPL", "MSFT"]         # without this line all of the store
# What the network sees. Returns, because prices leave the range that scaling was fitted on. "adjusted" is adj_close,
# or close where the store has none.
features = [{features}]
# What it forecasts; metrics and forecasts are prices again.
target = "log-returns(adjusted)"
horizon = 1                          # rows from the last known one to the target
window = {window:<27} # rows that the network looks back
# Shares of train, validation and test: of the calendar, the same days for all symbols. Or the first day of validation
# and of test: split = ["2010-01-01", "2012-01-01"]
split = [0.7, 0.15, 0.15]
scaling = "standard"                 # fitted on train rows alone, per symbol and column

[model]
layers = 1                           # small, because daily returns are mostly noise
units = 32
dropout = 0.1

[train]
epochs = 20
patience = 4                         # stop after so many epochs without a better validation loss
batch_size = {batch_size:<23} # of each rank
learning_rate = 0.001
schedule = "cosine"                  # the rate falls to 0 at the last epoch
seed = 1

[average]
every = 16                           # steps between averages of the ranks' weights

[checkpoint]
every = "epoch"
"""


@dataclass(frozen=True)
class _Prices:
    """What of a store decides about its config."""

    symbols: int
    rows: int
    first: str
    last: str
    longest: int
    features: tuple[str, ...]


def write_starter_config(output: str | Path, store: str | Path | None) -> str:
    """Write a config that trains as it is, and say what to do with it.

    Args:
        output: the file, which must not exist.
        store: the market store that it is for; None: "market.h5", yet to be made.

    Raises:
        InputError: the file exists or cannot be written, or the store cannot be used.
    """
    path = checked_path(output)
    if path.exists():
        raise InputError(f"{output}: exists already; name another file with -o, or remove it")
    found = _look_at(checked_path(store)) if store is not None else None
    where = checked_path(store) if store is not None else path.parent / "market.h5"
    write_text(path, _config(path, where, found))
    load(path)  # what is written here is what a run takes
    if found is None:
        return f"wrote {output}; name your market store in it: `hpc-lstm import` or `fetch` makes one"
    command = f"hpc-lstm train {shlex.quote(str(output))}"
    return f"wrote {output}, for {counted(found.symbols, 'symbol')} of {where}; `{command}` trains on it"


def _look_at(path: Path) -> _Prices:
    from hpc_lstm.evaluation.dates import date_text
    from hpc_lstm.features.columns import ADJUSTED_COLUMNS
    from hpc_lstm.market.store import MarketStore

    with MarketStore(path) as store:
        if not any(column in store.columns for column in ADJUSTED_COLUMNS):
            raise InputError(
                f"{path}: has no column {' or '.join(ADJUSTED_COLUMNS)}; it has {', '.join(store.columns)}: write the "
                "config by hand, with data.features and data.target"
            )
        lengths = np.diff(store.offsets)
        dates = [store.dates(int(row), int(row) + 1)[0] for row in store.offsets[:-1][lengths > 0]]
        ends = [store.dates(int(row) - 1, int(row))[0] for row in store.offsets[1:][lengths > 0]]
        if not dates:
            raise InputError(f"{path}: has no rows; make it again")
        features = ["log-returns(adjusted)"]
        if "volume" in store.columns and _all_positive(store, store.column("volume")):
            features.append("log-returns(volume)")
        return _Prices(
            symbols=len(store.symbols),
            rows=int(store.offsets[-1]),
            first=date_text(int(min(dates)), store.date_unit),
            last=date_text(int(max(ends)), store.date_unit),
            longest=int(lengths.max()),
            features=tuple(features),
        )


def _all_positive(store: MarketStore, column: int) -> bool:
    """Whether logarithms can be taken of all of a column."""
    rows = int(store.offsets[-1])
    for start in range(0, rows, ROWS_AT_ONCE):
        values = store.rows(start, min(start + ROWS_AT_ONCE, rows))[:, column]
        if not (values > 0).all():
            return False
    return True


def _config(path: Path, store: Path, found: _Prices | None) -> str:
    """The text of the config."""
    import tomli_w

    about = "A run of hpc_lstm."
    features, window, batch = ["log-returns(adjusted)"], 30, 64
    if found is not None:
        about = (
            f"A run of hpc_lstm on {store.name}: {counted(found.symbols, 'symbol')}, {counted(found.rows, 'row')}, "
            f"{found.first} to {found.last}."
        )
        features = list(found.features)
        # Short series leave most of their rows to train on.
        window = max(2, min(window, found.longest // 8))
        windows = 0.7 * found.rows
        batch = min(BATCH_SIZES, key=lambda size: abs(windows / size - STEPS_PER_EPOCH))
    relative = os.path.relpath(store, path.parent)
    return _TEMPLATE.format(
        about=about,
        name=shlex.quote(path.name),
        folder=shlex.quote(f"runs/{path.stem}"),
        gap=" " * len(path.suffix),
        store=tomli_w.dumps({"store": relative}).partition("= ")[2].strip(),
        features=", ".join(f'"{feature}"' for feature in features),
        window=window,
        batch_size=batch,
    )
