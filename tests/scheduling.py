"""What runs first, and what runs in one process, where pytest-xdist runs tests side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest


def longest_first(items: list[pytest.Item], folder: Path, names: Sequence[str]) -> None:
    """Put the tests of the files ``names`` in ``folder`` first, lest one process waits for them at the end."""
    places = {folder / name: place for place, name in enumerate(names)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def files_together(
    config: pytest.Config,
    log: Any,
    folder: str,
    together: Mapping[str, Sequence[str]] = MappingProxyType({}),
    apart: Sequence[str] = (),
) -> Any:
    """A scheduler: a file's tests run in one process, as with ``--dist loadfile``, and so do those of a group of files.

    Args:
        folder: of the files, below the repository. together: by name of a group, its files.
        apart: files of which each function, with all its parameters, may run in another process.
    """
    from xdist.scheduler import LoadFileScheduling

    own = {f"{folder}/{name}" for name in apart}
    groups = {f"{folder}/{name}": group for group, names in together.items() for name in names}

    class FileScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            if file in own:
                return nodeid.partition("[")[0]
            return groups.get(file, file)

    config.option.loadscopereorder = False
    return FileScheduling(config, log)
