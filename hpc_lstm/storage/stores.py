"""The kinds of object stores, by the scheme of ``storage.url``: a new one is a module of its own and a line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from hpc_lstm.config import StorageConfig
from hpc_lstm.storage.objects import ObjectStore

# Modules, each imported where it is asked for; every one has ``open_url(config)``.
STORES = {
    "file": "hpc_lstm.storage.folder",
    "s3": "hpc_lstm.storage.s3",
}


def open_store(config: StorageConfig, default_folder: Path) -> ObjectStore:
    """The store that ``[storage]`` names, a folder if it names none; not yet checked.

    Raises:
        StorageError: its address is wrong, or what it needs is not installed.
    """
    url = config.url or f"file://{default_folder}"
    store: ObjectStore = import_module(STORES[url.partition("://")[0]]).open_url(
        config.model_copy(update={"url": url})
    )
    return store
