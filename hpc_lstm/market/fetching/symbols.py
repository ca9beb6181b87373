"""The symbols to fetch, as people write and paste them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hpc_lstm.errors import InputError
from hpc_lstm.files import expanded

_MOST_BYTES = 16 << 20


def symbols_of(texts: Iterable[str]) -> list[str]:
    """The symbols in texts, separated by commas, semicolons or space, each once, in capitals as Yahoo has them.

    >>> symbols_of(["aapl, MSFT", " BRK-B ", "AAPL"])
    ['AAPL', 'MSFT', 'BRK-B']
    """
    names = (name.strip("\"'").upper() for text in texts for name in re.split(r"[\s,;]+", text))
    return list(dict.fromkeys(name for name in names if name))


def read_symbols(path: str | Path) -> list[str]:
    """The symbols in a text file; blank lines, and what follows a ``#``, do not count.

    Raises:
        InputError: the file cannot be read, is not text, or has no symbol.
    """
    file = expanded(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; give a file with one symbol per line"
        ) from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(data) > _MOST_BYTES:
        raise InputError(f"{path}: is not a list of symbols; give a UTF-8 text file with one symbol per line")
    names = symbols_of(line.partition("#")[0] for line in text.splitlines())
    if not names:
        raise InputError(f"{path}: has no symbol; write one on each line")
    return names


def is_plausible(name: str) -> bool:
    """Whether Yahoo can be asked for it: a slash or the like would ask for something else."""
    return len(name) <= 64 and not re.search(r"[\x00-\x20/\\?#%&<>{}|`]", name)
