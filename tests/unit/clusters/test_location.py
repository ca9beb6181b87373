"""Where clusters meet: by the URL alone, and where those of version 0.1 have met before."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_lstm.clusters.inventory import stored_runs, summarize_runs
from hpc_lstm.clusters.location import SHARED_RUN, run_name
from hpc_lstm.config import SyncConfig
from hpc_lstm.storage.folder import FolderStore

ALPHA = SyncConfig(cluster="alpha", expected=2)


def put(folder: Path, *keys: str) -> FolderStore:
    store = FolderStore(folder)
    for key in keys:
        store.put_new(key, b"{}")
    return store


@pytest.mark.parametrize("directory", ["night", "day", "runs"])
def test_the_directorys_name_does_not_say_where_clusters_meet(tmp_path: Path, directory: str) -> None:
    assert run_name(FolderStore(tmp_path), ALPHA, directory) == SHARED_RUN


def test_what_a_user_has_named_counts(tmp_path: Path) -> None:
    store = put(tmp_path, "night/run.json", "night/rounds/000001/merged.json")
    assert run_name(store, SyncConfig(cluster="alpha", run="prices"), "night") == "prices"
    assert run_name(store, SyncConfig(run="prices"), "night") == "prices"
    assert run_name(store, SyncConfig(), "day") == "day", "a run that trains alone"


@pytest.mark.parametrize(
    "keys",
    [
        ["night/rounds/000001/merged.json"],
        ["night/leases/alpha/000001.000000000", "night/leases/beta/000001.000000000"],
        ["night/leases/beta/000001.000000000", "night/checkpoints/gamma/000000005/checkpoint.json"],
        ["night/rounds/000001/contributions/alpha.json", "night/rounds/000001/contributions/beta.json"],
    ],
)
def test_clusters_that_met_under_their_directorys_name_meet_there_again(
    tmp_path: Path, keys: list[str]
) -> None:
    store = put(tmp_path, "night/run.json", *keys)
    assert run_name(store, ALPHA, "night") == "night"
    assert run_name(store, SyncConfig(cluster="gamma"), "night") == "night", "a newcomer finds them too"
    assert run_name(store, ALPHA, "day") == SHARED_RUN
    put(tmp_path, "_shared/run.json", "_shared/rounds/000001/merged.json")
    assert run_name(store, ALPHA, "night") == "night", "whatever others do meanwhile"


@pytest.mark.parametrize(
    "keys",
    [
        # It waited there alone, since the other one's directory had another name.
        [
            "night/run.json",
            "night/leases/alpha/000001.000000000",
            "night/rounds/000001/contributions/alpha.json",
        ],
        # A run of that name that trained alone.
        ["night/checkpoints/main/000000005/checkpoint.json"],
        # A longer name that begins alike.
        ["night-2/run.json", "night-2/rounds/000001/merged.json"],
    ],
)
def test_nobody_goes_back_to_where_nobody_met(tmp_path: Path, keys: list[str]) -> None:
    assert run_name(put(tmp_path, *keys), ALPHA, "night") == SHARED_RUN


def test_runs_are_summarized_in_one_printable_line(tmp_path: Path) -> None:
    store = put(
        tmp_path,
        ".hpc-lstm-create-once",
        *("prices/run.json", "prices/leases/beta/000001.000000000", "prices/rounds/000003/merged.json"),
        *(
            "_shared/run.json",
            "_shared/leases/alpha/000001.000000000",
            "_shared/leases/\x1b[2J/000001.000000000",
        ),
        "\x1b[2J/checkpoints/main/000000005/checkpoint.json",
    )
    told = summarize_runs(stored_runs(store), "_shared")
    assert told == (
        '"_shared" (this run): cluster alpha, at round 0; "prices": cluster beta, at round 3; '
        '"\\x1b[2J": checkpoints of a run that trains alone'
    )
    many = put(tmp_path / "many", *(f"run-{number}/run.json" for number in range(50)))
    assert summarize_runs(stored_runs(many), "_shared").endswith("; 40 more")


def test_a_clusters_own_checkpoint_is_never_left_behind(tmp_path: Path) -> None:
    store = put(tmp_path, "night/run.json", "night/checkpoints/alpha/000000005/checkpoint.json")
    assert run_name(store, ALPHA, "night") == "night"
    assert run_name(store, SyncConfig(cluster="beta"), "night") == SHARED_RUN
