"""What clusters tell each other as JSON, and what somebody who may write into the bucket could make of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from hpc_lstm.clusters import documents
from hpc_lstm.clusters.documents import Contribution, RoundResult, RunManifest
from hpc_lstm.storage.signing import Signer

HASH = "0" * 64
PLACE = documents.contribution_key(1, "beta")
CONTRIBUTION = {
    "round": 1,
    "cluster": "beta",
    "samples": 5,
    "staleness": 0,
    "lease": 1,
    "final": False,
    "payload": {"sha256": HASH, "encoding": "float32", "what": "weights"},
}
MERGED = {
    "round": 1,
    "members": [{"cluster": "beta", "samples": 5, "staleness": 0, "payload": HASH}],
    "departed": [],
    "samples": 5,
    "payload": CONTRIBUTION["payload"],
    "momentum": None,
}
KEY = Signer(b"a key that all clusters share", "prices")


def test_what_is_written_is_read() -> None:
    one = Contribution.model_validate(CONTRIBUTION)
    for signer in (Signer(), KEY):
        assert (
            documents.decode_document(
                Contribution, documents.encode_document(one, PLACE, signer), PLACE, signer
            )
            == one
        )


@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*CONTRIBUTION, "signature"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_lies_there_is_refused_by_a_value_error(data: bytes) -> None:
    for kind in (Contribution, RoundResult, RunManifest):
        for signer in (Signer(), KEY):
            note(f"{kind.__name__}, {signer}")
            with pytest.raises(ValueError):  # noqa: PT011
                documents.decode_document(kind, data, PLACE, signer)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"samples": ' + "9" * 10_000 + "}",
        '{"signature": "ü"}',
        '{"signature": "\\ud800", "\\udfff": 1}',
        '{"signature": [[]]}',
        "\ufeff{}",
        "NaN",
        "",
    ],
)
@pytest.mark.parametrize("signer", [Signer(), KEY], ids=["unsigned", "signed"])
def test_hostile_json_is_refused(text: str, signer: Signer) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        documents.decode_document(Contribution, text.encode("utf-8", "surrogatepass"), PLACE, signer)


@pytest.mark.parametrize(
    ("kind", "document", "change"),
    [
        (Contribution, CONTRIBUTION, {"samples": -1}),
        (Contribution, CONTRIBUTION, {"samples": 10**300}),
        (Contribution, CONTRIBUTION, {"samples": 5.0}),
        (Contribution, CONTRIBUTION, {"samples": True}),
        (Contribution, CONTRIBUTION, {"round": 10**30}),
        (Contribution, CONTRIBUTION, {"cluster": "../alpha"}),
        (Contribution, CONTRIBUTION, {"cluster": "alpha\n"}),
        (Contribution, CONTRIBUTION, {"more": 1}),
        (Contribution, CONTRIBUTION, {"payload": {"sha256": "../../run.json"}}),
        (Contribution, CONTRIBUTION, {"payload": {"sha256": HASH, "encoding": "float64"}}),
        (RoundResult, MERGED, {"departed": ["\x1b]0;gone\x07"]}),
        (RoundResult, MERGED, {"departed": ["../x"]}),
        (RoundResult, MERGED, {"members": []}),
        (RoundResult, MERGED, {"samples": 10**30}),
    ],
)
def test_values_out_of_range_are_refused(kind, document, change) -> None:  # type: ignore[no-untyped-def]
    documents.decode_document(kind, json.dumps(document).encode(), PLACE, Signer())
    with pytest.raises(ValueError, match="damaged"):
        documents.decode_document(kind, json.dumps({**document, **change}).encode(), PLACE, Signer())


def test_a_signature_is_of_no_use_anywhere_else() -> None:
    data = documents.encode_document(Contribution.model_validate(CONTRIBUTION), PLACE, KEY)
    elsewhere = [
        (documents.contribution_key(2, "beta"), KEY),
        (PLACE, Signer(b"another key of some length", "prices")),
        (PLACE, Signer(b"a key that all clusters share", "rates")),
    ]
    for place, signer in elsewhere:
        with pytest.raises(ValueError, match="not signed"):
            documents.decode_document(Contribution, data, place, signer)
    altered = json.dumps({**json.loads(data), "samples": 6}).encode()
    with pytest.raises(ValueError, match="not signed"):
        documents.decode_document(Contribution, altered, PLACE, KEY)
