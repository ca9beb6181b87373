"""Signatures on the documents of clusters: HMAC-SHA256 with a key that they share and the bucket does not hold."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

from hpc_lstm.errors import ConfigError

VARIABLE = "HPC_LSTM_SYNC_KEY"
MIN_KEY_LENGTH = 16
FIELD = "signature"


class Signer:
    """Signs documents and verifies them; without a key it does neither.

    A signature covers the run's name and the document's key in the store, so it is of no use anywhere else.

    Args:
        key: shared secret; empty for none.
        run: name of the run that clusters share.
    """

    def __init__(self, key: bytes = b"", run: str = "") -> None:
        self._key, self._run = key, run

    def sign(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document with its signature, if there is a key."""
        return {**document, FIELD: self._signature(place, document)} if self._key else document

    def verify(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document without its signature.

        Raises:
            ValueError: there is a key, and the document is not signed with it for this place.
        """
        content = {name: value for name, value in document.items() if name != FIELD}
        # As bytes: compare_digest raises a TypeError on text that is not ASCII.
        found = str(document.get(FIELD, "")).encode(errors="replace")
        if self._key and not hmac.compare_digest(found, self._signature(place, content).encode()):
            raise ValueError(f"is not signed with the key in {VARIABLE}")
        return content

    def _signature(self, place: str, document: dict[str, Any]) -> str:
        text = json.dumps([self._run, place, document], sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def signer_from_environment(run: str) -> Signer:
    """The signer of a run, with the key in ``HPC_LSTM_SYNC_KEY`` if that is set.

    Raises:
        ConfigError: the key is too short.
    """
    key = os.environ.get(VARIABLE, "").encode()
    if key and len(key) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"{VARIABLE}: must have at least {MIN_KEY_LENGTH} characters, such as `openssl rand -hex 32` gives"
        )
    return Signer(key, run)
