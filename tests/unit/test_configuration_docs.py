"""docs/configuration.md says what hpc_lstm/config/ takes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hpc_lstm import config

ROOT = Path(__file__).parents[2]
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == GENERATOR["render"](), (
        "run `make docs`"
    )


def test_every_key_has_a_row_with_its_default() -> None:
    page = GENERATOR["render"]()
    settings = config.RunConfig(data=config.DataConfig(store="m")).model_dump()
    rows = re.findall(r"^## \[(\w+)\]|^\| `(\w+)` \| .*$", page, flags=re.MULTILINE)
    found, section = [], ""
    for heading, key in rows:
        section = heading or section
        if key:
            found.append((section, key))
    assert found == [(section, key) for section, table in settings.items() for key in table]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number > 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number ≥ 0, < 1"),
        ({"enum": ["a", "b"], "type": "string"}, '`"a"` or `"b"`'),
        ({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "epoch"}]}, 'whole number ≥ 0 or `"epoch"`'),
        ({"type": "array", "items": {"type": "number"}, "minItems": 2}, "list of 2 (number)"),
    ],
)
def test_what_a_key_takes_in_words(schema: dict, words: str) -> None:
    assert GENERATOR["takes"](schema) == words


# These are no run's configurations: test_plan.py has the sweep.
OTHERS = {ROOT / "examples" / name for name in ("sweep.toml", "tune.toml")}
RUNS = sorted(set((ROOT / "examples").glob("*.toml")) - OTHERS)


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_every_example_is_a_valid_configuration(path: Path) -> None:
    assert config.load(path).data.store.endswith(".h5")
