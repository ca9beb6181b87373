"""The samples of docs/data.md load in the layout that they stand for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpc_lstm.market.importing import check_prices

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
ROWS = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if "<br>" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][2:60])
def test_a_sample_loads_in_its_layout(row: list[str], tmp_path: Path) -> None:
    layout = re.findall("`(.*?)`", row[0])[0]
    lines = [line.strip("`") for line in row[-1].removesuffix(" |").split("<br>")]
    (tmp_path / "X.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert check_prices([tmp_path / "X.csv"]).files == {layout: 1}


def test_every_option_is_told() -> None:
    from hpc_lstm.cli import import_

    text = PAGE.read_text(encoding="utf-8")
    options = {name for parameter in import_.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options - {"--output"} if name not in text} == set()
