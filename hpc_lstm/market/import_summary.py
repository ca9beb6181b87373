"""What an import found in its files and did about it, as a table for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpc_lstm.market.cleaning import CleaningCounts
from hpc_lstm.text.counts import counted

# Columns of the names, the longest of which are those of the rules.
LABEL = 36


@dataclass
class ImportSummary:
    """What an import found and did.

    Attributes:
        output: the store; None: the files were only checked.
        files: number of files of each layout.
        columns, symbols, rows: of the store.
        date_unit: "D" or "ns".
        rows_read: in the files; a wide file's cell is a row.
        first, last: dates.
        counts: of the cleaning rules.
        with_zone, without_zone: rows whose time has a zone or, intraday, none.
        doubled_times: times without a zone that occur twice, as clocks go back.
        without_rows, without_row: symbols of which no row was left, and the first one's name.
        other_calendar: symbols whose dates differ from the most frequent set of dates.
        ignored: names of columns that were not imported.
        understood: what was understood of the files: by description, their names.
        example: the first and the last row of the first symbol.
        left_out: lines, sheets and files inside others that are no prices.
        other_series: rows of securities that are no shares, left out.
        timezone: the zone that times without an offset were taken in.
        split_jumps, split_jump: without adj_close, how often the close steps as in a split, and the first step.
    """

    output: str | None
    files: dict[str, int]
    columns: list[str]
    date_unit: str = "D"
    symbols: int = 0
    rows: int = 0
    rows_read: int = 0
    first: str = ""
    last: str = ""
    counts: CleaningCounts = field(default_factory=CleaningCounts)
    with_zone: int = 0
    without_zone: int = 0
    doubled_times: int = 0
    without_rows: int = 0
    without_row: str = ""
    other_calendar: int = 0
    ignored: list[str] = field(default_factory=list)
    understood: dict[str, list[str]] = field(default_factory=dict)
    example: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    other_series: int = 0
    timezone: str | None = None
    split_jumps: int = 0
    split_jump: str = ""

    def table(self) -> str:
        """The summary as aligned text."""
        counts, daily = self.counts, self.date_unit == "D"
        layouts = ", ".join(f"{number} {kind}" for kind, number in self.files.items())
        facts = [
            ("files", layouts),
            ("rows read", f"{self.rows_read:,}"),
            ("rows kept", f"{self.rows:,}"),
            ("symbols", f"{self.symbols:,}"),
            ("dates", f"{self.first} to {self.last}, {'daily' if daily else 'intraday, UTC'}"),
            ("columns", ", ".join(self.columns)),
            ("columns ignored", shortened_list(self.ignored) or "none"),
            *(("left out", text) for text in self.left_out[:8]),
            *((f"understood: {_few(names)}", text) for text, names in list(self.understood.items())[:8]),
            *zip(
                ("first row of the first symbol", "last row of the first symbol"), self.example, strict=False
            ),
        ]
        zone = "local date kept" if daily else "converted to UTC"
        rules = [
            ("rows without close", counts.without_close, "dropped"),
            ("rows with a zero or negative close", counts.bad_price, "dropped; --allow-negative keeps them"),
            ("other prices zero or negative", counts.bad_cells, "treated as missing"),
            ("negative volumes", counts.negative_volume, "treated as missing"),
            ("rows with the high below the low", counts.inverted, "both treated as missing"),
            ("rows out of order", counts.unsorted, "sorted by date"),
            ("rows of a duplicated date", counts.duplicated, "one kept"),
            ("missing values", counts.filled_values, "last known value of the symbol"),
            ("missing values with none before", counts.leading_values, "the row's close; volume 0"),
            ("rows with a time zone", self.with_zone, zone),
            ("times without a zone", self.without_zone, self._zone_taken()),
            ("times that clocks showed twice", self.doubled_times, "taken as the first of the two"),
            ("rows of other series than shares", self.other_series, "left out"),
            ("symbols without a row left", self.without_rows, "left out"),
            ("steps in price that look like splits", self.split_jumps, "kept"),
            ("symbols with different dates", self.other_calendar, "kept as they are"),
        ]
        found = [(name, f"{count:,}", done) for name, count, done in rules if count]
        lines = [
            self.output or "nothing written (--check)",
            *(f"  {name:<{LABEL}}  {value}" for name, value in facts),
            "",
        ]
        if not found:
            return "\n".join([*lines, "  nothing to clean: every row was kept as it is"])
        width = max(len("count"), *(len(count) for _, count, _ in found))
        lines += [
            f"  {name:<{LABEL}}  {n:>{width}}  {done}"
            for name, n, done in [("found", "count", "done"), *found]
        ]
        if said := self.about_splits():
            lines += ["", f"  {said}"]
        return "\n".join(lines)

    def about_splits(self) -> str:
        """A sentence on steps in price that may be splits; "" if there is none."""
        if not self.split_jumps:
            return ""
        steps = counted(self.split_jumps, "step")
        return (
            f"{steps} in price may be splits (first: {self.split_jump}): if so, import adjusted prices, such as a "
            "column adj_close, since models and metrics take a step for a change of value."
        )

    def about_left_out(self) -> str:
        """A sentence on the symbols and rows that were left out; "" if there is none."""
        # In a column for each symbol, a cell is empty on every day on which other symbols alone are traded.
        columns_of_symbols = any(kind in self.files for kind in ("wide", "multi"))
        found = [
            (self.without_rows, "symbol", f"without any usable row (first: {self.without_row})"),
            (0 if columns_of_symbols else self.counts.without_close, "row", "without close"),
            (self.counts.bad_price, "row", "with a zero or negative close"),
            (self.other_series, "row", "of other series than shares"),
        ]
        said = "; ".join(f"{counted(count, noun)} {what}" for count, noun, what in found if count)
        return f"prices left out: {said}." if said else ""

    def _zone_taken(self) -> str:
        if self.date_unit == "D":
            return "local date kept"
        return f"taken as {self.timezone or 'UTC'}"


def _few(names: list[str]) -> str:
    """A file's name and how many more, short enough for the table's first column."""
    name = names[0] if len(names[0]) <= 18 else names[0][:17] + "…"
    return name if len(names) == 1 else f"{name} +{len(names) - 1}"


def shortened_list(names: list[str], at_most: int = 8) -> str:
    """Names separated by commas, the first few of many."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
