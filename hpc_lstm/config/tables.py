"""Tables of TOML checked by a model of sections; what is wrong is one line that names the key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from hpc_lstm.config.section import Section
from hpc_lstm.errors import ConfigError
from hpc_lstm.text.counts import counted

PLAIN_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid list": "a list",
    "a valid string": "text",
    "a valid boolean": "true or false",
}
S = TypeVar("S", bound=Section)


def check_sections(model: type[Section], tables: dict[str, Any], where: str) -> None:
    """Refuse a table that is no section of ``model``, and a value in the place of one or outside of all.

    Raises:
        ConfigError: it begins with ``where`` and names the section.
    """
    for name, value in tables.items():
        if name not in model.model_fields:
            if not (isinstance(value, dict) or _are_tables(value)):
                home = next((one for one in model.model_fields if name in section_fields(model, one)), None)
                section = home or next(iter(model.model_fields))
                raise ConfigError(f"{where}: {name}: must stand below a section, such as [{section}]")
            raise ConfigError(f"{where}: [{name}]: no such section{nearest_name(name, model.model_fields)}")
        repeated = get_origin(model.model_fields[name].annotation) is list
        kind, written = (list, f"[[{name}]]") if repeated else (dict, f"[{name}]")
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {name}: must be a section, {written}, got {value!r}")


def _are_tables(value: Any) -> bool:
    """Whether a value is what ``[[name]]`` makes."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def validate_sections(model: type[S], tables: dict[str, Any], where: str) -> S:
    """The settings in ``tables``, checked by the fields of ``model``.

    Raises:
        ConfigError: one line on the first wrong key; it begins with ``where``.
    """
    for text in _texts(tables):  # an argument of the command line may have any bytes
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{where}: {text[:80]!a} is not UTF-8; write it in UTF-8") from None
    try:
        return model.model_validate(_integers_as_floats(model, tables))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from None


def check_value(model: type[Section], tables: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Refuse a value that a setting cannot have, whatever the others are.

    Args:
        tables: settings that are right.
        key: ``section.key``.

    Raises:
        ConfigError: it begins with ``where``, and the key follows at once.
    """
    section, _, name = key.partition(".")
    changed = {**tables, section: {**tables[section], name: value}}
    try:
        model.model_validate(_integers_as_floats(model, changed))
    except ValidationError as error:
        # What is wrong with several settings together has the place of their section.
        if any(problem["loc"][:2] == (section, name) for problem in error.errors()):
            raise ConfigError(f"{where}{_first_problem(model, error)}") from None


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of nested tables and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for each in value.items() if isinstance(value, dict) else value:
            yield from _texts(each)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the nearest known one, or all of them."""
    import difflib

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
    first = error.errors()[0]
    # A key that is required may be there under a misspelt name, of which more can be said.
    misspelt = [
        p for p in error.errors() if p["type"] == "extra_forbidden" and p["loc"][:-1] == first["loc"][:-1]
    ]
    problem = misspelt[0] if misspelt and first["type"] == "missing" else first
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
    problems = [p for p in error.errors() if p["loc"][:2] == problem["loc"][:2]]
    # Of a list, its first wrong item; that the list is no number or text is beside the point.
    items = [p for p in problems if len(p["loc"]) > 2 and isinstance(p["loc"][-1], int)]
    problems = [p for p in items if p["loc"][-1] == items[0]["loc"][-1]] or problems
    expected = dict.fromkeys(_plain(p, fields.get(rest[0])) for p in problems)
    value = problems[0]["input"]
    hint = f"; write {_as_list(value)}" if isinstance(value, str) and "a list" in expected else ""
    return f"{key}: must be {' or '.join(expected)}, got {value!r}{hint}"


def _as_list(text: str) -> str:
    """A text as the list that was meant, in TOML: names separated by commas, or one."""
    names = [text] if "(" in text else [name.strip() for name in text.split(",")]
    return f"[{', '.join(json.dumps(name, ensure_ascii=False) for name in names)}]"


def _plain(problem: ErrorDetails, field: FieldInfo | None) -> str:
    """What a value must be, in plain words: ``Input should be a valid integer`` of pydantic is ``a whole number``."""
    kind, limits = problem["type"], problem.get("ctx", {})
    if kind in ("too_short", "too_long"):
        bound, count = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        return f"a list of at {bound} {counted(limits[count], 'item')}"
    if kind == "string_pattern_mismatch" and field and isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["must_be"])
    text = problem["msg"].removeprefix("Input should be ")
    return PLAIN_WORDS.get(text, text[0].lower() + text[1:])
