"""Which rows of a store a run knows: the same rows, newer rows, other rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ranks import on_ranks

from hpc_lstm.errors import InputError
from hpc_lstm.market import row_hashes
from hpc_lstm.market.known_rows import Growth, KnownRows, RowComparison, compare_rows, know_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel.world import World

COLUMNS = ["open", "close"]
DAY = 18_000  # 2019-04-14


def prices(symbol: str, rows: int) -> np.ndarray:
    """Rows of a symbol, float64 [rows, 2]; more rows begin with the same ones."""
    seed = int.from_bytes(symbol.encode(), "little")
    return np.random.default_rng(seed).normal(100, 1, (1000, 2))[:rows]


def write(path: Path, symbols: dict[str, np.ndarray], first: int = DAY, columns: list[str] = COLUMNS) -> Path:
    with StoreWriter(path, columns, "test") as store:
        for name, values in symbols.items():
            store.append(name, np.arange(first, first + len(values), dtype=np.int64), values)
    return path


def make(path: Path, rows: dict[str, int], **more: Any) -> Path:
    return write(path, {name: prices(name, count) for name, count in rows.items()}, **more)


def known_of(
    path: Path, columns: tuple[str, ...] = ("close",), symbols: list[str] | None = None
) -> KnownRows:
    with MarketStore(path) as store:
        numbers = [store.symbol(name) for name in symbols or store.symbols]
        return know_rows(store, [store.column(name) for name in columns], numbers, World())


def compared(known: KnownRows, path: Path, **more: Any) -> RowComparison:
    with MarketStore(path) as store:
        return compare_rows(known, store, World(), **more)


def growth(known: KnownRows, path: Path) -> Growth:
    """What a store that does not contradict has more."""
    found = compared(known, path)
    assert found.difference == ""
    assert found.growth is not None
    return found.growth


def difference(known: KnownRows, path: Path, **more: Any) -> str:
    return compared(known, path, **more).difference


@pytest.fixture
def known(tmp_path: Path) -> KnownRows:
    return known_of(make(tmp_path / "old.h5", {"AAA": 50, "BBB": 30, "CCC": 0}))


def test_digests_are_those_of_the_rows_as_they_lie_in_memory(tmp_path: Path, known: KnownRows) -> None:
    for number, rows in enumerate((50, 30, 0)):
        close = prices("AAABBBCCC"[3 * number : 3 * number + 3], rows)[:, 1]
        dates = np.arange(DAY, DAY + rows, dtype=np.int64)
        plain = b"".join(d.tobytes() + p.tobytes() for d, p in zip(dates, close, strict=True))
        assert known.digests[number].tobytes() == hashlib.sha256(plain).digest()
    assert known.rows.tolist() == [50, 30, 0]
    assert known.last.tolist() == [DAY + 49, DAY + 29, 0]
    assert known.last_date == DAY + 49


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    ranks=st.integers(1, 4),
    piece=st.integers(1, 50),
    gap=st.integers(0, 20),
)
def test_hashes_do_not_depend_on_ranks_or_reads(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], ranks: int, piece: int, gap: int
) -> None:
    rows = {f"S{number}": count for number, count in enumerate(counts)}
    path = make(tmp_path_factory.mktemp("store") / "market.h5", rows)
    reference = known_of(path)
    with MarketStore(path) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_hashes, "ROWS_AT_ONCE", piece)
        patch.setattr(row_hashes, "GAP", gap)
        found = on_ranks(ranks, lambda world: know_rows(store, [1], range(len(rows)), world))
    for one in found:
        assert (one.digests == reference.digests).all()
        assert (one.last == reference.last).all()
    assert (found[0].checks == reference.checks).all()
    assert all(len(one.checks) == 0 for one in found[1:])


def test_the_same_rows_are_no_growth(tmp_path: Path, known: KnownRows) -> None:
    assert not growth(known, tmp_path / "old.h5")


def test_new_rows_and_symbols_are_counted(tmp_path: Path, known: KnownRows) -> None:
    path = make(tmp_path / "new.h5", {"AAA": 53, "AAB": 9, "BBB": 31, "CCC": 0})
    found = growth(known, path)
    assert (found.rows, found.symbols, found.new_symbols) == (4, 2, ("AAB",))
    assert found.known.tolist() == [50, 0, 30, 0], "by the symbols of the new store"
    assert found.after("D") == "after 2019-05-13 to 2019-06-02"
    one = growth(known, make(tmp_path / "one.h5", {"AAA": 51, "BBB": 30, "CCC": 0}))
    assert one.after("D") == "after 2019-06-02"


def test_symbols_may_come_in_another_order_and_columns_too(tmp_path: Path, known: KnownRows) -> None:
    rows = {"CCC": 0, "BBB": 30, "AAA": 50}
    path = write(
        tmp_path / "new.h5",
        {name: prices(name, count)[:, ::-1] for name, count in rows.items()},
        columns=["close", "open"],
    )
    assert not growth(known, path)


def test_a_column_that_the_run_does_not_use_may_change(tmp_path: Path, known: KnownRows) -> None:
    values = prices("AAA", 50).copy()
    values[:, 0] *= 2
    path = write(tmp_path / "new.h5", {"AAA": values, "BBB": prices("BBB", 30), "CCC": prices("CCC", 0)})
    assert not growth(known, path)


@pytest.mark.parametrize("row", [0, 1, 17, 29])
def test_the_first_changed_row_is_named(tmp_path: Path, known: KnownRows, row: int) -> None:
    values = prices("BBB", 33).copy()
    values[row:, 1] = np.nextafter(values[row:, 1], np.inf)
    path = write(tmp_path / "new.h5", {"AAA": prices("AAA", 50), "BBB": values, "CCC": prices("CCC", 4)})
    date = np.datetime64(DAY + row, "D")
    assert difference(known, path) == f"BBB differs from {date} on"


def test_a_changed_date_is_a_change(tmp_path: Path, known: KnownRows) -> None:
    with StoreWriter(tmp_path / "new.h5", COLUMNS, "test") as store:
        dates = np.arange(DAY, DAY + 50, dtype=np.int64)
        dates[20:] += 1
        store.append("AAA", dates, prices("AAA", 50))
        store.append("BBB", np.arange(DAY, DAY + 30), prices("BBB", 30))
        store.append("CCC", dates[:0], prices("CCC", 0))
    assert difference(known, tmp_path / "new.h5") == f"AAA differs from {np.datetime64(DAY + 21, 'D')} on"


def test_other_ways_to_be_another_store(tmp_path: Path, known: KnownRows) -> None:
    shorter = make(tmp_path / "shorter.h5", {"AAA": 50, "BBB": 28, "CCC": 0})
    assert difference(known, shorter) == "BBB has 28 rows where there were 30"
    both = {name: prices(name, rows) + 1 for name, rows in {"AAA": 50, "BBB": 30, "CCC": 0}.items()}
    assert difference(known, write(tmp_path / "both.h5", both)) == (
        "AAA differs from 2019-04-14 on; so does 1 other symbol"
    )
    gone = make(tmp_path / "gone.h5", {"AAA": 50, "BBB": 30})
    assert difference(known, gone) == "it has no symbol CCC"
    columns = write(tmp_path / "columns.h5", {"AAA": prices("AAA", 50)}, columns=["open", "last"])
    assert difference(known, columns) == "it has no column close"
    assert difference(known, tmp_path / "old.h5", chosen=["AAA"]) == "it has no symbol BBB and 1 more"


def test_without_checks_of_rows_the_symbol_is_named(tmp_path: Path, known: KnownRows) -> None:
    bare = KnownRows.from_state_dict(known.state_dict())
    path = write(
        tmp_path / "new.h5", {n: prices(n, r) + 1 for n, r in {"AAA": 50, "BBB": 30, "CCC": 0}.items()}
    )
    assert difference(bare, path).startswith("AAA differs somewhere up to 2019-06-02")
    assert difference(bare, path, detail=known).startswith("AAA differs from 2019-04-14 on")


def test_ranks_come_to_the_same_answer(tmp_path: Path, known: KnownRows) -> None:
    new = make(tmp_path / "new.h5", {"AAA": 53, "BBB": 30, "CCC": 2})
    changed = write(tmp_path / "changed.h5", {n: prices(n, 50) + (n == "BBB") for n in ("AAA", "BBB", "CCC")})
    with MarketStore(new) as grown, MarketStore(changed) as other:
        for one in on_ranks(3, lambda world: compare_rows(known, grown, world)):
            assert one.difference == ""
            assert (one.growth.rows, one.growth.symbols) == (5, 2)
        for one in on_ranks(3, lambda world: compare_rows(known, other, world)):
            assert one.difference == "BBB differs from 2019-04-14 on"


def test_new_rows_are_told_from_old_ones_whose_prices_were_corrected(
    tmp_path: Path, known: KnownRows
) -> None:
    values = {"AAA": prices("AAA", 55) / 10, "BBB": prices("BBB", 30)}
    found = compared(known, write(tmp_path / "new.h5", values))
    assert found.difference == "it has no symbol CCC"
    assert found.growth is not None
    assert (found.growth.rows, found.growth.known.tolist()) == (5, [50, 30])
    later = compared(known, make(tmp_path / "later.h5", {"AAA": 60, "BBB": 40, "CCC": 1}, first=DAY + 1))
    assert later.difference.startswith("AAA differs from 2019-04-15 on")
    assert later.growth is None, "other days: which of them the run knows is not known"
    shorter = compared(known, make(tmp_path / "shorter.h5", {"AAA": 49, "BBB": 40, "CCC": 1}))
    assert shorter.growth is None


def test_what_is_known_is_read_back(tmp_path: Path, known: KnownRows) -> None:
    known.save(tmp_path / "rows.h5")
    back = KnownRows.load(tmp_path / "rows.h5")
    for one in (back, KnownRows.from_state_dict(known.state_dict())):
        assert (one.columns, one.date_unit, one.symbols) == (("close",), "D", ("AAA", "BBB", "CCC"))
        assert one.digest == known.digest
        assert one.rows.tolist() == known.rows.tolist()
        assert one.last.tolist() == known.last.tolist()
    assert (back.checks == known.checks).all()
    some = back.of(["CCC", "BBB"])
    assert (some.symbols, some.rows.tolist()) == (("CCC", "BBB"), [0, 30])
    assert (some.checks == known.checks[50:]).all()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"rows\.h5: cannot be read"):
        KnownRows.load(tmp_path / "rows.h5")


def test_one_bit_of_a_row_changes_its_check() -> None:
    block = np.random.default_rng(1).integers(-(2**62), 2**62, (500, 3))
    before, missed = row_hashes.row_checks(block), 0
    for column in range(3):
        for bit in range(0, 64, 7):
            other = block.copy()
            other[:, column] ^= np.int64(1) << np.int64(bit)
            missed += int((row_hashes.row_checks(other) == before).sum())
    # One in 65,536 by chance: of these 15,000, more than 5 would be one in ten million.
    assert missed <= 5
