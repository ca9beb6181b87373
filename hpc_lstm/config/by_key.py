"""The settings by their keys, ``section.name``: values, differences, and which may differ between runs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hpc_lstm.config.run import RunConfig
from hpc_lstm.config.section import SHARED_BY_CLUSTERS
from hpc_lstm.config.tables import section_fields


def get(config: RunConfig, key: str) -> Any:
    """The value of ``section.name``."""
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """All settings by ``section.name``."""
    return {key: get(config, key) for key in keys()}


def differences(old: RunConfig, new: RunConfig) -> list[tuple[str, Any, Any]]:
    """Keys, as ``section.name``, in which two runs differ, each with its old and new value."""
    return [(key, get(old, key), get(new, key)) for key in keys() if get(old, key) != get(new, key)]


def keys() -> list[str]:
    """All keys, as ``section.name``, in their order."""
    return [
        f"{section}.{name}"
        for section in RunConfig.model_fields
        for name in section_fields(RunConfig, section)
    ]


def free_on_resume() -> frozenset[str]:
    """Keys that may differ when a run is resumed."""
    return _flagged("free_on_resume")


def shared_by_clusters() -> frozenset[str]:
    """Keys on which all clusters that train one model must agree."""
    return _flagged("shared_by_clusters")


def shared_settings(config: RunConfig) -> dict[str, Any]:
    """The values of ``shared_by_clusters``, less those that older versions do not know where they are the default."""
    found = {}
    for key in sorted(shared_by_clusters()):
        section, name = key.split(".")
        field = section_fields(RunConfig, section)[name]
        known_to_all = field.json_schema_extra == SHARED_BY_CLUSTERS
        if known_to_all or get(config, key) != field.default:
            found[key] = get(config, key)
    return found


def digest(config: RunConfig) -> str:
    """SHA-256 of the settings that a resumption may not change."""
    tables = config.model_dump()
    for key in free_on_resume():
        section, name = key.split(".")
        del tables[section][name]
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _flagged(flag: str) -> frozenset[str]:
    return frozenset(
        f"{section}.{name}"
        for section in RunConfig.model_fields
        for name, field in section_fields(RunConfig, section).items()
        if isinstance(field.json_schema_extra, dict) and flag in field.json_schema_extra
    )
