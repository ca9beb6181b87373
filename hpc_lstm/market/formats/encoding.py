"""The encoding of a text file, and its bytes in UTF-8."""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.formats.source import SourceFile
from hpc_lstm.market.layouts.vocabulary import KNOWN_NAMES, plain

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Encodings of exports from before UTF-8, by how many names of columns they let us know: of Western and Central Europe,
# Russia, Turkey, China, Taiwan, Japan, Korea, Greece, Israel, Arabia and Thailand, of DOS and of old Macs.
_OLD = (
    *("cp1252", "cp1250", "cp1251", "cp1254", "gb18030", "big5", "cp932", "cp949"),
    *("cp1253", "cp1255", "cp1256", "cp874", "cp850", "mac_roman"),
)

_ROW = re.compile(rb"\d{4}[-/.]\d|\d[-/.]\d{1,2}[-/.]\d|\d{8}")  # a line with a date
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")


def is_text(head: bytes) -> bool:
    """Whether a file's beginning is text, also in UTF-16."""
    return b"\0" not in head or find_utf16(head) is not None


def find_utf16(head: bytes) -> str | None:
    """The kind of UTF-16, by its mark or by the zeros beside ASCII characters."""
    for mark, name in _MARKS[1:]:
        if head.startswith(mark):
            return name
    part = head[:2000]
    if len(part) >= 8 and not any(part[1::2]) and all(part[::2]):
        return "utf-16-le"
    if len(part) >= 8 and not any(part[::2]) and all(part[1::2]):
        return "utf-16-be"
    return None


def find_encoding(source: SourceFile) -> str:
    """The encoding of a text file; of one whose header is ASCII and whose rows are not UTF-8, as ``is_western`` says.

    Raises:
        PriceFileError: the first line is in none that is known.
    """
    head = source.head
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    wide = find_utf16(head)
    if wide is not None:
        if source.whole:
            try:
                head.decode(wide)
            except UnicodeDecodeError:
                raise _no_text(source) from None
        return wide
    if is_utf8(head, source.whole):
        return "utf-8"
    header = b"\n".join(itertools.takewhile(lambda line: not _ROW.search(line), head.splitlines()[:60]))
    if is_utf8(header, True):
        # A row that is neither is named when it is read.
        return "cp1252" if is_western(head) else "utf-8"
    known = {name: _known_names(header.decode(name, errors="ignore")) for name in _OLD}
    best = max(_OLD, key=lambda name: known[name])
    if not known[best]:
        best = _by_letters(header)
    if not best or not _decodes(head, best, source.whole):
        raise _no_text(source)
    return best


def _by_letters(header: bytes) -> str:
    """The one encoding in which the words beyond ASCII have letters of one script alone; "" if it is not one."""
    texts: dict[str, str] = {}
    for name in _OLD:
        try:
            text = header.decode(name)
        except UnicodeDecodeError:
            continue
        words = [word for word in re.split(r"[\s\d,;:|()\[\]\"'./%&*+_-]+", text) if not word.isascii()]
        if words and all(word.isalpha() and len(set(map(_script, word))) == 1 for word in words):
            texts[name] = text
    return next(iter(texts)) if len(set(texts.values())) == 1 else ""


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0]


def runs_beyond_ascii(raw: bytes) -> bytes:
    """The bytes of a text that are not ASCII, runs of them separated by a space."""
    return b" ".join(_BEYOND_ASCII.findall(raw))


def is_western(raw: bytes) -> bool:
    """Whether bytes that are not UTF-8 look like words of Western Europe in cp1252.

    No text but theirs has its letters beyond ASCII one or two at a time, and nothing but letters and common marks.
    None of them may be UTF-8, as where texts in two encodings were joined.
    """
    runs = _BEYOND_ASCII.findall(raw)
    if not runs or max(map(len, runs)) > 2 or any(is_utf8(run, True) for run in runs):
        return False
    try:
        text = b"".join(runs).decode("cp1252")
    except UnicodeDecodeError:
        return False
    return all(mark in "€£§°®™\u2019\u2013" or (mark.isalpha() and mark not in "ªºµƒÿ") for mark in text)


def _no_text(source: SourceFile) -> PriceFileError:
    return PriceFileError(
        f"{source.path}: line 1: is not UTF-8 text, nor in another encoding that is known; save it as CSV UTF-8, as by "
        "iconv -f CP1250 -t UTF-8 FILE > NEW with the encoding in which it was written"
    )


def is_utf8(raw: bytes, whole: bool) -> bool:
    """Whether bytes are UTF-8; if they are not the whole of a text, their last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _decodes(raw: bytes, encoding: str, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
    except UnicodeDecodeError:
        return False
    return True


def _known_names(text: str) -> int:
    """How many cells of a text are names of columns, of those with other letters than A to Z."""
    cells = re.split(r'[,;\t|\r\n"]+', text)
    return sum(plain(cell) in KNOWN_NAMES for cell in cells if not cell.isascii())
