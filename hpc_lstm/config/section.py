"""What sections are made of: their base class, bounds, flags, and names that a registry knows."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema

# Far above any useful value, and still safe in the integer arithmetic of arrays.
LARGEST = 2**31
Positive = Annotated[int, Field(gt=0, lt=LARGEST)]
Fraction = Annotated[float, Field(ge=0, le=1)]

# Flags of a setting, on its own field. It may differ when a run is resumed, as it does not change what is learned:
FREE_ON_RESUME: dict[str, JsonValue] = {"free_on_resume": True}
# All clusters that train one model must agree on it: weights mean the same, and rounds are merged alike.
SHARED_BY_CLUSTERS: dict[str, JsonValue] = {"shared_by_clusters": True}
# The same, but clusters of older versions do not know of it: they say nothing about it, which means the default.
SHARED_UNLESS_DEFAULT: dict[str, JsonValue] = {"shared_by_clusters": "unless default"}


def in_words(text: str) -> dict[str, JsonValue]:
    """What a text with a ``pattern`` must be, as a refusal says it; also on its own field."""
    return {"must_be": text}


class Section(BaseModel):
    """A table of the TOML file: immutable, no unknown keys, no silent conversion of text into numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


class NameIn:
    """Marks a setting whose value is a name in a registry, so that an entry there is all that a new name takes.

    Registries belong to later layers, which settings know nothing of: like a plug-in, one is imported when a value is
    checked.

    Args:
        registry: the module, which has ``names()`` and imports nothing heavy.
    """

    def __init__(self, registry: str) -> None:
        self.registry = registry

    def names(self) -> tuple[str, ...]:
        """All that the setting may be."""
        known: tuple[str, ...] = importlib.import_module(self.registry).names()
        return known

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.names())}

    def _check(self, value: str, info: ValidationInfo) -> str:
        known = self.names()
        if value not in known:
            import difflib

            close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            raise ValueError(
                f"{info.field_name}: must be {' or '.join(map(repr, known))}, got {value!r}{hint}"
            )
        return value
