"""The market store: what is written is read, and what is no store is refused."""

from __future__ import annotations

import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.errors import StoreError
from hpc_lstm.hdf5.known_files import remember
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter


def write(path: Path, symbols: int = 2, rows: int = 3) -> np.ndarray:
    values = np.arange(symbols * rows * 2.0).reshape(symbols, rows, 2)
    with StoreWriter(path, ["close", "volume"], "a test", attributes={"note": "n", "best": 0.5}) as writer:
        for number in range(symbols):
            writer.append(f"S{number}", np.arange(rows) + number, values[number])
    return values.reshape(-1, 2)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(0, 40), max_size=6), columns=st.integers(1, 4), seed=st.integers(0, 99))
def test_reads_what_was_written(
    lengths: list[int], columns: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("store") / "market.h5"
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=(length, columns)) for length in lengths]
    dates = [np.cumsum(rng.integers(1, 9, length)) for length in lengths]
    names = [f"c{number}" for number in range(columns)]
    with StoreWriter(path, names, "a test", date_unit="ns") as writer:
        for number in range(len(lengths)):
            writer.append(f"Ü{number}", dates[number], values[number])
    with MarketStore(path) as store:
        assert store.columns == names
        assert store.date_unit == "ns"
        assert store.symbols == [f"Ü{number}" for number in range(len(lengths))]
        assert store.offsets.tolist() == [0, *np.cumsum(lengths)]
        for number in range(len(lengths)):
            low, high = store.offsets[number : number + 2]
            np.testing.assert_array_equal(store.rows(low, high), values[number])
            np.testing.assert_array_equal(store.dates(low, high), dates[number])
        assert store.bytes_read == sum(lengths) * columns * 8
    assert [file.name for file in path.parent.iterdir()] == ["market.h5"]


def test_a_slice_reads_its_bytes_only(tmp_path: Path) -> None:
    values = write(tmp_path / "m.h5")
    with MarketStore(tmp_path / "m.h5") as store:
        np.testing.assert_array_equal(store.rows(2, 5), values[2:5])
        assert store.bytes_read == 3 * 2 * 8
        assert store.attributes["source"] == "a test"
        assert store.attributes["best"] == 0.5
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["values"].fletcher32
        assert file["dates"].fletcher32


def test_names_are_looked_up_with_the_nearest_offered(tmp_path: Path) -> None:
    write(tmp_path / "m.h5")
    with MarketStore(tmp_path / "m.h5") as store:
        assert (store.column("volume"), store.symbol("S1")) == (1, 1)
        with pytest.raises(StoreError, match='no column "volum"; did you mean "volume"'):
            store.column("volum")
        with pytest.raises(StoreError, match='no symbol "s1"; did you mean "S1"'):
            store.symbol("s1")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _attribute(name: str, value: object) -> object:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as file:
            file.attrs[name] = value

    return change


def _offsets(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["offsets"][-1] = 99


def _without_values(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["values"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "no such market store"),
        (lambda path: path.write_bytes(b""), "no HDF5 file"),
        (lambda path: path.write_text("date,close\n"), "no HDF5 file"),
        (_truncate, "truncated market store"),
        (_attribute("format", "other"), "not a market store"),
        (_attribute("version", 2), "version 2"),
        (_attribute("date_unit", "h"), "damaged market store"),
        (_offsets, "damaged market store"),
        (_without_values, "damaged market store"),
    ],
)
def test_refuses_what_is_no_whole_store(damage: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    write(path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(StoreError, match=said) as caught:
        MarketStore(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_flipped_bit_of_the_prices_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    values = write(path, symbols=4, rows=50)
    whole = bytearray(path.read_bytes())
    begin = whole.index(values.tobytes())
    for place in range(begin, begin + values.nbytes, 97):
        changed = whole.copy()
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        remember(path)
        with MarketStore(path) as store:
            assert store.dates(0, 50).tolist() == list(range(50))
            with pytest.raises(StoreError, match="rows 7 to 9 cannot be read: their checksum is wrong"):
                store.rows(7, 9)


def test_further_datasets_have_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with StoreWriter(path, ["close"], "a test") as writer:
        writer.append("A", np.array([1]), np.ones((1, 1)))
        writer.extras = {"splits/values": np.array([2.0, 0.5]), "fetched/zones": ["Ü", ""]}
    with MarketStore(path) as store:
        assert store.extra("splits/values").tolist() == [2.0, 0.5]
        assert store.extra("fetched/zones").tolist() == ["Ü", ""]
        assert store.extra("none") is None
    with h5py.File(path, "a") as file:
        file["splits/values"][0] = 3.0
    with (
        MarketStore(path) as store,
        pytest.raises(StoreError, match="splits/values is not what was written"),
    ):
        store.extra("splits/values")


def test_a_store_of_an_older_version_is_read_without_checksums(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "hpc_lstm market store", "version": 1, "columns": ["close"]})
        file.create_dataset("symbols", data=["A"], dtype=h5py.string_dtype())
        file["offsets"] = np.array([0, 2])
        file["dates"], file["values"] = np.array([1, 2]), np.array([[1.0], [2.0]])
    with MarketStore(path) as store:
        assert store.rows(0, 2).tolist() == [[1.0], [2.0]]


def write_one_symbol_twice(path: Path) -> None:
    with StoreWriter(path, ["close"], "a test") as writer:
        for _ in range(2):
            writer.append("A", np.array([1]), np.ones((1, 1)))


def test_an_error_leaves_the_old_store(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        write_one_symbol_twice(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dates", [[2, 1], [1, 1]])
def test_dates_must_ascend(dates: list[int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ascend"), StoreWriter(tmp_path / "m.h5", ["c"], "a test") as writer:
        writer.append("A", np.array(dates), np.ones((2, 1)))


@pytest.mark.parametrize("limit", [10_000, 300_000, 420_000])
def test_a_full_disk_is_one_line(limit: int, tmp_path: Path) -> None:
    """A limit on files' size stands for the disk; the store takes 480 kB, its scratch files less."""
    path = tmp_path / "m.h5"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written") as caught:
            write(path, symbols=20, rows=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("; ") == 1, "one way out"
    assert list(tmp_path.iterdir()) == []


def test_output_folder(tmp_path: Path) -> None:
    write(tmp_path / "new" / "folder" / "m.h5")
    assert (tmp_path / "new" / "folder" / "m.h5").exists()
    with pytest.raises(StoreError, match="is a folder"):
        write(tmp_path)


def swap_values(path: Path, how: str) -> None:
    """Put in the place of the values of a store what leads to another file."""
    with h5py.File(path, "r+") as file:
        shape = file["values"].shape
        del file["values"]
        if how == "external storage":
            size = 8 * shape[0] * shape[1]
            file.create_dataset("values", shape, np.float64, external=[("/proc/self/exe", 0, size)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, np.float64)
            layout[:] = h5py.VirtualSource("other.h5", "values", shape)
            file.create_virtual_dataset("values", layout)
        elif how == "external link":
            file["values"] = h5py.ExternalLink("other.h5", "/values")
        else:
            file["values"] = h5py.SoftLink("/dates")


@pytest.mark.parametrize("how", ["external storage", "virtual", "external link", "soft link"])
def test_prices_that_lie_in_another_file_are_refused(tmp_path: Path, how: str) -> None:
    for name in ("market.h5", "other.h5"):
        with StoreWriter(tmp_path / name, ["close"], "test") as store:
            store.append("AAA", np.arange(5), np.ones((5, 1)))
    swap_values(tmp_path / "market.h5", how)
    with pytest.raises(StoreError, match=r"damaged market store.*(is a link|lie in another file)"):
        MarketStore(tmp_path / "market.h5")
