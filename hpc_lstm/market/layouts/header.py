"""The header of a table of prices: which column holds the date, the symbol and each price."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpc_lstm.errors import PriceFileError, in_shell
from hpc_lstm.market.file_dates import dates_in_name
from hpc_lstm.market.layouts import vocabulary
from hpc_lstm.market.layouts.cells import is_time, kind_of, mostly_dates
from hpc_lstm.market.layouts.paired_names import is_ordered
from hpc_lstm.market.layouts.vocabulary import COLUMNS, SPELLINGS, plain
from hpc_lstm.market.options import LEFT_OUT, ImportOptions, columns_option
from hpc_lstm.market.zone_marks import zone_of_column

__all__ = ["COLUMNS", "Header"]

SAMPLE = 100  # rows by which a column is judged


@dataclass
class Header:
    """The header of a table, and what its columns are by their names and a sample of their cells.

    Args:
        path: the file, for error messages.
        names: the columns' names as in the file.
        rows: the first rows, as texts.
        options: of the user.
        line: where the header stands, for error messages.

    Attributes:
        fields: by field, the number of the column that has it: those of ``SPELLINGS``, "time" and "series".
        symbols: numbers of the columns that name the symbol, once ``symbol_columns`` has found them.
        volume_instead: why the volume is not in the column that usually has it, for people.
        doubled: the error if two columns differ in what stands in parentheses alone.

    Raises:
        PriceFileError: two columns have the same name, or an option names a column that is not there.
    """

    path: str
    names: list[str]
    rows: Sequence[Sequence[str]] = ()
    options: ImportOptions = field(default_factory=ImportOptions)
    line: str = "line 1"
    fields: dict[str, int] = field(init=False, default_factory=dict)
    doubled: PriceFileError | None = field(init=False, default=None)
    symbols: tuple[int, ...] | None = field(init=False, default=None)
    volume_instead: str = field(init=False, default="")

    def __post_init__(self) -> None:
        named = self.options.columns is not None
        self._left_out = {n for n, name in enumerate(self.names) if named and name == LEFT_OUT}
        self.names = ["" if n in self._left_out else name for n, name in enumerate(self.names)]
        self.names = ["" if re.fullmatch(r"Unnamed: \d+(_level_\d)?", name) else name for name in self.names]
        self._kinds: dict[int, str] = {}
        self._cells: dict[int, list[str]] = {}
        self._sample = self.rows[:: max(1, len(self.rows) // SAMPLE)]
        self._plain = [plain(name) for name in self.names]
        if not vocabulary.letters_are_names(self._plain):
            self._plain = ["" if name in vocabulary.SINGLE_LETTERS else name for name in self._plain]
        self._bare = [_without_filler(name) for name in self.names]
        self._find_date()
        self._find_date_parts()
        for name in COLUMNS:
            self._find(name)
        self._find_volume_of_pair()
        if "volume" not in self.fields:
            self._find_among(self._bare, "volume")
        self._prefer_filled_volume()
        if "date" not in self.fields:
            self._find_date_by_cells()
        if "date" not in self.fields:
            self._find_year()
        self._find_lone_price()
        if "close" not in self.fields and "adj_close" in self.fields:  # adjusted closes are what there is
            self.fields["close"] = self.fields.pop("adj_close")
        if self.options.symbol_column is None:
            self._find_symbol()
        if (series := self._first(vocabulary.SERIES)) is not None:
            self.fields["series"] = series

    def cells(self, number: int) -> list[str]:
        """A column's cells in a sample of the rows."""
        if number not in self._cells:
            rows = () if number in self._left_out else self._sample
            self._cells[number] = [row[number] for row in rows if number < len(row)]
        return self._cells[number]

    def kind(self, number: int) -> str:
        """What most of a column's cells are, as ``kind_of`` says."""
        if number not in self._kinds:
            self._kinds[number] = kind_of(self.cells(number))
        return self._kinds[number]

    def number_of(self, name: str, option: str) -> int:
        """The number of a column that an option names.

        Raises:
            PriceFileError: there is none.
        """
        for number, own in enumerate(self.names):
            if own == name or (plain(own) and plain(own) == plain(name)):
                return number
        raise PriceFileError(
            f'{self.path}: {option}: no column is called "{name}"; it has {self.few_names()}'
        )

    @property
    def price_words(self) -> list[int]:
        """Numbers of the columns whose names hold open, high, low, close or volume in any spelling or language."""
        return [
            number
            for number, name in enumerate(self.names)
            if number not in (self.fields.get("date"), *self.date_parts)
            and (
                self._plain[number] in vocabulary.FIELD_OF
                or any(map(vocabulary.is_price_word, vocabulary.words(name)))
            )
        ]

    def require_fields(self, *fields: str) -> None:
        """Refuse a header that lacks a field.

        Raises:
            PriceFileError: the file, the accepted names and the header found.
        """
        missing = [name for name in fields if name not in self.fields]
        if missing:
            raise self.lacks(missing)

    def lacks(self, fields: Sequence[str], advice: str = "") -> PriceFileError:
        """The error for missing fields; ``advice``: how to put it right, where the header does not tell it."""
        if fields == ["close"] and (why := self._why_no_close()):
            return PriceFileError(f"{self.path}: {why}")
        missing = " and ".join(
            f"no {name} column (accepted names: {vocabulary.shown(name)})" for name in fields
        )
        if not advice:
            advice = self._advice_on_dates() if "date" in fields else self._advice_on_names()
        return PriceFileError(
            f"{self.path}: {self.line}: {missing} in the header {self.few_names()}; {advice}"
        )

    def _why_no_close(self) -> str:
        """Why a column called like the close is not taken for it; "" if there is none."""
        for number, name in enumerate(self.names):
            if not {self._plain[number], self._bare[number]} & {*SPELLINGS["close"], *SPELLINGS["adj_close"]}:
                continue
            if number == self.fields.get("date") and self.options.date_column is not None:
                return f'--date-column: "{name}" is the column of the close; name that of the dates'
            if self.kind(number) == "date":
                found = next(text for text in self.cells(number) if kind_of([text]) in ("date", "text"))
                return (
                    f'found "{found.strip()[:40]}" in the column "{name}", expected a number such as 1234.5'
                )
        return ""

    def _advice_on_dates(self) -> str:
        dated = [name for n, name in enumerate(self.names) if name and mostly_dates(self.cells(n))]
        if not self.rows or dated:
            return f"name the date column with --date-column {in_shell(dated[0]) if dated else ''}".rstrip()
        advice = "no column seems to hold dates, so put one before the others, or name it with --date-column"
        if dates := dates_in_name(self.path):
            return f"{advice}, or give --date-column file-name if all rows are of {dates[0]}, as the file's name says"
        if re.search(r"\d{6}", self.path.rsplit("/", 1)[-1]):
            return f"{advice}, or give --date-column file-name --date-format %d%m%y if the file's name says it so"
        return advice

    def _advice_on_names(self) -> str:
        """The columns named in their order, the close being one with a number; and another way."""
        own = {number: field for field, number in self.fields.items() if field != "series"}
        names = [own.get(number, LEFT_OUT) for number in range(len(self.names))]
        numbers = [n for n in range(len(names)) if n not in own and self.kind(n) in ("number", "empty")]
        numbers = [n for n in numbers if not {*vocabulary.words(self.names[n])} & vocabulary.OTHER]
        prices = [n for n in numbers if {*vocabulary.words(self.names[n])} & vocabulary.SIDES] or numbers
        if not prices:
            return "no other column seems to hold prices"
        names[prices[0]] = "close"
        advice = f"name the columns in their order, as by {columns_option(names)} (_ leaves one out)"
        if len(self.names) > 2:
            advice += ", or give --layout wide if each column is a symbol"
        return advice

    def few_names(self) -> str:
        """The first names of the header, for messages."""
        return ", ".join(repr(name[:40]) for name in self.names[:8]) + (
            ", ..." if len(self.names) > 8 else ""
        )

    def twice(self, name: str, other: str | None = None) -> PriceFileError:
        """The error for two columns of the same name."""
        if other is not None and other.lower() != name.lower():
            return PriceFileError(
                f'{self.path}: {self.line}: the columns "{name}" and "{other}" may both be meant; keep one'
            )
        return PriceFileError(f'{self.path}: {self.line}: two columns are called "{name}"; keep one')

    def unsure_order(self) -> PriceFileError:
        """The error for names of two parts that are both names of prices."""
        pair = next(name for name in self.names if name and name != self.names[self.fields.get("date", 0)])
        return PriceFileError(
            f'{self.path}: {self.line}: either part of "{pair}" may be the symbol; in pandas name the levels: '
            'table.columns.names = ["Price", "Ticker"], or the other way round; in a file, give the symbols a column'
        )

    def _first(self, spellings: Sequence[str]) -> int | None:
        return next((self._plain.index(spelling) for spelling in spellings if spelling in self._plain), None)

    def _find(self, name: str) -> None:
        """The first spelling found counts; twice the same is refused."""
        self._find_among(self._plain, name)
        if name not in self.fields and name != "volume":
            self._find_among(self._bare, name)

    def _find_among(self, names: list[str], name: str) -> None:
        taken = set(self.fields.values())
        present = set(names)
        for spelling in SPELLINGS[name]:
            if spelling not in present:
                continue
            places = [number for number, own in enumerate(names) if own == spelling and number not in taken]
            if len(places) > 1 and (name != "volume" or self.names[places[0]] == self.names[places[1]]):
                first, second = (self.names[place] for place in places[:2])
                if not (first.endswith(")") and second.endswith(")") and first != second):
                    raise self.twice(first, second)
                self.doubled = self.doubled or self.twice(
                    first, second
                )  # may be two symbols: close (CNY), close (USD)
                return
            if places and self.kind(places[0]) != "date":
                self.fields[name] = places[0]
                return

    def _find_date_by_cells(self) -> None:
        """The one column whose cells are dates, under a name that is not known; beside no closes, the first column."""
        taken = set(self.fields.values())
        columns = [n for n in range(len(self.names)) if n not in taken and self.kind(n) == "date"]
        if len(columns) == 1 and ("close" in self.fields or columns == [0]):
            self.fields["date"] = columns[0]

    def _find_year(self) -> None:
        """A column called year that holds years, where nothing else tells dates."""
        year = self._first(vocabulary.DATE_PARTS[0])
        if year is not None and all(re.fullmatch(r"\d{4}(\.0*)?", text.strip()) for text in self.cells(year)):
            self.fields["date"] = year

    def _find_lone_price(self) -> None:
        """The one column beside the date, if it is called some price: "WTI Spot Price FOB"."""
        others = [number for number in range(len(self.names)) if number != self.fields.get("date")]
        if "close" in self.fields or "date" not in self.fields or len(others) != 1 or len(self.fields) > 1:
            return
        if is_ordered(self.names[others[0]]):
            return
        parts = {*vocabulary.words(self.names[others[0]])}
        fields = {vocabulary.FIELD_OF[word] for word in parts if vocabulary.is_price_word(word)}
        if fields == {"close"} and not parts & vocabulary.OTHER and self.kind(others[0]) == "number":
            self.fields["close"] = others[0]

    def _find_volume_of_pair(self) -> None:
        """The volume in the coin, of "Volume ETH" and "Volume USDT"."""
        for number, name in enumerate(self.names):
            parts = vocabulary.words(name)
            if (
                len(parts) == 2
                and parts[0] == "volume"
                and parts[1] not in vocabulary.OTHER | vocabulary.FILLER
            ):
                self.fields.setdefault("volume", number)

    def _prefer_filled_volume(self) -> None:
        """MetaTrader counts ticks where a broker tells no volume: its column of volumes is all 0."""
        ticks = self._first(vocabulary.TICK_VOLUMES)
        volume = self.fields.get("volume")
        if ticks is None or volume in (None, ticks):
            return
        empty = {"", "0", "0.0"}
        if set(self.cells(volume)) <= empty < set(self.cells(ticks)) | empty:
            self.fields["volume"] = ticks
            self.volume_instead = f'"{self.names[volume]}" is all 0'

    def _find_date(self) -> None:
        if self.options.date_column is not None:
            self.fields["date"] = self.number_of(self.options.date_column, "--date-column")
        else:
            named = [
                n for spelling in SPELLINGS["date"] for n, own in enumerate(self._plain) if own == spelling
            ]
            if len(named) > 1 and self._plain[named[0]] == self._plain[named[1]]:
                named = self._one_date(named)
            if not named or not mostly_dates(self.cells(named[0])):
                # An index column without a name, or called Index.
                named += [n for n, own in enumerate(self._plain) if own == "" and self.rows]
                named += [n for n in self._places("index") if mostly_dates(self.cells(n))]
            named = [number for number in named if not self._holds_times(number)]
            seen = [number for number in named if mostly_dates(self.cells(number))]
            if seen or named[:1]:
                self.fields["date"] = (seen or named)[0]
            elif self.names[0] == "" and not self.rows:
                self.fields["date"] = 0
        for number, own in enumerate(self._plain):
            if (
                (own in vocabulary.TIMES or own in SPELLINGS["date"])
                and "date" in self.fields
                and number != self.fields["date"]
            ):
                cells = self.cells(number)
                if cells and all(is_time(text, digits=True) for text in cells):
                    self.fields.setdefault("time", number)

    def _one_date(self, named: list[int]) -> list[int]:
        """Of columns of dates that differ in case or in what stands in parentheses: t, not T; that of times in UTC.

        Raises:
            PriceFileError: nothing tells which is meant.
        """
        same = [n for n in named if self._plain[n] == self._plain[named[0]]]
        dated = [n for n in same if mostly_dates(self.cells(n))]
        for chosen in (
            dated,
            [n for n in dated if zone_of_column(self.names[n])[0] == "UTC"],
            [n for n in dated if len(self.names[n]) == 1 and self.names[n].islower()],
        ):
            if len(chosen) == 1 and len({self.names[n] for n in same}) == len(same):
                return chosen
        raise self.twice(self.names[same[0]])

    def _places(self, own: str) -> list[int]:
        return [number for number, name in enumerate(self._plain) if name == own]

    def _holds_times(self, number: int) -> bool:
        """Whether a column's cells are times of day."""
        cells = self.cells(number)
        return bool(cells) and all(map(is_time, cells))

    def _find_date_parts(self) -> None:
        """Columns of year, month and day, where no column has whole dates; without a day, prices are monthly."""
        year, month, day = found = [self._first(spellings) for spellings in vocabulary.DATE_PARTS]
        date = self.fields.get("date")
        if year is None or month is None or self.options.date_column is not None:
            return
        if date is not None and date not in found and mostly_dates(self.cells(date)):
            return
        self.fields |= {"date": year, "month": month} | ({} if day is None else {"day": day})

    @property
    def date_parts(self) -> tuple[int, ...]:
        """Numbers of the columns of month and day, where the date's is that of the year."""
        return tuple(self.fields[name] for name in ("month", "day") if name in self.fields)

    def _find_symbol(self) -> None:
        taken = set(self.fields.values())
        for spelling in SPELLINGS["symbol"]:
            for number, own in enumerate(self._plain):
                if own == spelling and number not in taken and self._may_be_symbol(number):
                    self.fields["symbol"] = number
                    return

    def _may_be_symbol(self, number: int) -> bool:
        """Whether a column's cells may name symbols: words, or whole numbers if they are called a code."""
        cells = self.cells(number)
        if not cells:
            return True
        kind = self.kind(number)
        if self._plain[number] == "key" and len(set(cells)) == len(cells):  # of rows, not of series
            return False
        if kind == "number":
            weak = self._plain[number] in (
                "index",
                "name",
                "item",
                "companyname",
                "sym",
                "series_id",
                "key",
            )
            return not weak and all(text.strip().strip("'").isdigit() for text in cells)
        if kind == "empty":  # the ticker NA is a word here
            return any(text.strip() for text in cells)
        return kind == "text" or (kind == "date" and not mostly_dates(cells))


def _without_filler(name: str) -> str:
    """The plain form of a name less words such as "stock" and "usd": "stock_close" is "close"."""
    parts = [word for word in vocabulary.words(name) if word not in vocabulary.FILLER]
    return "".join(parts) if len("".join(parts)) > 1 else ""
