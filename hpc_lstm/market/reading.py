"""How a table of prices is read: what its columns are, and how its dates and numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpc_lstm.market.date_forms import DateEvidence, form_of_option, with_time_digits
from hpc_lstm.market.dates import DateForm
from hpc_lstm.market.layouts.layout import Layout
from hpc_lstm.market.number_forms import NumberEvidence, NumberForm, decide_forms, labels
from hpc_lstm.market.options import ImportOptions


@dataclass(frozen=True)
class TableHead:
    """The beginning of a table.

    Attributes:
        names: of the columns.
        rows: the first rows, as texts.
        whole: whether these are all.
        line: where the header stands, for messages.
        comma_separated: whether commas separate the cells.
    """

    names: list[str]
    rows: list[list[str]]
    whole: bool
    line: str = "line 1"
    comma_separated: bool = True


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        layout: what each column is.
        dates: how its dates are written.
        numbers: by column, how its numbers are written.
        note: what else there is to say about the file.
    """

    layout: Layout
    dates: DateForm
    numbers: Mapping[int, NumberForm]
    note: str = ""

    def describe(self) -> str:
        """What was understood, for people."""
        parts = [self.layout.kind, self.layout.origin, f"dates {self.dates.label}"]
        if written := labels(self.numbers.values()):
            parts.append(f"numbers {written}")
        return "; ".join([*parts, *([self.note] if self.note else [])])


@dataclass
class Evidence:
    """What a table's texts tell about its dates and numbers, from its first rows or from all of them."""

    layout: Layout
    dates: DateEvidence = field(default_factory=DateEvidence)
    numbers: dict[int, NumberEvidence] = field(default_factory=dict)
    times: set[str] = field(default_factory=set)

    def update(self, columns: Mapping[int, Any]) -> None:
        """Take in more rows: by column, a pyarrow array of texts; columns of other types are absent."""
        import pyarrow.compute as pc

        for number, texts in columns.items():
            if number == self.layout.date:
                self.dates.update(pc.unique(pc.fill_null(texts, "")).to_pylist())
            elif number == self.layout.time:
                self.times.update(pc.unique(pc.fill_null(texts, "")).to_pylist())
            elif number in self.layout.numbers:
                self.numbers.setdefault(number, NumberEvidence()).update(texts)

    def update_few(self, columns: Mapping[int, Sequence[str]]) -> None:
        """Take in some hundred rows: by column, texts."""
        for number, texts in columns.items():
            if number == self.layout.date:
                self.dates.update(dict.fromkeys(texts))
            elif number == self.layout.time:
                self.times.update(texts)
            elif number in self.layout.numbers:
                self.numbers.setdefault(number, NumberEvidence()).update_few(texts)

    def decide(self, options: ImportOptions, *, comma_separated: bool = True, note: str = "") -> Reading:
        """The reading.

        Raises:
            BadDate, AmbiguousNumber: the texts may be read in two ways.
        """
        if self.layout.date_parts:
            dates = DateForm(label=f"in {len(self.layout.date_parts) + 1} columns")
        else:
            dates = form_of_option(options.date_format) if options.date_format else self.dates.decide()
        dates = with_time_digits(dates, self.times)
        if options.timezone:
            dates = replace(dates, label=f"{dates.label}, in {options.timezone}")
        forms = decide_forms(
            list(self.numbers.values()),
            decimal=options.decimal,
            comma_separated=comma_separated,
            alike=[column for number, column in self.numbers.items() if number in self.layout.alike],
        )
        return Reading(self.layout, dates, dict(zip(self.numbers, forms, strict=True)), note)
