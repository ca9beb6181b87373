"""Write docs/configuration.md from the settings in hpc_lstm/config/: ``make docs``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpc_lstm.config import RunConfig, free_on_resume

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """\
# Configuration

<!-- Written by `make docs` from hpc_lstm/config/; edit there. -->

A run is described by one TOML file. Any key can be given on the command line too, where it wins over the file:

    hpc-lstm train run.toml --set train.epochs=3 --set data.symbols='["AAPL", "IBM"]'

An unknown key, a wrong type or a value out of range is refused with exit code 2 and one line that names the key.
The run directory keeps the resolved settings, every key written out, in `config.toml`.

Keys marked "yes" under *resume* may differ when a run is resumed; a change of any other key is refused.
"""
TABLE_HEAD = "| key | takes | default | resume | meaning |\n| --- | --- | --- | --- | --- |\n"
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def render() -> str:
    """The whole page."""
    page = [HEAD]
    for section, field in RunConfig.model_fields.items():
        schema = field.annotation.model_json_schema()
        page.append(f"\n## [{section}]\n\n{schema['description']}\n\n{TABLE_HEAD}")
        for key, value in schema["properties"].items():
            default = f"`{json.dumps(value['default'])}`" if "default" in value else "required"
            resume = "yes" if f"{section}.{key}" in free_on_resume() else "no"
            page.append(f"| `{key}` | {takes(value)} | {default} | {resume} | {value['description']} |\n")
    return "".join(page)


def takes(schema: dict[str, Any]) -> str:
    """In words, the values that a JSON schema admits."""
    if "anyOf" in schema:
        return " or ".join(takes(choice) for choice in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{json.dumps(v)}`" for v in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        count = "" if least is None else f" of {least}" if most in (None, least) else f" of {least} to {most}"
        return f"list{count} ({takes(schema['items'])})"
    bounds = [f"{sign} {schema[name]}" for name, sign in BOUNDS.items() if name in schema]
    return " ".join([TYPES[schema["type"]], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
