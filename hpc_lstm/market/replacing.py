"""What a new market store may replace."""

from __future__ import annotations

from pathlib import Path

import h5py

from hpc_lstm.errors import NotAStoreError, StoreError
from hpc_lstm.market.store import MarketStore


def require_replaceable(output: Path) -> None:
    """Refuse to write a market store over a file that is none; a damaged one may be replaced.

    Raises:
        StoreError: it is another file, such as one of the files of prices.
    """
    if not output.is_file() or not output.stat().st_size:
        return
    if not (h5py.is_hdf5(output) and _is_store(output)):
        raise StoreError(f"{output}: is not a market store, and would be replaced by one; give another name")


def _is_store(path: Path) -> bool:
    """Whether an HDF5 file is a market store, as far as that can be told of a damaged one."""
    try:
        MarketStore(path).close()
    except StoreError as error:
        return not isinstance(error, NotAStoreError)
    return True
