"""The notebook runs from its first cell to its last, offline, and ends with a verdict."""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "stock_prediction.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    return client.execute(), folder


def test_every_cell_runs_and_pictures_are_shown(executed) -> None:
    notebook, folder = executed
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert [o for o in outputs if o.output_type == "error"] == []
    shown = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 3
    said = "".join(o.get("text", "") for o in outputs)
    assert "rank 0 of 2" in said
    assert re.search(r"^ *persistence +\d", said, flags=re.MULTILINE)
    verdicts = "".join(o.get("data", {}).get("text/markdown", "") for o in outputs)
    assert "On test" in verdicts
    assert (folder / "stock_prediction" / "run" / "model.keras").exists()


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
