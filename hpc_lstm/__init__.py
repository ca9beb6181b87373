"""Train LSTMs on market data across MPI ranks, one GPU a rank, and know what the forecast is worth.

From Python:

    >>> import hpc_lstm as hl
    >>> store = hl.read_prices("prices.csv", "market.h5")                       # doctest: +SKIP
    >>> run = hl.train({"data": {"store": store}}, ranks=2, run_dir="runs/a")   # doctest: +SKIP
    >>> run.metrics                                                             # doctest: +SKIP
    >>> run.predict(symbols=["AAPL"], steps=5)                                  # doctest: +SKIP
    >>> run.plot_forecast("AAPL")                                               # doctest: +SKIP

Importing the package imports none of its parts: each name below is looked up when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_lstm.api.prices import Store, read_prices, synthesize
    from hpc_lstm.api.run import Run, load
    from hpc_lstm.api.training import train
    from hpc_lstm.config import RunConfig
    from hpc_lstm.errors import HpcLstmError, InputError

__version__ = "0.2.0"
__all__ = [
    "HpcLstmError",
    "InputError",
    "Run",
    "RunConfig",
    "Store",
    "load",
    "read_prices",
    "synthesize",
    "train",
]

_MODULES = {
    "HpcLstmError": "errors",
    "InputError": "errors",
    "Run": "api.run",
    "RunConfig": "config",
    "Store": "api.prices",
    "load": "api.run",
    "read_prices": "api.prices",
    "synthesize": "api.prices",
    "train": "api.training",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
