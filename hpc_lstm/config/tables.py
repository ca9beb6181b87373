"""Tables of TOML checked by a model of sections; what is wrong is one line that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hpc_lstm.config.section import Section
from hpc_lstm.errors import ConfigError

S = TypeVar("S", bound=Section)


def check_sections(model: type[Section], tables: dict[str, Any], where: str) -> None:
    """Refuse a table that is no section of ``model``, and a value in the place of one.

    Raises:
        ConfigError: it begins with ``where`` and names the section.
    """
    for name, value in tables.items():
        if name not in model.model_fields:
            raise ConfigError(f"{where}: [{name}]: no such section{nearest_name(name, model.model_fields)}")
        repeated = get_origin(model.model_fields[name].annotation) is list
        kind, written = (list, f"[[{name}]]") if repeated else (dict, f"[{name}]")
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {name}: must be a section, {written}, got {value!r}")


def validate_sections(model: type[S], tables: dict[str, Any], where: str) -> S:
    """The settings in ``tables``, checked by the fields of ``model``.

    Raises:
        ConfigError: one line on the first wrong key; it begins with ``where``.
    """
    try:
        return model.model_validate(_integers_as_floats(model, tables))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from None


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; known: {', '.join(known)}"


def section_fields(model: type[Section], section: str) -> dict[str, FieldInfo]:
    """The fields of a section by name; none where it takes any key."""
    return getattr(model.model_fields[section].annotation, "model_fields", {})


def _integers_as_floats(model: type[Section], tables: dict[str, Any]) -> dict[str, Any]:
    """Strict checking refuses TOML's ``1`` where a float is meant, which is right: made a float here."""

    def widen(value: Any, annotation: Any) -> Any:
        if isinstance(value, list) and "float" in str(annotation):
            return [widen(v, float) for v in value]
        # Beyond 2**1023 there is no such float: left as it is, to be refused.
        if annotation is float and type(value) is int and value.bit_length() < 1024:
            return float(value)
        return value

    def widened(section: str, table: Any) -> Any:
        fields = section_fields(model, section)
        if not fields:
            return table
        return {k: widen(v, fields[k].annotation) if k in fields else v for k, v in table.items()}

    return {section: widened(section, table) for section, table in tables.items()}


def _first_problem(model: type[Section], error: ValidationError) -> str:
    """The first problem of a pydantic report as one line that begins with its key."""
    problem = error.errors()[0]
    section, *rest = map(str, problem["loc"] or [""])
    if problem["type"] == "value_error":  # from a validator of ours, and begins with the key
        message = problem["msg"].removeprefix("Value error, ")
        return f"{section}.{message}" if section else message
    fields = section_fields(model, section)
    if not rest and problem["type"] == "missing":
        rest = [next(name for name, field in fields.items() if field.is_required())]
    key = ".".join([section, *rest[:1]])
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such key{nearest_name(rest[0], fields)}"
    if problem["type"] == "missing":
        return f"{key}: is required but not set"
    # A key that takes several types has a problem for each; together they say what it takes.
    expected = [
        p["msg"][0].lower() + p["msg"][1:] for p in error.errors() if p["loc"][:2] == problem["loc"][:2]
    ]
    return f"{key}: {' or '.join(dict.fromkeys(expected))}, got {problem['input']!r}"
