"""Where the source of a kernel lies, and its text with the headers beside it in their places."""

from __future__ import annotations

import re
from pathlib import Path

from hpc_lstm.errors import HpcLstmError
from hpc_lstm.files import data_folder

_INCLUDE = re.compile(rb'^#include "([\w.]+)"$', re.MULTILINE)


def kernel_file(name: str) -> Path:
    """The file of kernels/ that is called ``name``.

    Raises:
        HpcLstmError: it is not installed.
    """
    path = data_folder("kernels") / name
    if not path.is_file():
        raise HpcLstmError(f"{path}: no such kernel; the installation is incomplete, reinstall hpc-lstm")
    return path


def whole_source(path: Path) -> bytes:
    """A source file in which each ``#include "NAME"`` is the text of that file, which includes no other.

    Compiled code is kept under a hash of its source: so it is compiled anew when a header changes.
    """
    return _INCLUDE.sub(lambda match: (path.parent / match[1].decode()).read_bytes(), path.read_bytes())
