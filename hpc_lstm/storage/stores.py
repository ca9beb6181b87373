"""The registry of object stores by the scheme of ``storage.url``: a new one is a module of its own and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from hpc_lstm.config import StorageConfig, overrides_named
from hpc_lstm.errors import ConfigError
from hpc_lstm.storage.objects import ObjectStore

# Modules by scheme, imported when they are asked for; each is a ``StoreModule``.
STORES = {
    "file": "hpc_lstm.storage.folder",
    "s3": "hpc_lstm.storage.s3",
}


class StoreModule(Protocol):
    """What a module in ``STORES`` offers; importing it must be cheap."""

    def check_config(self, config: StorageConfig) -> None:
        """Check all of ``[storage]`` that depends on the kind of store, without opening it.

        Raises:
            ConfigError: the message begins with the key, such as ``storage.url``.
        """

    def open_url(self, config: StorageConfig) -> ObjectStore:
        """Open the store of ``config.url``; ``ObjectStore.check`` then tells whether it can be used.

        Raises:
            StorageError: its address is wrong, or what it needs is not installed.
        """


def check_storage_config(config: StorageConfig, where: str, overrides: Sequence[str] = ()) -> None:
    """Check ``[storage]`` before a run begins.

    Args:
        where: source of the settings, for the message; ``overrides``: those of the command line.

    Raises:
        ConfigError: no store takes these settings; names the key.
    """
    with overrides_named(where, overrides):
        try:
            _store_module(config).check_config(config)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def open_store(config: StorageConfig, default_folder: Path) -> ObjectStore:
    """The store that ``[storage]`` names, ``default_folder`` if it names none; not yet checked.

    Raises:
        ConfigError: no store takes these settings.
        StorageError: its address is wrong, or what it needs is not installed.
    """
    module = _store_module(config)
    module.check_config(config)
    url = config.url or f"file://{default_folder}"
    return module.open_url(config.model_copy(update={"url": url}))


def store_place(config: StorageConfig) -> str:
    """Which store ``[storage]`` names, whatever its server is called: what is signed for it is of no use elsewhere."""
    if not config.url or config.url.startswith("s3://"):
        return config.url.rstrip("/")
    return f"file://{Path(config.url.removeprefix('file://')).resolve()}"


def _store_module(config: StorageConfig) -> StoreModule:
    scheme, separator, _ = config.url.partition("://")
    if config.url and not (separator and scheme in STORES):
        known = " or ".join(f'"{name}://"' for name in STORES)
        raise ConfigError(f'storage.url: must start with {known}, got "{config.url}"')
    return cast(StoreModule, import_module(STORES[scheme or "file"]))
