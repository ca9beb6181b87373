"""Where tables of measured speeds lie: those that the package brings along, and what this user measured.

What ``hpc-lstm doctor --tune`` measured is kept in the cache of compiled code, under the card's name, its capability,
the driver, the version of the package and its kernels: with another of these, kernels may be faster or slower, or take
what they did not take before, and it is not read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import hpc_lstm
from hpc_lstm.errors import InputError
from hpc_lstm.files import data_folder
from hpc_lstm.model.engines.speed_table import SpeedTable
from hpc_lstm.native import code_cache

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "gpu_speeds"
MEASURE = "hpc-lstm doctor --tune"


@dataclass(frozen=True)
class Card:
    """A GPU as far as speeds depend on it.

    Attributes:
        name: as the driver reports it.
        capability: compute capability.
        multiprocessors: how many it has.
        driver: the CUDA version of the driver, such as 12080.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    driver: int


def tables_for(card: Card, *, own: bool = True) -> list[SpeedTable]:
    """The tables that hold for a card, in the order in which they are asked.

    Args:
        own: what this user measured counts, and comes first.
    """
    measured = own_table(card) if own else None
    return ([measured] if measured else []) + shipped_tables(card.capability)


def shipped_tables(capability: tuple[int, int]) -> list[SpeedTable]:
    """The tables of the package for cards of this compute capability."""
    files = [SpeedTable.from_json(path.read_text("utf-8")) for path in sorted(SHIPPED.glob("*.json"))]
    return [table for table in files if table.capability == capability]


def own_table(card: Card) -> SpeedTable | None:
    """What this user measured on such a card; None: nothing, or the file is damaged, which the log says."""
    path = own_path(card)
    if path is None or not path.is_file():
        return None
    content = code_cache.read_code(path)
    try:
        if content is None:
            raise ValueError("it is damaged, or others may write it")
        return SpeedTable.from_json(content.decode("utf-8"))
    except ValueError as error:
        log.warning("%s is ignored: %s; measure again: %s", path, error, MEASURE)
        return None


def write_own_table(card: Card, table: SpeedTable) -> Path:
    """Keep what was measured, whole or not at all; returns the file.

    Raises:
        InputError: there is no folder for it, or it cannot be written.
    """
    path, content = own_path(card), table.to_json().encode()
    code_cache.write_code(path, content)
    if path is None or code_cache.read_code(path) != content:
        raise InputError(
            f"{path or 'the cache'}: measured speeds cannot be kept there; "
            "set HPC_LSTM_CACHE to a folder that can be written"
        )
    return path


def own_path(card: Card) -> Path | None:
    """The file of what was measured on such a card; None: there is no folder for it."""
    kernels = hashlib.sha256()
    for path in sorted(data_folder("kernels").glob("lstm_*.cu*")):
        kernels.update(path.read_bytes())
    versions = [card.driver, hpc_lstm.__version__, kernels.hexdigest()]
    key = json.dumps([card.name, card.capability, *versions])
    return code_cache.cache_path(f"gpu-speeds-{hashlib.sha256(key.encode()).hexdigest()}")
