"""Tables on narrow terminals: a few columns at a time, and no number torn."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.text.table import aligned, narrowed
from hpc_lstm.text.terminal import fitted

WIDTHS = st.integers(40, 90)
DIGITS = st.integers(0, 9999)
CELLS = st.builds("{}.{}".format, DIGITS, DIGITS) | st.just("-") | st.integers(1, 999_999_999).map(str)
# An alphabet of its own: the default one's table of all characters that UTF-8 has takes a second to make.
ASCII = st.characters(max_codepoint=127)
NAMES = st.from_regex(r"[a-z]{1,9}( [a-z]{1,8})?", fullmatch=True, alphabet=ASCII)


@given(
    st.lists(NAMES, min_size=1, max_size=9, unique=True),
    st.lists(NAMES, min_size=1, max_size=6, unique=True),
    st.data(),
    WIDTHS,
)
def test_every_cell_is_shown_whole_below_its_heading_and_beside_its_name(
    headings: list[str], names: list[str], data: st.DataObject, width: int
) -> None:
    rows = [["", *headings]]
    rows += [
        [name, *data.draw(st.lists(CELLS, min_size=len(headings), max_size=len(headings)))] for name in names
    ]
    lines = narrowed(aligned(rows), width)
    assert max(map(len, lines)) <= width
    tables = [list(group) for is_text, group in itertools.groupby(lines, bool) if is_text]
    assert all(len(table) == len(rows) for table in tables)
    label = max(map(len, names))
    for number, row in enumerate(rows):
        assert all(table[number][:label].strip() == row[0] for table in tables)
        told = " ".join(table[number][label:] for table in tables).split()
        assert told == " ".join(row[1:]).split()
    for table in tables:
        ends = [len(line) for line in table]
        assert len(set(ends)) == 1, "headings and numbers end below each other"


def test_a_table_that_fits_stays_as_it_is() -> None:
    lines = aligned([["", "a", "b"], ["x", "1", "2"]])
    assert narrowed(lines, 40) == lines


def test_columns_are_repeated_until_they_tell_the_rows_apart() -> None:
    rows = [["symbol", "rows ahead", "date", "forecast", "persistence"]]
    rows += [[name, str(n), f"2024-01-0{n}", "123.456", "120.001"] for name in ("A", "B") for n in (1, 2)]
    first, second = fitted("\n".join(aligned(rows)), 40).split("\n\n")
    assert first.splitlines()[1] == "A                1  2024-01-01   123.456"
    assert second.splitlines() == [
        "symbol  rows ahead  persistence",
        *(f"{name}                {n}      120.001" for name in ("A", "B") for n in (1, 2)),
    ]


def test_indentation_and_rules_are_those_of_the_whole_table() -> None:
    table = (
        "  phase       min     mean      max\n  -----------------------\n  load       1.00     2.00     3.00"
    )
    assert fitted(f"Seconds\n{table}\nA sentence.", 28).splitlines() == [
        "Seconds",
        "  phase   min  mean   max",
        "  -----------------------",
        "  load   1.00  2.00  3.00",
        "A sentence.",
    ]


def test_a_text_that_is_too_long_for_a_line_is_broken_below_itself() -> None:
    table = (
        "run  alpha  step 5, epoch 1, 2 ranks, 87.9 KiB, validation loss 0.78\nrun  alpha  step 6, epoch 1"
    )
    assert fitted(table, 40).splitlines() == [
        "run  alpha  step 5, epoch 1, 2 ranks,",
        "            87.9 KiB, validation loss",
        "            0.78",
        "run  alpha  step 6, epoch 1",
    ]


def test_beside_a_long_label_there_is_no_room() -> None:
    table = (
        "found                            count  done\n"
        "symbols with dates of their own      2  kept as they are in the file"
    )
    assert fitted(table, 40).splitlines() == [
        "found                            count",
        "symbols with dates of their own      2",
        "",
        "found                            done",
        "symbols with dates of their own",
        "  kept as they are in the file",
    ]
