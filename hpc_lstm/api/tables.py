"""pandas, which the Python API's tables are made of."""

from __future__ import annotations

from types import ModuleType

from hpc_lstm.errors import InputError


def import_pandas() -> ModuleType:
    """The module pandas.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError('tables need pandas: pip install "hpc-lstm[report]"') from None
    module: ModuleType = pandas
    return module
