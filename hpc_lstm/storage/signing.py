"""Signatures on JSON documents in a store: HMAC-SHA256 with a key that the store does not hold."""

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
    """Signs documents and verifies them; without a key it signs nothing, and refuses what is signed.

    A signature covers the run's name, the document's key in the store and the context: it is of no use anywhere else.

    Args:
        key: shared secret; empty for none.
        run: name of the run that clusters share, or the prefix of checkpoints.
        context: what tells this run from every other one of that name; "": nothing, as up to version 0.1.
    """

    def __init__(self, key: bytes = b"", run: str = "", context: str = "") -> None:
        self._key, self._run, self._context = key, run, context

    @property
    def active(self) -> bool:
        """True if there is a key."""
        return bool(self._key)

    # Not the key itself: a repr may end up in a log.
    def __repr__(self) -> str:
        return f"{type(self).__name__}(run={self._run!r}, active={self.active})"

    def within(self, run: str, context: str = "") -> Signer:
        """A signer with the same key for another run."""
        return Signer(self._key, run, context)

    def bound_to(self, context: str) -> Signer:
        """A signer with the same key for the run of this name that ``context`` tells from others."""
        return Signer(self._key, self._run, context)

    def sign(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document with its signature, if there is a key."""
        return {**document, FIELD: self._signature(place, document)} if self._key else document

    def verify(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document without its signature.

        Raises:
            ValueError: there is a key, and the document is not signed with it for this place; or there is none, and it
                is signed.
        """
        content = {name: value for name, value in document.items() if name != FIELD}
        if not self._key:
            if FIELD in document:
                raise ValueError(f"is signed; set {VARIABLE} to the key of this run")
            return content
        # As bytes: compare_digest raises a TypeError on text that is not ASCII.
        found = str(document.get(FIELD, "")).encode(errors="replace")
        if not hmac.compare_digest(found, self._signature(place, content).encode()):
            raise ValueError(f"is not signed with the key in {VARIABLE}")
        return content

    def _signature(self, place: str, document: dict[str, Any]) -> str:
        context = [self._context] if self._context else []
        return hmac.new(
            self._key, canonical_json([*context, self._run, place, document]), hashlib.sha256
        ).hexdigest()


class Unverified(Signer):
    """Takes documents whether they are signed or not: to show them where there is no key."""

    def bound_to(self, context: str) -> Signer:
        """Itself: it looks at no signature."""
        return self

    def verify(self, place: str, document: dict[str, Any]) -> dict[str, Any]:
        """The document without its signature."""
        return {name: value for name, value in document.items() if name != FIELD}


def canonical_json(content: Any) -> bytes:
    """The same bytes for the same content, whatever the order and layout in which it was written."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def signer_from_environment(run: str = "") -> Signer:
    """The signer of a run, with the key in ``HPC_LSTM_SYNC_KEY`` if that is set.

    Raises:
        ConfigError: it is set to something that is no key, such as an empty text.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return Signer(run=run)
    try:
        key = text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{VARIABLE}: is not UTF-8; take a key such as `openssl rand -hex 32` gives"
        ) from None
    if not text.strip():
        raise ConfigError(
            f"{VARIABLE}: is set and empty; set it to the key of this run, or unset it to train without signatures"
        )
    if len(key) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"{VARIABLE}: must have at least {MIN_KEY_LENGTH} characters, such as `openssl rand -hex 32` gives"
        )
    return Signer(key, run)
