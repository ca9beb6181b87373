"""The notebook runs from its first cell to its last, offline, and is kept with what it showed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "stock_prediction.ipynb"
PICTURES = 4
# Where the notebook says how much it trains: how often, and what it says here. What is checked does not depend on that.
SMALLER = {
    r'"epochs": \d+': (3, '"epochs": 1'),
    r'"units": \d+': (2, '"units": 4'),
    r"symbols=\d+, days=\d+": (1, "symbols=2, days=400"),
}
# Keras imports scikit-learn where it is installed, which takes a second and is not needed.
WITHOUT_SKLEARN = "--IPKernelApp.exec_lines=import sys; sys.modules['sklearn'] = None"
LONGEST_S = 180


def kept() -> Any:
    """The notebook as it lies in the repository."""
    import nbformat  # here, as nbclient: every process that runs tests imports this module

    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    """The notebook after a run that trains little, and how long that took."""
    import nbclient

    notebook = kept()
    for setting, (times, smaller) in SMALLER.items():
        changed = 0
        for cell in notebook.cells:
            cell.source, found = re.subn(setting, smaller, cell.source)
            changed += found
        assert changed == times, setting
    folder = tmp_path_factory.mktemp("notebook")
    begin = time.monotonic()
    client = nbclient.NotebookClient(
        notebook,
        timeout=LONGEST_S,
        extra_arguments=[WITHOUT_SKLEARN],
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(), time.monotonic() - begin


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def said(notebook: Any) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook))


def check(notebook: Any) -> None:
    """What every run shows, on whatever machine."""
    shown = outputs(notebook)
    assert [output for output in shown if output.output_type == "error"] == []
    assert len([output for output in shown if "image/png" in output.get("data", {})]) == PICTURES
    text = said(notebook)
    assert "rank 0 of 1" in text
    assert "both ended with the same weights, to the bit" in text
    assert "all phases" in text
    assert re.search(r"^2 ranks: +\d", text, flags=re.MULTILINE)
    assert (
        len(re.findall(r"^On test ", text, flags=re.MULTILINE)) == 2
    )  # of real prices, and of synthetic ones


def test_every_cell_runs(executed: tuple[Any, float]) -> None:
    notebook, seconds = executed
    check(notebook)
    assert seconds < LONGEST_S


def test_it_is_kept_with_its_outputs() -> None:
    check(kept())


def test_nothing_but_the_python_api_is_used() -> None:
    for cell in kept().cells:
        if cell.cell_type == "code":
            assert not re.search(r"subprocess|\brm\b|^[!%]|python -c", cell.source, flags=re.MULTILINE)
