"""Every package is a layer that imports only those before it, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import hpc_lstm

PACKAGE = Path(hpc_lstm.__file__).parent
# From the lowest floor up, as CONTRIBUTING.md has them: each imports itself and what stands before it.
LAYERS = (
    *(
        "errors",
        "files",
        "arrays",
        "processes",
        "text",
        "config",
        "runs",
        "native",
        "hdf5",
        "cuda",
        "parallel",
        "timing",
    ),
    *("market", "features", "preprocess", "model", "storage", "checkpoint", "clusters", "evaluation"),
    *("training", "report", "jobs", "sweep", "tuning", "api", "console", "cli", "__main__"),
)


def modules() -> dict[str, Path]:
    """All modules by their dotted name below the package; the package itself is ''."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found["" if name == "__init__" else name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports anywhere in it: at the top, in functions, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "hpc_lstm":
                continue
            inside = name.partition(".")[2]
            found.add(inside if inside in known else inside.rpartition(".")[0])
    return found - {""}


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[0])


def test_every_package_is_a_layer() -> None:
    assert {name.split(".")[0] for name in modules()} - {""} == set(LAYERS)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """What each module of the package imports of the others."""
    known = modules()
    return {name: imports(path, known) - {name} for name, path in known.items() if name}


def test_nothing_imports_upwards(graph: dict[str, set[str]]) -> None:
    upwards = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if layer(other) > layer(name)
    ]
    assert not upwards


def test_no_modules_import_each_other_in_a_circle(graph: dict[str, set[str]]) -> None:
    left = dict(graph)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"circles among {sorted(left)}"


def test_the_top_of_the_package_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_contributing_names_every_package() -> None:
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in PACKAGE.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert f"`{path.name}/`" in page, path.name
