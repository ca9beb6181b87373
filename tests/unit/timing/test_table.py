"""The table's numbers, by hand."""

from __future__ import annotations

import pytest
from rank_files import one_by_one, write_part

from hpc_lstm import config as configuration
from hpc_lstm.errors import InputError
from hpc_lstm.timing.table import timing_table

S = 10**9


def cells(table: str, name: str) -> list[str]:
    return next(line for line in table.splitlines() if line.startswith(name))[len(name) :].split()


def test_two_ranks_by_hand(tmp_path):
    write_part(tmp_path, one_by_one(("startup", 2 * S), ("compute", 6 * S), ("wait", 2 * S)), rank=0, size=2)
    write_part(tmp_path, one_by_one(("startup", 2 * S), ("compute", 8 * S)), rank=1, size=2)
    table = timing_table(tmp_path)
    assert cells(table, "compute") == ["6.00", "7.00", "8.00", "70.0%", "14.3%", "6.00", "8.00"]
    assert cells(table, "wait") == ["0.00", "1.00", "2.00", "10.0%", "100.0%", "2.00", "0.00"]
    assert cells(table, "sync") == ["0.00", "0.00", "0.00", "0.0%", "-", "0.00", "0.00"]
    assert cells(table, "all phases") == ["10.00", "10.00", "10.00", "100.0%", "0.0%", "10.00", "10.00"]
    assert cells(table, "wall") == cells(table, "all phases")
    assert "The bottleneck is compute (the training itself): 88% of the time after start-up" in table
    assert "removing everything else would save at most 12%" in table
    assert len({len(line) for line in table.splitlines()[2:14]}) == 1  # columns stand under each other


def test_many_ranks_are_not_shown_one_by_one(tmp_path):
    for rank in range(9):
        write_part(tmp_path, one_by_one(("compute", S)), rank=rank, size=9, node=f"n{rank // 4}")
    table = timing_table(tmp_path)
    assert "9 ranks on 3 nodes" in table
    assert "rank 8" not in table
    assert len(cells(table, "compute")) == 5


def test_a_run_that_was_killed_and_resumed_says_so(tmp_path):
    write_part(tmp_path, one_by_one(("startup", S), ("compute", 2 * S)), killed=True)
    write_part(tmp_path, one_by_one(("startup", S), ("compute", 4 * S)))
    table = timing_table(tmp_path)
    assert cells(table, "compute")[2] == "6.00"
    assert "started 2 times" in table
    assert "1 of 2 processes wrote no totals" in table


def test_settings_and_epochs_of_the_run_are_taken_into_account(tmp_path):
    for rank in range(2):
        write_part(
            tmp_path, one_by_one(("startup", S), ("compute", 4 * S), ("average", 6 * S)), rank=rank, size=2
        )
    config = configuration.parse({"data": {"store": "/m.h5"}, "average": {"every": 5}}, "test")
    (tmp_path / "config.toml").write_text(configuration.dump(config))
    entry = '{"kind": "train", "step": %d, "epoch": %f}\n'
    (tmp_path / "history.jsonl").write_text(entry % (500, 10) + entry % (510, 11))
    # Of 2 averages in 10 steps, the one at the end of the epoch stays.
    assert "try average.every = 80 instead of 5: saves about 30% in averaging alone" in timing_table(tmp_path)


def test_several_clusters_have_a_table_each_and_one_sentence_on_their_axis(tmp_path):
    for name in ("alpha", "beta"):
        write_part(tmp_path / name, one_by_one(("startup", S), ("sync", 2 * S)))
    table = timing_table(tmp_path / "alpha", tmp_path / "beta")
    assert "1 rank on 1 node of cluster alpha" in table
    assert "1 rank on 1 node of cluster beta" in table
    assert "beta is aligned with alpha by their wall clocks alone" in table.splitlines()[-1]
    with pytest.raises(InputError, match="given twice"):
        timing_table(tmp_path / "alpha", tmp_path / "alpha")


def test_a_folder_without_timing(tmp_path):
    with pytest.raises(InputError, match="no timing"):
        timing_table(tmp_path)
