"""Two jobs of two ranks each that share nothing but an object store."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from cluster_jobs import cluster, finish, metrics, same_model, together, words
from launcher import InTurn, finish_all, kill, ranks_of, start, wait_until

SHARDS = (("alpha", "1/2"), ("beta", "2/2"))
WAYS = {
    "average": "",
    "nesterov-bfloat16": 'outer = "nesterov"\npayload = "bfloat16"',
    "overlap": "overlap = true",
}


@pytest.fixture(scope="module", params=["folder", "bucket"])
def met(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """Two clusters of two ranks have met in all ``WAYS``, one after the other.

    Returns:
        A folder that has one for each way, and what ``timing`` says of each.
    """
    folder = tmp_path_factory.mktemp("met")
    if request.param == "folder":
        storage = f'url = "file://{folder}/shared"'
    else:
        bucket = request.getfixturevalue("shared_bucket")
        storage = f'url = "s3://{bucket.name}/team"\nendpoint_url = "{bucket.endpoint}"'
    for way in WAYS:
        (folder / way).mkdir()
    clusters = []
    for name, shard in SHARDS:
        runs = (
            cluster(folder / way, name, storage, shard, WAYS[way], f'run = "{way}"', epochs=2) for way in WAYS
        )
        clusters.append(InTurn(2, folder / name, [words(command) for command in runs]))
    asked = [
        [
            *("timing", str(folder / way / "run-alpha"), str(folder / way / "run-beta")),
            *("--trace", str(folder / way / "trace.json")),
        ]
        for way in WAYS
    ]
    trained = [done for ended in finish_all(clusters) for done in ended]
    assert [done.returncode for done in trained] == [0] * len(trained), trained
    timings = InTurn(1, folder / "timings", asked).finish()
    assert [done.returncode for done in timings] == [0] * len(timings), timings
    return folder, {way: timing.stdout for way, timing in zip(WAYS, timings, strict=True)}


@pytest.mark.parametrize("way", WAYS)
def test_two_clusters_end_with_one_model(met: tuple[Path, dict[str, str]], way: str) -> None:
    folder, timing = met[0] / way, met[1][way]
    assert same_model(folder)
    told = [metrics(folder, name)["sync"] for name in ("alpha", "beta")]
    assert told[0]["round"] == told[1]["round"] >= 1
    assert all(one["clusters_missing"] == 0 and one["bytes_put"] > 0 for one in told)
    # One machine, one clock: the limits set by the rounds must not shift it.
    assert re.search(
        r"beta is aligned with alpha by their wall clocks; according to \d+ rounds? that both recorded",
        timing,
    )
    trace = json.loads((folder / "trace.json").read_text())
    names = {e["args"]["name"].split(" (")[0] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert names == {f"{name}: rank {rank}" for name in ("alpha", "beta") for rank in range(2)}


def test_clusters_with_nothing_but_the_url_in_common_end_with_one_model(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    commands = [cluster(tmp_path, name, storage, shard, run="") for name, shard in SHARDS]
    ended = together(tmp_path / "said-both", 2, *commands)
    assert [done.returncode for done in ended] == [0, 0], ended
    assert same_model(tmp_path)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["_shared"]
    (tmp_path / "run-alpha").rename(tmp_path / "kept")
    url = f"file://{tmp_path}/shared"
    asked = [["checkpoints", url], ["rounds", url, "--run", "_shared"], words(commands[0])]
    checkpoints, rounds, again = InTurn(1, tmp_path / "said", asked).finish()
    assert [line.split()[:2] for line in checkpoints.stdout.splitlines()][-1] == ["_shared", "beta"]
    assert "finished: alpha, beta" in rounds.stdout
    assert again.returncode == 2, "another run at the same URL must not follow on the first one"
    assert "_shared/checkpoints/alpha" in again.stderr
    assert "another sync.run or storage.url" in again.stderr


def test_clusters_that_met_under_the_name_of_their_directories_resume_there(tmp_path: Path) -> None:
    """As those of version 0.1 did, if all had run directories of the same name."""
    storage = f'url = "file://{tmp_path}/shared"'
    commands = []
    for name, shard in SHARDS:
        command = cluster(tmp_path, name, storage, shard, run="", epochs=8)
        commands.append([*command[:-1], str(tmp_path / name / "team")])
        (tmp_path / f"run-{name}").symlink_to(tmp_path / name / "team")
    both = [start(1, command) for command in commands]
    log = tmp_path / "beta" / "team" / "log" / "rank-00000.log"
    wait_until(lambda: log.exists() and "round 2 has closed" in log.read_text(), both[1])
    for process in both:
        for pid in ranks_of(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
    assert [code for code, _, _ in finish(*both)] == [75, 75]
    (tmp_path / "shared" / "_shared").rename(tmp_path / "shared" / "team")
    resumed = together(tmp_path / "said", 1, *([*command, "--resume"] for command in commands))
    assert [done.returncode for done in resumed] == [0, 0], resumed
    assert all("from the checkpoint of step" in done.stdout for done in resumed)
    assert same_model(tmp_path)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["team"]


def test_a_killed_cluster_comes_back_and_both_end_with_one_model(tmp_path: Path, storage: str) -> None:
    commands = {
        name: cluster(
            *(tmp_path, name, storage),
            sync="deadline_s = 100\nevery = 4",
            epochs=5,
        )
        for name in ("alpha", "beta")
    }
    alpha = InTurn(2, tmp_path / "said-alpha", [words(commands["alpha"])])
    try:
        beta = start(2, commands["beta"])
        log = tmp_path / "run-beta" / "log" / "rank-00000.log"
        wait_until(lambda: log.exists() and "round 2 has closed" in log.read_text(), beta)
        kill(beta)
        beta.communicate()
        again = InTurn(2, tmp_path / "said-beta", [[*words(commands["beta"]), "--resume"]])
        ended = [done for (done,) in finish_all([alpha, again])]
    finally:
        alpha.kill()
    assert [done.returncode for done in ended] == [0, 0], ended
    assert same_model(tmp_path)


def test_a_signal_while_waiting_for_others_stops_with_a_checkpoint(tmp_path: Path) -> None:
    storage = f'url = "file://{tmp_path}/shared"'
    command = cluster(tmp_path, "alpha", storage)
    waiting = start(2, command)
    brought = tmp_path / "shared" / "prices" / "rounds" / "000001" / "contributions" / "alpha.json"
    wait_until(brought.exists, waiting)
    time.sleep(0.5)
    for pid in ranks_of(waiting):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    ((code, out, err),) = finish(waiting)
    assert code == 75, (out, err)
    both = together(tmp_path / "said", 2, [*command, "--resume"], cluster(tmp_path, "beta", storage))
    assert [done.returncode for done in both] == [0, 0], both
    assert same_model(tmp_path)
