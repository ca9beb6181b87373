"""What cells look like is found in no time, whatever is in them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from hpc_lstm.market.layouts.cells import is_date, is_number, is_time, kind_of
from hpc_lstm.market.number_forms import NumberEvidence


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_one_missing_value_among_whole_numbers() -> None:
    """Each number could be split in front of a decimal mark that is not there: as many ways as digits, to the 40th."""
    cells = ["123456"] * 40 + ["N/A"]
    assert seconds(lambda: kind_of(cells)) < 1
    assert kind_of(cells) == "number"


@pytest.mark.parametrize(
    "text", [" {} x", "1 {} x", "( {} 5 x", "12:30 {} x", "$ {} x", "1{} )x", "31 {} Jan {} x"]
)
def test_many_spaces(text: str) -> None:
    spaced = text.format(" " * 500, " " * 500)
    for look in (is_date, is_number, is_time, lambda text: NumberEvidence().update_few([text])):
        assert seconds(lambda look=look: look(spaced)) < 1
