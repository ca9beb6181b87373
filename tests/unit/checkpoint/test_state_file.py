"""States of ranks to bytes and back; bytes that are no such state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpc_lstm.checkpoint.state_file import pack_state, unpack_state

NAMES = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,2}", fullmatch=True)
DTYPES = st.sampled_from(["f4", "f8", "i1", "i4", "i8", "u4", "u8", "bool", ">f4"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, min_side=0)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans()


def without_clashes(state: dict[str, Any]) -> bool:
    return not any(b.startswith(f"{a}/") for a in state for b in state)


@settings(deadline=None)
@given(st.dictionaries(NAMES, ARRAYS | TEXTS | NUMBERS, max_size=5).filter(without_clashes))
def test_everything_comes_back_to_the_bit(state: dict[str, Any]) -> None:
    found = unpack_state(pack_state(state))
    assert found.keys() == state.keys()
    for name, value in state.items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            assert np.asarray(found[name]).dtype == np.asarray(value).dtype
            assert np.asarray(found[name]).shape == np.asarray(value).shape
            assert np.asarray(found[name]).tobytes() == np.asarray(value).tobytes()


def test_bits_of_nan_are_kept() -> None:
    odd = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 1], np.uint32).view(np.float32)
    assert (
        unpack_state(pack_state({"odd": odd}))["odd"].view(np.uint32).tolist() == odd.view(np.uint32).tolist()
    )


def test_what_hdf5_cannot_hold_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pack_state({"object": object()})


@pytest.mark.parametrize("size", [0, 1, 8, 100, 1000])
def test_a_part_of_a_state_is_refused_in_one_line(size: int) -> None:
    whole = pack_state({"weights": np.arange(500.0), "a/text": "words"})
    assert len(whole) > 2 * size
    with pytest.raises(ValueError, match=r"\Anot the state of a rank: [^\n]*\Z"):
        unpack_state(whole[:size])


def crafted(make: Any) -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        make(file)
    return memory.getvalue()


def test_a_file_that_would_read_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(b"secret!!")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["values"] = np.arange(8.0)

    def external(file: h5py.File) -> None:
        file.create_dataset("weights", (8,), "u1", external=[(str(tmp_path / "private"), 0, 8)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "values", (8,))
        file.create_virtual_dataset("weights", layout)

    for make in (external, virtual):
        with pytest.raises(ValueError, match="weights"):
            unpack_state(crafted(make))

    def linked(file: h5py.File) -> None:
        file["weights"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "values")

    assert unpack_state(crafted(linked)) == {}


def test_a_small_file_that_swells_when_read_is_refused() -> None:
    data = crafted(lambda file: file.create_dataset("weights", (1 << 40,), "f8", chunks=(1 << 16,)))
    with pytest.raises(ValueError, match="weights"):
        unpack_state(data)
