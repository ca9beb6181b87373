"""What the documentation quotes is what the program says."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hpc_lstm

ROOT = Path(__file__).resolve().parents[2]
# Said by others: MPI, and the shell.
OTHERS = {"unsupported PMI version PMIx"}


def texts() -> str:
    """All texts of the package, what is inserted into them masked."""
    found = []
    for path in (ROOT / "hpc_lstm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "0" for p in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_symptoms_are_quoted_as_they_are_told() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")][2:]
    quoted = [text for row in rows for text in re.findall(r"`([^`]+ [^`]+)`", row)]
    assert len(quoted) > 5
    told = re.sub(r"\s+", " ", texts())
    assert [q for q in quoted if q not in OTHERS and re.sub(r"\d+", "0", q) not in told] == []


def test_every_page_is_in_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if f": {page}\n" not in navigation} == set()


def test_licences_are_in_the_site() -> None:
    """Beside what they are of; mkdocs copies every file that it is not told to leave out."""
    assert "LICENSE" not in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_tables_stand_below_a_header(page: Path) -> None:
    """A line between rows ends a table: what follows is then a paragraph full of bars."""
    columns, loose, lines = 0, [], page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("|"):
            columns = 0
            continue
        below = lines[number] if number < len(lines) else ""
        if not columns and re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", below):
            columns = below.count("|")
        if line.replace(r"\|", "").count("|") != columns:
            loose.append(f"{number}: {line[:40]}")
    assert loose == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_within_a_list_is_code_on_the_website(page: Path) -> None:
    """Python-Markdown wants 8 spaces there; with fewer, GitHub shows code where the website has a paragraph."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^(?:[-*]|\d+\.) .*\n(?: {2,4}\S.*\n)*\n {5,7}\S.*", text, flags=re.MULTILINE) == []


def test_the_example_of_a_feature_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "tutorials" / "adding-a-feature.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "momentum_of_the_tutorial.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    feature = importlib.import_module("momentum_of_the_tutorial").Momentum("close", 2)
    assert feature.compute(np.array([1.0, 2.0, 3.0, 8.0])).tolist() == [0.0, 0.0, 2.0, 3.0]
    assert feature.lookback == 2


def test_functions_are_documented_with_the_parameters_that_they_have() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `run."))
    found = dict(re.findall(r"`run\.(\w+)\(([^`]*)\)`", rows))
    assert {"predict", "forecasts"} <= set(found)
    for name, given in found.items():
        assert given == parameters_of(getattr(hpc_lstm.Run, name)).removeprefix("self").removeprefix(", ")
    assert re.findall(r"`hl\.train\(([^`]*)\)`", page) == [parameters_of(hpc_lstm.train)]


def parameters_of(function: Callable[..., object]) -> str:
    """The parameters of a function with their defaults, as they are written without types."""
    signature = inspect.signature(function)
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    bare = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    return str(bare)[1:-1].replace("'", '"')
