"""The tables of a TOML file, and ``--set``, which overrides a key of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hpc_lstm.errors import ConfigError, why_unreadable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, kind: str, example: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        kind: what the file is, such as "config", and ``example``, one to start from: for the error.

    Raises:
        ConfigError: it is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8").removeprefix("\ufeff"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {kind} file; {example} is one to start from") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path}: is not text in UTF-8, so it is not a {kind} file; {example} is one to start from"
        ) from None
    except RecursionError:
        raise ConfigError(f"{path}: its lists are nested deeper than any {kind} has them") from None
    except (OSError, ValueError) as error:  # also a name with a null byte
        raise ConfigError(f"{path}: {why_unreadable(error, f'cannot be read: {error}')}") from None


def override(tables: dict[str, Any], text: str) -> None:
    """Set a key of the tables as ``section.key=value`` says; the value is TOML, or a bare word taken as text.

    Raises:
        ConfigError: the text has another form.
    """
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name):
        raise ConfigError(f'--set {text}: must be "section.key=value", such as "train.epochs=3"')
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except RecursionError:
        raise ConfigError(f"--set {key}: its lists are nested deeper than any setting has them") from None
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    table = tables.setdefault(section, {})
    if isinstance(table, dict):
        table[name] = parsed
