"""The layout of a market store: one HDF5 file with the prices of many symbols, for reading contiguous slices of rows.

    /symbols [S] utf-8          /offsets [S+1] int64: rows offsets[s]..offsets[s+1] are symbol s's, by date
    /dates [R] int64            days since 1970-01-01 ("D"), or nanoseconds ("ns"): attribute date_unit
    /values [R, C] float64      one column per name in the attribute columns
    attributes                  format, version, columns, source, created, date_unit, and what the writer adds
    more datasets               are optional, as the writer adds them: see ``events`` and ``fetching/history``

``/values`` and ``/dates`` lie in chunks of ``CHUNK_ROWS`` rows, each with a checksum (HDF5's Fletcher-32) that is
verified when it is read; most of the file's structure has checksums, too (HDF5 1.10). An attribute ``digest`` of
symbols, offsets and each further dataset is the SHA-256 of its content, that of values of its columns' names. What has
no digest, such as a store of an older version, is read unverified. A store is written under a temporary name in its
folder and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hpc_lstm.errors import printable

FORMAT = "hpc_lstm market store"
VERSION = 1
DATE_UNITS = ("D", "ns")
# Rows that share a checksum: 200 kB of six columns.
CHUNK_ROWS = 4096
# The attribute of a dataset that tells what it holds.
DIGEST = "digest"


def content_digest(name: str, content: list[Any]) -> str:
    """SHA-256, in hex, of what a dataset holds, or of what is known of it."""
    return hashlib.sha256(json.dumps([name, content]).encode()).hexdigest()


def is_plain(name: str) -> bool:
    """Whether a name has no control characters, which a terminal would obey."""
    return "\n" not in name and printable(name) == name


def short(value: object) -> str:
    """A value as one line of bounded length, for messages."""
    return " ".join(str(value).split())[:120]
