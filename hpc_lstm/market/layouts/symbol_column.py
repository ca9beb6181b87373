"""Which column of a table names the symbol: one with a known name, or the one that makes symbol and time unique."""

from __future__ import annotations

from collections.abc import Iterable

from hpc_lstm.errors import PriceFileError, in_shell
from hpc_lstm.market.layouts.cells import is_time
from hpc_lstm.market.layouts.header import Header
from hpc_lstm.market.layouts.vocabulary import FIELD_OF, SPELLINGS, plain, word_set, words

NONE = "none"  # what --symbol-column says of a table with one symbol
# Columns of words that say something about a row but do not name its symbol.
LABELS = word_set(
    r"""weekday dayofweek dayname month monthname quarter season session note notes comment comments remark
    remarks signal trend direction label event sentiment recommendation action position currency curr
    ccy exchange market mic sector industry country interval timeframe period per type assettype flag flags
    status unit source provider description adjusted isadjusted isst tradestatus adjustflag holiday
    tradecode updown color pattern regime class side news headline url"""
)


# What differs between two instruments: it does not change within the prices of one.
OF_INSTRUMENTS = word_set(
    r"""currency curr ccy tradingcurrency quotecurrency exchange exch exchangecode exchangename market marketname
    mic venue board boardid boardname
    iid shareclass contract contractcode contractname contractmonth deliverymonth delivery expiry expirydate
    expiration expirationdate expdate xprydt maturity maturitydate strike strikeprice strkpric optiontype optntp
    putcall callput cpflag isin isincode cusip"""
)
_YES_AND_NO = frozenset({"true", "false", "yes", "no", "y", "n"})
_OF_CONTRACTS = frozenset({"expiry", "expiration", "maturity", "strike"})  # words: EXPIRY_DT, STRIKE_PR
_OF_TIME_LEFT = frozenset(
    {"to", "days", "years", "time", "yield", "remaining"}
)  # yield to maturity changes daily
# Numbers of instruments, where they recur from row to row.
IDENTIFIERS = word_set(
    r"""gvkey permno permco kypermno lpermno secid securityid instrumentid assetid conid id figi compositefigi
    sedol wkn"""
)


def _tells_instruments(name: str) -> bool:
    """Whether a column of this name differs between instruments, and only between them."""
    parts = {*words(name)}
    return plain(name) in OF_INSTRUMENTS or bool(parts & _OF_CONTRACTS and not parts & _OF_TIME_LEFT)


def symbol_columns(header: Header) -> tuple[int, ...]:
    """Numbers of the columns that name the symbol; none if the table has a single one.

    Raises:
        PriceFileError: an option names a column that is not there.
    """
    if header.symbols is None:
        header.symbols = _find(header)
        for number in header.symbols if header.options.symbol_column is None else ():
            _refuse_fields(header, number)
    return header.symbols


def _refuse_fields(header: Header, number: int) -> None:
    """Refuse a column that names fields, not symbols: a table of one value a row."""
    values = set(header.cells(number))
    if len(values) > 1 and all(plain(value) in FIELD_OF for value in values):
        some = ", ".join(sorted(values)[:3])
        raise PriceFileError(
            f'{header.path}: the values of "{header.names[number]}" are names of columns ({some}); make a column of '
            "each, such as by pivot in pandas"
        )


def _find(header: Header) -> tuple[int, ...]:
    named = header.options.symbol_column
    if named == NONE:
        return ()
    if named is not None:
        return tuple(header.number_of(name.strip(), "--symbol-column") for name in named.split(","))
    known = header.fields.get("symbol")
    times = _times(header)
    if times is None or _unique(times, header, known):
        return () if known is None else (known,)
    others = [number for number in candidates(header) if _unique(times, header, number)]
    if known is not None:  # another column with a known name may do what the first one does not
        others = [number for number in others if plain(header.names[number]) in SPELLINGS["symbol"]]
        return (others[0] if others else known,)
    return tuple(sorted(others, key=lambda number: len(set(header.cells(number))))[:1])


def candidates(header: Header) -> list[int]:
    """Columns that may name symbols, by their cells: words in every row, not all the same."""
    used = {number for name, number in header.fields.items() if name != "symbol"}
    return [
        number
        for number in range(len(header.names))
        if number not in used
        and plain(header.names[number]) not in LABELS
        and header.kind(number) == "text"
        and len(set(header.cells(number))) > 1
        and all(text.strip() for text in header.cells(number))
        and not _tells_no_symbol(header.cells(number))
    ]


def _tells_no_symbol(cells: Iterable[str]) -> bool:
    """Whether cells are times of day, or yes and no."""
    return all(map(is_time, cells)) or all(text.strip().lower() in _YES_AND_NO for text in cells)


def require_one_symbol(header: Header) -> tuple[int, ...]:
    """Refuse a table without a symbol column in which another column of words changes.

    Returns:
        Columns that are the same in all rows seen, and must be so in the others.

    Raises:
        PriceFileError: the column's name, and what to do.
    """
    if header.options.symbol_column == NONE or not header.rows:
        return ()
    if changing := [*candidates(header), *_instruments(header)]:
        raise changes(header.path, header.names[changing[0]], set(header.cells(changing[0])))
    used = set(header.fields.values())
    return tuple(
        number
        for number in range(len(header.names))
        if number not in used and len(set(header.cells(number))) == 1 and _stays(header, number)
    )


def _stays(header: Header, number: int) -> bool:
    """Whether a column that is the same in all rows seen must be so in the others."""
    name = plain(header.names[number])
    if name in IDENTIFIERS or _tells_instruments(header.names[number]):
        return bool(header.cells(number)[0].strip())
    return name not in LABELS and header.kind(number) == "text"


def _instruments(header: Header) -> list[int]:
    """Columns that change, and say that the rows are of several instruments."""
    used, found = set(header.fields.values()), []
    for number, name in enumerate(header.names):
        different = len(set(header.cells(number)))
        recurs = plain(name) in IDENTIFIERS and different < len(header.cells(number))
        if number not in used and different > 1 and (recurs or _tells_instruments(name)):
            found.append(number)
    return found


def instrument_columns(header: Header) -> tuple[int, ...]:
    """Numbers of the columns that must be the same in all rows of a symbol; none if the user names the symbol's."""
    if header.options.symbol_column is not None:
        return ()
    used = {*header.fields.values(), *symbol_columns(header)}
    of_rows = {"id"}  # beside a symbol's name it counts rows
    return tuple(
        number
        for number, name in enumerate(header.names)
        if number not in used and (plain(name) in IDENTIFIERS - of_rows or _tells_instruments(name))
    )


def changes(path: str, name: str, values: Iterable[str]) -> PriceFileError:
    """The error for a column of words that changes in a table of one symbol."""
    some = ", ".join(f'"{value.strip()[:30]}"' for value in sorted(values)[:3])
    return PriceFileError(
        f'{path}: no column is known as the symbol\'s, but "{name}" has several values ({some}); give '
        f"--symbol-column {in_shell(name)} if they are symbols, or --symbol-column {NONE} if the file has a single one"
    )


def _times(header: Header) -> list[tuple[str, ...]] | None:
    if "date" not in header.fields or not header.rows:
        return None
    columns = [header.fields["date"], *header.date_parts] + (
        [header.fields["time"]] if "time" in header.fields else []
    )
    return list(zip(*([row[number] for row in header.rows] for number in columns), strict=True))


def _unique(times: list[tuple[str, ...]], header: Header, number: int | None) -> bool:
    """Whether no two rows of the same symbol and time differ in their prices."""
    places = [place for place in (number, header.fields.get("series")) if place is not None]
    texts = ([row[place] for row in header.rows] for place in places)
    keys = list(zip(times, *texts, strict=True))
    if len(set(keys)) == len(keys):
        return True
    values = [
        header.fields[name] for name in ("open", "high", "low", "close", "volume") if name in header.fields
    ]
    seen: dict[tuple[object, ...], list[str]] = {}
    return all(
        seen.setdefault(key, cells := [row[value] for value in values]) == cells
        for key, row in zip(keys, header.rows, strict=True)
    )
