"""Damaged files of prices: never a traceback, never two companies in one series."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_forms import FORMS
from test_price_forms import DATA, load
from vendor_forms import VENDOR_FORMS

from hpc_lstm.errors import InputError
from hpc_lstm.market.importing import import_prices

# Two companies, in every layout that can hold two, that are told apart by the first digit of their prices.
COMPANIES = {
    "long": "Date,Symbol,Open,High,Low,Close,Volume\n",
    "unknown column": "Date,Emittent,Open,High,Low,Close,Volume\n",
    "multi": "Price,Close,Close,High,High\nTicker,AAA,BBB,AAA,BBB\nDate,,,,\n",
    "tuples": "Date,\"('Close', 'AAA')\",\"('Close', 'BBB')\",\"('High', 'AAA')\",\"('High', 'BBB')\"\n",
    "flat": "Date,AAA.Close,BBB.Close,AAA.High,BBB.High\n",
    "wide": "Date,AAA,BBB\n",
    "side by side": "Date,AAA,Date,BBB\n",
    "side by side, names above": "AAA,,,BBB,,\nDate,Close,High,Date,Close,High\n",
    "long, date in columns": "Symbol,Year,Month,Day,Close\n",
}


def companies(layout: str) -> str:
    """A file with both companies."""
    lines = [COMPANIES[layout]]
    for day in (2, 3, 4, 5, 8, 9, 10, 11):
        high, low = 7000 + day, 10 + day / 8
        date = f"2024-01-{day:02}"
        if layout in ("long", "unknown column"):
            lines.append(f"{date},AAA,{high},{high + 2},{high - 2},{high + 1},5000\n")
            lines.append(f"{date},BBB,{low},{low + 0.5},{low - 0.5},{low + 0.25},700\n")
        elif layout == "side by side":
            lines.append(f"{date},{high},{date},{low}\n")
        elif layout == "side by side, names above":
            lines.append(f"{date},{high},{high + 2},{date},{low},{low + 0.5}\n")
        elif layout == "long, date in columns":
            lines += [f"AAA,2024,1,{day},{high}\n", f"BBB,2024,1,{day},{low}\n"]
        elif layout == "wide":
            lines.append(f"{date},{high},{low}\n")
        else:
            lines.append(f"{date},{high},{low},{high + 2},{low + 0.5}\n")
    return "".join(lines)


TEXTS = {path.name: path.read_text(encoding="utf-8-sig") for path in sorted(DATA.iterdir()) if path.is_file()}
TEXTS |= {case: text for case, (_, text, _) in {**FORMS, **VENDOR_FORMS}.items()}
TWO = {layout: companies(layout) for layout in COMPANIES}
CELLS = [
    "",
    "-",
    "N/A",
    "0",
    "-1",
    "1.234",
    "1,234",
    "12/31/2024",
    "2024-13-45",
    "x",
    '"',
    "Close",
    "AAA",
    "\u0661",
    "1e999",
]
EXAMPLES = int(os.environ.get("HPC_LSTM_MUTATIONS", "250"))


def mutated(text: str, rng: random.Random) -> str:
    """The text with one to three faults."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True) or [""]
        place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(other, lines[place])
        elif kind == 2:
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == 3:
            lines[place] = _with_cell(lines[place], rng, lambda _: rng.choice(CELLS))
        elif kind == 4:
            lines = (
                [line.replace(",", rng.choice([";", "\t", "|"])) for line in lines]
                if rng.random() < 0.5
                else lines
            )
            lines[place] = lines[place].replace(",", ";", 1)
        elif kind == 5:
            text = "".join(lines)
            return text[: rng.randrange(len(text) + 1)]
        elif kind == 6:
            lines[place] = _with_cell(lines[place], rng, lambda cell: cell[: rng.randrange(len(cell) + 1)])
        else:
            lines = [_without_cell(line, place % 4) for line in lines]
        text = "".join(lines)
    return text


def _with_cell(line: str, rng: random.Random, change):  # type: ignore[no-untyped-def]
    cells = line.rstrip("\n").split(",")
    place = rng.randrange(len(cells))
    cells[place] = change(cells[place])
    return ",".join(cells) + "\n"


def _without_cell(line: str, place: int) -> str:
    cells = line.rstrip("\n").split(",")
    return ",".join(cells[:place] + cells[place + 1 :]) + "\n"


@settings(deadline=None, max_examples=EXAMPLES)
@given(case=st.sampled_from(sorted(TEXTS)), seed=st.integers(0, 1 << 30))
def test_a_damaged_file_is_read_or_refused_in_one_line(
    case: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    refusal = refused(folder, mutated(TEXTS[case], random.Random(seed)))
    assert "\n" not in refusal
    assert not refusal or [path.name for path in folder.iterdir()] == ["X.csv"]


@settings(deadline=None, max_examples=EXAMPLES)
@given(case=st.sampled_from(sorted(TWO)), seed=st.integers(0, 1 << 30))
def test_two_companies_never_share_a_series(
    case: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("companies")
    text = mutated(TWO[case], random.Random(seed))
    if refused(folder, text):
        return
    for name, rows in load(folder / "m.h5").items():
        first_digits = {str(row["close"])[0] for _, row in rows if row["close"] not in (1.234, 1234)}
        assert len(first_digits) < 2, (name, rows, text)


def refused(folder: Path, text: str) -> str:
    """Import a file of this text; why it is refused, or nothing."""
    (folder / "X.csv").write_text(text, encoding="utf-8")
    try:
        import_prices([folder / "X.csv"], folder / "m.h5")
    except InputError as error:
        return str(error)
    return ""
