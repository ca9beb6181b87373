"""Rounds over a slow connection: what training on while they close is worth."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cluster_jobs import cluster, finish, same_model
from launcher import start
from s3_bucket import Bucket
from shaping_proxy import shaped
from small_job import write_store

LATENCY_S, BYTES_PER_S = 0.2, 20e6


def share_of_work(run: Path) -> float:
    """Of the time from the first training step to the last, the share that was not spent on other clusters.

    The last round, which nothing is left to overlap with, comes after it.
    """
    spans = []
    for line in (run / "timing" / "rank-00000.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "phase" in entry:
            spans.append((entry["phase"], entry["start_ns"], entry["end_ns"]))
    steps = [span for span in spans if span[0] == "preprocess"]
    begin, end = min(span[1] for span in steps), max(span[2] for span in steps)
    inside = [span for span in spans if begin <= span[1] and span[2] <= end]
    lost = sum(stop - first for phase, first, stop in inside if phase == "sync")
    return 1 - lost / (end - begin)


def test_with_overlap_a_slow_store_costs_no_more_than_a_twentieth(tmp_path: Path, bucket: Bucket) -> None:
    write_store(tmp_path / "market.h5", [4000] * 4)
    started: dict[str, list[subprocess.Popen[str]]] = {}
    # Both ways side by side, each with a connection of its own: nearly all of the time they wait for the store.
    with (
        shaped(bucket.endpoint, LATENCY_S, BYTES_PER_S) as one,
        shaped(bucket.endpoint, LATENCY_S, BYTES_PER_S) as another,
    ):
        # Where rounds are waited for, each costs the same: a few show it.
        for overlap, epochs, endpoint in (("true", 24, one), ("false", 5, another)):
            folder = tmp_path / overlap
            folder.mkdir()
            (folder / "market.h5").symlink_to(tmp_path / "market.h5")
            storage = f'url = "s3://{bucket.name}/{overlap}"\nendpoint_url = "{endpoint}"'
            commands = [
                cluster(
                    *(folder, name, storage, shard, f"every = 128\noverlap = {overlap}"),
                    epochs=epochs,
                    every=8,
                    batch_size=16,
                    checkpoint_every=100_000,
                )
                for name, shard in (("alpha", "1/2"), ("beta", "2/2"))
            ]
            started[overlap] = [start(1, command) for command in commands]
        ended = finish(*(process for both in started.values() for process in both))
    assert [code for code, _, _ in ended] == [0] * 4, ended
    assert all(same_model(tmp_path / overlap) for overlap in started)
    shares = {
        overlap: min(share_of_work(tmp_path / overlap / f"run-{name}") for name in ("alpha", "beta"))
        for overlap in started
    }
    assert shares["true"] >= 0.95, shares
    assert shares["false"] < shares["true"]
