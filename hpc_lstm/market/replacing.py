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
    if h5py.is_hdf5(output):
        try:
            MarketStore(output).close()
        except NotAStoreError:
            pass
        except StoreError:
            return
        else:
            return
    raise StoreError(f"{output}: is not a market store, and would be replaced by one; give another name")
