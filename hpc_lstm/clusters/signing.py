"""Signatures on what clusters tell each other: HMAC-SHA256 with a key that they share and the bucket does not hold."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

from hpc_lstm.errors import ConfigError

VARIABLE = "HPC_LSTM_SYNC_KEY"
SHORTEST_KEY = 16
FIELD = "signature"


class Seal:
    """Signs documents and checks them; without a key it does neither.

    A signature covers the run and the place of the document, so that it is of no use anywhere else.

    Args:
        run: name of the run that clusters share.
    """

    def __init__(self, key: bytes = b"", run: str = "") -> None:
        self._key, self._run = key, run

    @property
    def signs(self) -> bool:
        """True if there is a key."""
        return bool(self._key)

    def sign(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document with its signature, if there is a key."""
        return {**document, FIELD: self._code(place, document)} if self._key else document

    def open(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document without its signature.

        Raises:
            ValueError: there is a key, and this is not signed with it for this place.
        """
        content = {name: value for name, value in document.items() if name != FIELD}
        # Bytes: of texts with other letters than ASCII, compare_digest makes an error.
        found = str(document.get(FIELD, "")).encode(errors="replace")
        if self._key and not hmac.compare_digest(found, self._code(place, content).encode()):
            raise ValueError(f"is not signed with the key in {VARIABLE}")
        return content

    def _code(self, place: str, document: dict[str, Any]) -> str:
        text = json.dumps([self._run, place, document], sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def from_environment(run: str) -> Seal:
    """The seal of a run with the key in ``HPC_LSTM_SYNC_KEY``, if that is set.

    Raises:
        ConfigError: the key is too short to be one.
    """
    key = os.environ.get(VARIABLE, "").encode()
    if key and len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{VARIABLE}: must have at least {SHORTEST_KEY} characters, such as `openssl rand -hex 32` gives"
        )
    return Seal(key, run)
