"""Tables of measured speeds: what was measured is chosen, between measurements what they make likely, else nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.model.engines.speed_table import CHAINS, KERAS, TILES, Measurement, Network, SpeedTable

NETWORK = Network("bfloat16", layers=2, window=60, features=5, dropout=True, units=64, batch=1024)


def network(units: int, batch: int, **more: Any) -> Network:
    return replace(NETWORK, units=units, batch=batch, **more)


def table(*rows: tuple[int, int, dict[str, float | None]], **more: Any) -> SpeedTable:
    measured = tuple(Measurement(network(units, batch, **more), speeds) for units, batch, speeds in rows)
    return SpeedTable("Card", (9, 0), 132, measured)


def fastest(one: SpeedTable, units: int, batch: int, *ways: str, **more: Any) -> str | None:
    return one.fastest(network(units, batch, **more), ways or (CHAINS, TILES))


# Chains are the faster ones up to a batch of 2,048, where both meet; with 128 units up to 512.
TABLE = table(
    (64, 1024, {CHAINS: 400.0, TILES: 200.0}),
    (64, 4096, {CHAINS: 400.0, TILES: 800.0}),
    (128, 256, {CHAINS: 200.0, TILES: 100.0}),
    (128, 1024, {CHAINS: 200.0, TILES: 400.0}),
)


def test_the_faster_one_is_taken_and_speeds_are_interpolated_between_batches() -> None:
    found = {batch: fastest(TABLE, 64, batch) for batch in (512, 1024, 1900, 2150, 4096, 8192)}
    assert found == {512: CHAINS, 1024: CHAINS, 1900: CHAINS, 2150: TILES, 4096: TILES, 8192: TILES}


def test_batches_far_from_those_that_were_measured_are_not_judged() -> None:
    assert [fastest(TABLE, 64, batch) for batch in (1, 511, 8193, 10**6)] == [None] * 4
    assert [fastest(TABLE, 100, batch) for batch in (511, 512, 2048, 2049)] == [None, CHAINS, TILES, None]


def test_speeds_are_interpolated_between_numbers_of_units() -> None:
    # Tiles of 65 units are those of 128: 235 at a batch of 600. Chains fall from 400 at 64 units to 200 at 128.
    assert fastest(TABLE, 64, 600) == CHAINS
    assert fastest(TABLE, 70, 600) == CHAINS
    assert fastest(TABLE, 120, 600) == TILES
    assert fastest(TABLE, 63, 1024) is None
    assert fastest(TABLE, 129, 1024) is None


def test_what_was_tried_in_vain_is_not_taken_and_what_was_not_tried_not_judged() -> None:
    one = table(
        (64, 64, {CHAINS: 10.0, TILES: None}),
        (64, 4096, {CHAINS: 10.0, TILES: 80.0}),
        (64, 8192, {CHAINS: None, TILES: None}),
        (512, 64, {CHAINS: None, TILES: None}),
        (512, 4096, {CHAINS: 1.0}),
    )
    assert fastest(one, 64, 64) == CHAINS
    assert fastest(one, 64, 2048) == CHAINS  # nobody knows from which batch on the other is possible
    assert fastest(one, 64, 4096) == TILES
    assert fastest(one, 64, 8192) is None
    assert fastest(one, 512, 64) is None
    assert fastest(one, 64, 4096, CHAINS, TILES, KERAS) is None
    assert fastest(one, 64, 4096, CHAINS) == CHAINS


def test_networks_like_the_one_at_hand_count_before_others() -> None:
    own = table((64, 1024, {CHAINS: 1.0, TILES: 2.0}), layers=3).measurements
    both = replace(TABLE, measurements=TABLE.measurements + own)
    assert fastest(both, 64, 1024, layers=3) == TILES
    assert fastest(both, 64, 1024, layers=5) == CHAINS
    assert fastest(both, 128, 1024, layers=3) == TILES
    assert fastest(both, 64, 1024, precision="float32") is None


def test_batches_are_those_of_a_multiprocessor_on_smaller_cards() -> None:
    whole, half = network(64, 2150), network(64, 1075)
    assert TABLE.fastest(whole, (CHAINS, TILES), 132) == TABLE.fastest(half, (CHAINS, TILES), 66) == TILES
    assert TABLE.fastest(half, (CHAINS, TILES), 132) == CHAINS


def test_new_measurements_replace_old_ones() -> None:
    assert fastest(TABLE, 64, 1024) == CHAINS
    later = TABLE.merged(table((64, 1024, {TILES: 500.0}), (64, 64, {CHAINS: 1.0, TILES: 2.0})).measurements)
    assert len(later.measurements) == len(TABLE.measurements) + 1
    assert later.measurements[0].samples_per_s == {CHAINS: 400.0, TILES: 500.0}
    assert fastest(later, 64, 1024) == TILES


speeds = st.none() | st.floats(1e-3, 1e9)


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 512), st.integers(1, 10**5)),
        st.fixed_dictionaries({CHAINS: speeds, TILES: speeds, KERAS: speeds}),
        min_size=1,
        max_size=12,
    )
)
def test_what_was_measured_is_never_slower_than_another(
    rows: dict[tuple[int, int], dict[str, float | None]],
) -> None:
    """At sizes that were measured; of tiles, at those that are multiples of 64."""
    one = table(*((units, batch, found) for (units, batch), found in rows.items()))
    for (units, batch), found in rows.items():
        ways = (CHAINS, TILES, KERAS) if units % 64 == 0 else (CHAINS, KERAS)
        best = max(found[way] or 0 for way in ways)
        chosen = fastest(one, units, batch, *ways)
        assert (chosen is None) == (best == 0)
        if chosen:
            assert (found[chosen] or 0) == pytest.approx(best)


def test_a_table_survives_its_file() -> None:
    again = SpeedTable.from_json(TABLE.to_json())
    assert again == TABLE
    assert SpeedTable.from_json(replace(TABLE, measurements=()).to_json()).measurements == ()


def damaged() -> list[str]:
    whole = json.loads(TABLE.to_json())
    row = whole["measurements"][0]
    changes: list[dict[str, Any]] = [
        {"version": 2},
        {"capability": [9]},
        {"multiprocessors": 0},
        {"measurements": [{**row, "units": -1}]},
        {"measurements": [{**row, "batch": "many"}]},
        {"measurements": [{**row, "new": 1}]},
        {"measurements": [{**row, "dropout": 0.1}]},
        {"measurements": [{**row, "samples_per_s": {"chains": -1.0}}]},
        {"measurements": [{**row, "samples_per_s": {"other": 1.0}}]},
        {"measurements": [{**row, "samples_per_s": {"chains": float("nan")}}]},
        {"measurements": [1]},
    ]
    texts = [json.dumps({**whole, **change}) for change in changes]
    return [*texts, "", "[]", "null", TABLE.to_json()[:-10], "[" * 10**5]


@pytest.mark.parametrize("text", damaged(), ids=range(len(damaged())))
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SpeedTable.from_json(text)
