"""What is taken for a key, and what a signature covers."""

from __future__ import annotations

import os

import pytest

from hpc_lstm.errors import ConfigError
from hpc_lstm.storage.signing import VARIABLE, Signer, signer_from_environment

KEY = b"a key that all clusters share"


def test_without_the_variable_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not signer_from_environment().active
    assert Signer().sign("place", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "is set and empty"),
        (b" \t" * 20, "is set and empty"),
        (b"too short", "at least 16 characters"),
        (b"\xff" * 20, "is not UTF-8"),
    ],
)
def test_what_is_no_key_is_refused(monkeypatch: pytest.MonkeyPatch, value: bytes, why: str) -> None:
    monkeypatch.setenv(VARIABLE, os.fsdecode(value))
    with pytest.raises(ConfigError, match=why) as caught:
        signer_from_environment()
    assert "too short" not in str(caught.value), "a key is never said"


@pytest.mark.parametrize(
    "other",
    [
        Signer(KEY, "other", "context"),
        Signer(KEY, "run", "other"),
        Signer(KEY, "run"),
        Signer(KEY[::-1], "run", "context"),
    ],
)
def test_a_signature_is_of_one_key_run_and_context(other: Signer) -> None:
    own = Signer(KEY, "run", "context")
    signed = own.sign("place", {"a": 1})
    assert own.verify("place", signed) == {"a": 1}
    for signer, place, document in (
        (other, "place", signed),
        (own, "elsewhere", signed),
        (own, "place", {**signed, "a": 2}),
        (own, "place", {"a": 1}),
        (own, "place", {"a": 1, "signature": None}),
    ):
        with pytest.raises(ValueError, match="is not signed with the key"):
            signer.verify(place, document)


def test_what_is_signed_is_not_taken_without_a_key() -> None:
    with pytest.raises(ValueError, match="is signed; set HPC_LSTM_SYNC_KEY"):
        Signer().verify("place", Signer(KEY, "run").sign("place", {"a": 1}))


def test_no_text_of_a_signer_has_the_key() -> None:
    assert KEY.decode() not in f"{Signer(KEY, 'run')!r}"
