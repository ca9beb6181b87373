"""The samples of docs/data.md load in the layout that they stand for, and give what the rules say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from test_price_forms import load

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.importing import check_prices, import_prices
from hpc_lstm.market.options import ImportOptions

PAGE = Path(__file__).parents[3] / "docs" / "data.md"
TABLES = [
    line.removesuffix(" |").split(" | ")
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if "<br>" in line
]
LAYOUTS = [row for row in TABLES if len(row) == 3]
RULES = [row for row in TABLES if len(row) == 4]


def sample(cell: str, folder: Path) -> Path:
    """The file of a sample."""
    lines = [line.strip("`") for line in cell.split("<br>")]
    (folder / "X.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "X.csv"


def test_all_samples_are_tried() -> None:
    assert len(LAYOUTS) + len(RULES) == len(TABLES)
    assert min(cell.count("<br>") for cell in (row[2] for row in TABLES)) >= 2
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text[: text.index("## From Yahoo")].splitlines() if line.startswith("| ")]
    assert len(rows) - 4 == len(TABLES)  # two headers and their rules


@pytest.mark.parametrize("row", LAYOUTS, ids=lambda row: row[0][2:60])
def test_a_sample_loads_in_its_layout(row: list[str], tmp_path: Path) -> None:
    layout = re.findall("`(.*?)`", row[0])[0]
    assert set(check_prices([sample(row[2], tmp_path)]).files) == {layout}


def closes_of(path: Path, options: ImportOptions) -> str:
    """The closes of an import as the page writes them: X 2024-01-02 95.6, X 2024-01-03 94.3."""
    import_prices([path], path.with_name("m.h5"), options)
    return ", ".join(
        f"{name} {date.removesuffix('.000000000')} {values['close']:.10g}"
        for name, rows in load(path.with_name("m.h5")).items()
        for date, values in rows
    )


@pytest.mark.parametrize("row", RULES, ids=lambda row: row[0][2:60])
def test_a_rule_gives_what_is_said(row: list[str], tmp_path: Path) -> None:
    path = sample(row[2], tmp_path)
    first, _, settled = row[3].partition("; `--")
    if first.startswith("refused: "):
        with pytest.raises(PriceFileError, match=re.escape(first.removeprefix("refused: "))):
            check_prices([path])
    else:
        assert closes_of(path, ImportOptions()) == first.strip("`")
    if settled:
        option, wanted = settled.rstrip("`").split("`: `")
        name, _, value = option.partition(" ")
        given: dict[str, Any] = {name.replace("-", "_"): value or True}
        assert closes_of(path, ImportOptions(**given)) == wanted


def test_every_option_is_told() -> None:
    from hpc_lstm.cli.prices import import_

    text = PAGE.read_text(encoding="utf-8")
    options = {name for parameter in import_.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options - {"--output"} if name not in text} == set()
