"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from hpc_lstm.errors import InputError


def expanded(path: str | Path) -> Path:
    """``path`` with a leading ``~`` or ``~user`` replaced by that home folder.

    Raises:
        InputError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: no such home folder; write the path out") from None
