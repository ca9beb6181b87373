"""How the numbers of a column are written: decimal mark, thousands separators, currencies, percent, K and M.

The form is found by evidence. "1.234,5" and "1.234.567" show which mark is which; "1.234" alone does not, so it takes
the mark that the column or others show, unless it would then be a thousand times its neighbours: beside "2,5" a "2.125"
is no 2125. A file in which nothing shows it is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc_lstm.market.layouts.cells import MISSING, NUMBER_MARKS

_FACTORS = {
    "": 1.0,
    "%": 1.0,
    "k": 1e3,
    "m": 1e6,
    "mio": 1e6,
    "b": 1e9,
    "mrd": 1e9,
    "t": 1e12,
    "万": 1e4,
    "萬": 1e4,
}
_FACTORS |= {"亿": 1e8, "億": 1e8}
# Patterns are of RE2 and of Python alike.
_MARKS = NUMBER_MARKS.replace("−", "-")
_BLANK = r"[ \t\x{00a0}\x{202f}]"
_APART = r"['’_  \x{00a0}\x{202f}]"
_DRESSED = (
    rf"^{_BLANK}*(?:(?P<open>\(){_BLANK}*)?(?:(?P<sign>[+\-−]){_BLANK}*)?(?:(?:{_MARKS}){_BLANK}*)?"
    rf"(?:(?P<sign2>[+\-−]){_BLANK}*)?"
    # Apostrophes, underscores and blanks separate groups of three: 112'16 is a price in 32nds.
    rf"(?P<number>(?:[0-9]{{1,3}}(?:{_APART}[0-9]{{3}})+(?:[.,][0-9]*)?|[0-9.,]*[0-9.,])(?:[eE][+-]?[0-9]+)?)"
    rf"(?:{_BLANK}*(?P<unit>%|[KkMmBbTt]|[Mm]io\.?|[Mm]rd\.?|万|亿|萬|億))?(?:{_BLANK}*(?:{_MARKS}))?"
    rf"(?:{_BLANK}*(?P<close>\)))?{_BLANK}*$"
)
_PYTHON = re.compile(_DRESSED.replace(r"\x{00a0}", "\xa0").replace(r"\x{202f}", "\u202f"))

_ZERO = re.compile(r"(?<![0-9])0(?=[.,])")
_DIGITS = str.maketrans("012345679", "888888888")
_PLAIN = re.compile(r"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")


def _sound(mark: str, group: str) -> str:
    """Matches digits that are grouped as thousands are, or not at all, and decimals."""
    mark, group = re.escape(mark), re.escape(group)
    whole = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}})"
    return rf"^{whole}?(?:{mark}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"


class AmbiguousNumber(ValueError):
    """A number may be read in two ways, or two numbers contradict each other.

    Attributes:
        text: the number. why: what can be done.
    """

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text)
        self.text, self.why = text, why


@dataclass(frozen=True)
class NumberForm:
    """How the numbers of a column are written.

    Attributes:
        decimal: "." or ",".
        plain: whether digits, sign, exponent and decimal mark are all there is.
        label: for people.
        whole: whether only digits were seen so far: a mark that comes later must not be taken for granted.
    """

    decimal: str = "."
    plain: bool = True
    label: str = "1234.5"
    whole: bool = False

    def parse(self, texts: Any) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of n texts (a pyarrow string array).

        Returns:
            float64 [n], NaN where missing, and bool [n], where a text is no number.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pc.fill_null(texts, "")
        trimmed = pc.utf8_trim_whitespace(texts)
        missing = pc.is_in(trimmed, value_set=pa.array(sorted(MISSING)))
        missing = pc.and_(
            missing, pc.or_(pc.not_equal(trimmed, ""), pc.equal(texts, ""))
        )  # a blank is no nothing
        fields = pc.extract_regex(texts, _DRESSED)
        bare = pc.replace_substring_regex(pc.struct_field(fields, "number"), r"[\s'’_\x{00a0}\x{202f}]", "")
        group = "," if self.decimal == "." else "."
        sound = pc.match_substring_regex(bare, _sound(self.decimal, group))
        sound = pc.and_(sound, pc.match_substring_regex(bare, r"[0-9]"))
        bare = pc.replace_substring(pc.replace_substring(bare, group, ""), self.decimal, ".")
        good = pc.and_(pc.fill_null(sound, False), pc.invert(missing))
        numbers = pc.if_else(good, bare, pa.scalar(None, pa.string())).cast(pa.float64())
        values = np.array(numbers.to_numpy(zero_copy_only=False), np.float64)
        return values * self._factors(fields), ~np.asarray(
            pc.or_(good, missing).to_numpy(zero_copy_only=False)
        )

    def accepts(self, text: str) -> bool:
        """Whether ``parse`` takes a single text for a number, or for a missing one."""
        if text == "" or (text.strip() in MISSING and text.strip()):
            return True
        found = (_PLAIN if self.plain else _PYTHON).fullmatch(
            text.replace(self.decimal, ".") if self.plain else text
        )
        if found is None:
            return False
        if self.plain:
            return math.isfinite(float(text.replace(self.decimal, ".")))
        group = "," if self.decimal == "." else "."
        bare = re.sub(r"[\s'’_]", "", found["number"])
        return re.fullmatch(_sound(self.decimal, group), bare) is not None and any(map(str.isdigit, bare))

    @staticmethod
    def _factors(fields: Any) -> np.ndarray:
        """What the numbers are multiplied with: their sign and unit."""
        import pyarrow.compute as pc

        names = ("unit", "open", "sign", "sign2")
        marks = [pc.fill_null(pc.struct_field(fields, name), "") for name in names]
        codes = pc.binary_join_element_wise(*marks, "\t").dictionary_encode()
        factors = []
        for text in codes.dictionary.to_pylist():
            unit, bracket, *signs = text.split("\t")
            negative = bool(bracket) or any(sign in ("-", "−") for sign in signs if sign)
            factors.append(_FACTORS[unit.lower().rstrip(".")] * (-1 if negative else 1))
        return np.asarray(np.array(factors)[codes.indices.to_numpy()])


@dataclass
class NumberEvidence:
    """What the texts of a column tell about how its numbers are written.

    Attributes:
        decimal, grouping: marks that must be the decimal mark, or separate thousands, each with an example.
        either: marks that may be one or the other, with an example: "1.234".
        long, hundreds: an example of digits without a mark, four or more; three.
        dressed: whether anything but digits, sign, mark and exponent was seen.
        bad: the first text that is no number.
        exponent: whether a number has one.
        sizes: digits before the decimal mark, of numbers whose mark is certain.
        sizes_before: digits before the mark, of numbers whose mark may be one or the other.
    """

    decimal: dict[str, str] = field(default_factory=dict)
    grouping: dict[str, str] = field(default_factory=dict)
    either: dict[str, str] = field(default_factory=dict)
    long: str = ""
    hundreds: str = ""
    dressed: bool = False
    bad: str = ""
    exponent: bool = False
    sizes: set[int] = field(default_factory=set)
    sizes_before: set[int] = field(default_factory=set)
    _shapes: set[str] = field(default_factory=set)

    @property
    def is_weak(self) -> bool:
        """Whether the mark is taken for the decimal mark because nothing yet speaks against it."""
        unseen = self.dressed and not self.either
        return (bool(self.either) or unseen) and not self.decimal and not self.grouping

    @property
    def is_whole(self) -> bool:
        """Whether all numbers are digits alone."""
        return bool(self.long or self.hundreds or self._shapes) and not (
            self.decimal or self.grouping or self.either or self.dressed or self.bad or self.exponent
        )

    def update(self, texts: Any) -> None:
        """Take in more texts (a pyarrow string array): the shape of each kind of number is looked at once."""
        import pyarrow.compute as pc

        shapes = pc.replace_substring_regex(pc.fill_null(texts, ""), r"^([^0-9]*)0([.,])", r"\1Z\2")
        encoded = pc.replace_substring_regex(shapes, r"[0-9]", "8").dictionary_encode()
        first = np.unique(encoded.indices.to_numpy(), return_index=True)[1]
        for shape, row in zip(encoded.dictionary.to_pylist(), first.tolist(), strict=True):
            self._take_shape(shape, texts[row].as_py() or "")

    def update_few(self, texts: Sequence[str]) -> None:
        """Take in more texts; for some hundred of them cheaper than ``update``."""
        shapes = _ZERO.sub("Z", "\0".join(texts)).translate(_DIGITS).split("\0")
        if len(shapes) != len(texts):  # a text holds the separator
            shapes = list(texts)
        for shape, text in dict(zip(reversed(shapes), reversed(texts), strict=True)).items():
            self._take_shape(shape, text)

    def _take_shape(self, shape: str, text: str) -> None:
        if shape not in self._shapes:
            self._shapes.add(shape)
            self._take(text)

    def _take(self, text: str) -> None:
        if text == "" or text.strip() in MISSING - {""}:
            # Arrow knows the most common ones, and takes none with spaces around it.
            self.dressed = self.dressed or text.strip(" \t") not in PLAIN_MISSING
            return
        found = _PYTHON.fullmatch(text)
        if found is None:
            self.bad = self.bad or text
            return
        number = found["number"]
        self.dressed = self.dressed or not _PLAIN.fullmatch(text.replace(",", "."))
        bare = re.sub(r"[\s'’_]", "", number)
        mantissa = re.split("[eE]", bare)[0]
        if bare != number and re.search(r"[\s'’_]\d{3}", number):  # thousands by spaces: marks are decimal
            for mark in set(".,") & set(mantissa):
                self.decimal.setdefault(mark, text)
            return
        self._take_marks(text, mantissa, exponent=mantissa != bare)

    def _take_marks(self, text: str, mantissa: str, exponent: bool) -> None:
        self.exponent = self.exponent or exponent
        marks = [mark for mark in mantissa if mark in ".,"]
        if not marks:
            self.long = self.long or (text if len(mantissa) > 3 else "")
            self.hundreds = self.hundreds or (text if len(mantissa) == 3 else "")
            return
        last = marks[-1]
        before, _, after = mantissa.rpartition(last)
        if len(set(marks)) == 2:
            self.grouping.setdefault(marks[0], text)
            self.decimal.setdefault(last, text)
            self.sizes.add(sum(map(str.isdigit, mantissa.rpartition(last)[0])))
        elif len(marks) > 1:
            self.grouping.setdefault(last, text)
        elif exponent or len(after) != 3 or not 1 <= len(before) <= 3 or before == "0":
            self.decimal.setdefault(last, text)
            self.sizes.add(len(before))
        else:
            self.either.setdefault(last, text)
            self.sizes_before.add(len(before))


PLAIN_MISSING = ("", "NA", "N/A", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "None", "-", "--")


def decide_forms(
    columns: Sequence[NumberEvidence],
    *,
    decimal: str | None = None,
    comma_separated: bool = True,
    alike: Sequence[NumberEvidence] = (),
) -> list[NumberForm]:
    """The form of each column's numbers.

    Args:
        columns: the evidence of all columns of numbers; what one shows holds for those that show nothing.
        decimal: what the user says.
        comma_separated: cells are separated by commas, so that a lone dot is the decimal mark unless something
            speaks against it.
        alike: those of the columns that hold prices of the same rows, which are of about the same size.

    Raises:
        AmbiguousNumber: a column may be read in two ways.
    """
    shown = {mark for column in columns for mark in column.decimal}
    shown |= {_other(mark) for column in columns for mark in column.grouping}
    sizes = {size for column in alike for size in column.sizes}
    forms = []
    for column in columns:
        form = _decide(column, shown, decimal, comma_separated)
        if decimal is None:
            known = column.sizes or (sizes if any(column is other for other in alike) else set())
            _require_likely_thousands(column, form, known)
        forms.append(form)
    return forms


def _require_likely_thousands(column: NumberEvidence, form: NumberForm, sizes: set[int]) -> None:
    """Refuse "2.125" beside "2,5": as 2125 it is far from the numbers whose mark is certain, as 2.125 it is not."""
    mark = _other(form.decimal)
    if mark not in column.either or not sizes:
        return
    low, high = min(sizes), max(sizes)
    for before in column.sizes_before:
        as_decimal, as_thousands = (max(low - size, size - high, 0) for size in (before, before + 3))
        if as_decimal < as_thousands:
            text = column.either[mark]
            raise AmbiguousNumber(
                text,
                f"a number of the size of the others, which {_read(text, mark)} are not both; give --decimal . or "
                "--decimal ,, or correct the column",
            )


def _decide(column: NumberEvidence, shown: set[str], option: str | None, comma_separated: bool) -> NumberForm:
    own = set(column.decimal) | {_other(mark) for mark in column.grouping}
    if option is not None:
        mark = option
    elif len(own) > 1:
        texts = [*column.decimal.values(), *column.grouping.values()]
        raise AmbiguousNumber(
            texts[-1],
            f'one notation for the whole column, but "{texts[0].strip()}" is in another; correct one',
        )
    elif own:
        mark = own.pop()
    elif column.either:
        mark = _decide_either(column, shown, comma_separated)
    else:
        mark = "."
    grouped = any(other != mark for other in (*column.grouping, *column.either))
    plain = not column.dressed and not grouped
    label = "1234" + mark + "5" if not grouped else "1" + _other(mark) + "234" + mark + "5"
    return NumberForm(mark, plain, label, column.is_whole)


def _decide_either(column: NumberEvidence, shown: set[str], comma_separated: bool) -> str:
    """The decimal mark of a column whose marks all stand before three digits."""
    mark, text = next(iter(column.either.items()))
    if len(column.either) == 1:
        if column.long:  # 1.234 beside 12345: thousands are not separated
            return mark
        if len(shown) == 1:
            return next(iter(shown))
        if mark == "." and comma_separated and not column.hundreds:
            return mark
    raise AmbiguousNumber(
        text, f"a number that is not both {_read(text, mark)}; give --decimal . or --decimal ,"
    )


def _read(text: str, mark: str) -> str:
    digits = text.strip()
    return f"{digits.replace(mark, '.')} and {digits.replace(mark, '')}"


def _other(mark: str) -> str:
    return "," if mark == "." else "."


def labels(forms: Iterable[NumberForm]) -> str:
    """The notations of a table's numbers, for people."""
    return " and ".join(dict.fromkeys(form.label for form in forms))
