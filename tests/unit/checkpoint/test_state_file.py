"""States of ranks to bytes and back; bytes that are no such state."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpointing import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from inspector import Inspector

from hpc_lstm.checkpoint.state_file import pack_state, unpack_state
from hpc_lstm.checkpoint.state_layout import Entry, StateLayout
from hpc_lstm.hdf5 import reading

# An alphabet of its own: the default one's table of all characters that UTF-8 has takes a second to make.
ASCII = st.characters(max_codepoint=127)
NAMES = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,2}", fullmatch=True, alphabet=ASCII)
DTYPES = st.sampled_from(["f4", "f8", "i1", "i4", "i8", "u4", "u8", "bool", ">f4"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, min_side=0)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans()


def without_clashes(state: dict[str, Any]) -> bool:
    return not any(b.startswith(f"{a}/") for a in state for b in state)


@settings(deadline=None)
@given(st.dictionaries(NAMES, ARRAYS | TEXTS | NUMBERS, max_size=5).filter(without_clashes))
def test_everything_comes_back_to_the_bit(state: dict[str, Any]) -> None:
    assert_same_bits(unpack_state(pack_state(state)), state)


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

    with pytest.raises(ValueError, match="weights is a link"):
        unpack_state(crafted(linked))


def test_a_small_file_that_swells_when_read_is_refused() -> None:
    data = crafted(lambda file: file.create_dataset("weights", (1 << 40,), "f8", chunks=(1 << 16,)))
    with pytest.raises(ValueError, match="more than can be in it"):
        unpack_state(data)


def nested(file: h5py.File) -> None:
    group: Any = file
    for _ in range(10_000):
        group = group.create_group("g")


def one_array_by_many_names(file: h5py.File) -> None:
    file["weights"] = np.zeros(100_000)
    for number in range(900):
        file[f"w{number}"] = file["weights"]


def one_text_by_many_names(file: h5py.File) -> None:
    file.create_dataset("text", data="x" * 100_000, dtype=h5py.string_dtype())
    for number in range(900):
        file[f"t{number}"] = file["text"]


def references(file: h5py.File) -> None:
    file["weights"] = np.zeros(1000)
    file.create_dataset("references", data=[file["weights"].ref] * 1000, dtype=h5py.ref_dtype)


def many_names(file: h5py.File) -> None:
    for number in range(2000):
        file.create_group(f"g{number}")


def texts(file: h5py.File) -> None:
    file.create_dataset("weights", data=["a", "b"], dtype=h5py.string_dtype())


def compressed(file: h5py.File) -> None:
    file.create_dataset("weights", data=np.zeros(1 << 20), compression="gzip")


@pytest.mark.parametrize(
    "make",
    [
        *(nested, one_array_by_many_names, one_text_by_many_names, references, many_names, texts, compressed),
    ],
)
def test_what_would_fill_memory_or_time_is_refused_at_once(make: Any) -> None:
    data = crafted(make)
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\Anot the state of a rank: [^\n]*\Z"):
            unpack_state(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + (1 << 20)
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


def test_a_state_with_which_hdf5_comes_to_no_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that says it is longer than it is leads libhdf5 to an empty place, from which it never goes on."""
    inspector = Inspector(0.25)
    monkeypatch.setattr(reading, "_inspect", inspector)
    data = bytearray(pack_state({"a": "fused", "b": "x" * 64}))
    second = data.index(b"GCOL") + 16 + 24
    assert data[second : second + 2] == b"\x02\0"
    data[second + 9] = 1  # of its size
    try:
        with pytest.raises(ValueError, match=r"\Anot the state of a rank: HDF5 does not finish reading it\Z"):
            unpack_state(bytes(data))
    finally:
        inspector.end()


def test_only_what_a_layout_has_is_read() -> None:
    state = {"weights": np.zeros(3, np.float32), "step": 4, "computed_by": "C"}
    entries = {name: Entry.like(value) for name, value in state.items()}
    layout = StateLayout(entries, frozenset({"weights", "step"}))
    assert unpack_state(pack_state(state), layout).keys() == state.keys()
    assert unpack_state(pack_state({**state, "step": np.uint8(4)}), layout)["step"] == 4
    for wrong, said in (
        ({"weights": np.zeros(4, np.float32)}, "weights is of another type or shape"),
        ({"weights": np.zeros((3, 1), np.float32)}, "weights is of another type or shape"),
        ({"weights": np.zeros(3, np.int32)}, "weights is of another type or shape"),
        ({"step": "4"}, "step is of another type or shape"),
        ({"computed_by": 4}, "computed_by is of another type or shape"),
        ({"more": 1}, "it has 'more', which no state of this run has"),
    ):
        with pytest.raises(ValueError, match=said):
            unpack_state(pack_state(state | wrong), layout)
    del state["step"]
    with pytest.raises(ValueError, match="it lacks step"):
        unpack_state(pack_state(state), layout)
