"""What bounds a run: the largest share, and a gain that is what the setting would give."""

from __future__ import annotations

import numpy as np
import pytest
from rank_files import meeting_ranks, one_by_one, write_part

from hpc_lstm import config as configuration
from hpc_lstm.timing.barriers import meetings
from hpc_lstm.timing.bottleneck import verdict
from hpc_lstm.timing.spans import load_timing
from hpc_lstm.timing.straggler import arrivals, find_straggler
from hpc_lstm.training import schedule

S = 10**9


def told(folder, settings=None, steps_per_epoch=None):
    timing = load_timing(folder)
    found = arrivals(timing, meetings(timing))
    config = None
    if settings is not None:
        config = configuration.parse({"data": {"store": "/m.h5"}, **settings}, "test")
    return verdict(timing, found, find_straggler(timing, found), config, steps_per_epoch)


def run(folder, *ranks, startup=1.0):
    """Ranks that spent so many seconds in each phase."""
    for rank, phases in enumerate(ranks):
        spent = [
            ("startup", int(startup * S)),
            *((phase, int(seconds * S)) for phase, seconds in phases.items()),
        ]
        write_part(folder, one_by_one(*spent), rank=rank, size=len(ranks))
    return folder


def test_averaging(tmp_path):
    folder = run(tmp_path, *[{"compute": 4, "average": 6}] * 2)
    # 6 s are 60%; an eighth of them is 16% of what is then left, a sixteenth 9%, and it goes no further.
    assert told(folder, {"average": {"every": 4}}) == (
        "Average (exchanging weights) bounds the run, 60% of the time after start-up; try average.every = 64 "
        "instead of 4: about 56% less by averaging alone, if the model bears it."
    )
    assert "try average.every 16 times as large: about 56% less" in told(folder)
    assert "try" not in told(folder, {"average": {"every": "epoch"}})


@pytest.mark.parametrize(("every", "steps"), [(16, 15), (4, 30), (4, 32), (1, 7), (64, 10**6), (8, 12)])
def test_averages_after_each_epoch_stay(tmp_path, every, steps):
    """Counted by the calendar that the training goes by."""

    def averages(every):
        config = configuration.parse({"data": {"store": "/m.h5"}, "average": {"every": every}}, "test")
        calendar = schedule.make_schedule(config, steps * 64, 1)
        at, count, total = schedule.Progress(), 0, min(steps * 64, 10**4)
        for _ in range(total):
            at = calendar.advance(at, 1, 1)
            count += calendar.averages_at(at)
        return count / total

    folder = run(tmp_path, *[{"compute": 4, "average": 6}] * 2)
    sentence = told(folder, {"average": {"every": every}}, steps)
    wanted = (
        int(sentence.partition("average.every = ")[2].split()[0]) if "average.every = " in sentence else every
    )
    stated = float(sentence.partition("about ")[2].partition("%")[0]) / 100 if wanted != every else 0.0
    assert stated == pytest.approx(0.6 * (1 - averages(wanted) / averages(every)), abs=0.011)


def test_computing_leaves_the_rest_to_gain(tmp_path):
    folder = run(tmp_path, *[{"compute": 9, "average": 0.6, "checkpoint": 0.4}] * 2)
    sentence = told(folder, {"average": {"every": 16}})
    assert sentence.startswith("Compute (the training itself) bounds the run, 90% of the time after start-up")
    assert "all else together could gain 10% at most" in sentence
    assert "try average.every = 32 instead of 16: about 3% less" in sentence
    assert "train.batch_size" in sentence


def test_checkpoints(tmp_path):
    folder = run(tmp_path, {"compute": 4, "checkpoint": 6})
    assert "try checkpoint.every = 8000 instead of 500: about 56% less" in told(folder, {})
    assert "the steps of 16 epochs instead of one" in told(folder, {"checkpoint": {"every": "epoch"}})


@pytest.mark.parametrize(
    ("sync", "wanted"),
    [
        ({}, "try sync.overlap = true, which trains on while rounds close: up to 40% less"),
        ({"overlap": True, "every": 4}, "try sync.every = 64 instead of 4: about 56% less"),
        ({"overlap": True, "every": 0}, "`hpc-lstm rounds` tells who waits for whom"),
    ],
)
def test_rounds_of_clusters(tmp_path, sync, wanted):
    folder = run(tmp_path, {"compute": 4, "sync": 6})
    settings = {"sync": {"cluster": "a", "expected": 2, **sync}, "storage": {"url": "file:///s"}}
    sentence = told(folder, settings)
    assert sentence.startswith("Sync (meeting other clusters) bounds the run, 60%")
    assert wanted in sentence


def test_a_short_run_tells_nothing(tmp_path):
    sentence = told(run(tmp_path, {"compute": 3, "evaluate": 1}, startup=6), {})
    assert sentence == (
        "The run is too short to tell what bounds it: start-up and loading took 60% of it; of the rest, 75% went into "
        "compute."
    )
    assert told(run(tmp_path / "none", {}, startup=6)).endswith("took 100% of it.")


def test_many_phases_together(tmp_path):
    sentence = told(run(tmp_path, {"compute": 4, "preprocess": 3, "evaluate": 3}), {})
    assert sentence.startswith(
        "No phase alone bounds the run; the largest, compute (the training itself), takes 40%"
    )


def waiting(folder, took):
    """Ranks whose steps take so long, [M, R] ns, and who meet after each."""
    before = np.concatenate([[0], np.cumsum(took.max(axis=1) + 10)[:-1]])
    for rank, spans in enumerate(meeting_ranks(*(before[:, None] + took).tolist())):
        write_part(folder, spans, rank=rank, size=took.shape[1], start_unix_ns=10**18, clock=[(0, 0, 0)])
    return folder


def test_waiting_for_one_rank(tmp_path):
    """It takes twice as long: without its delays the run would take half as long."""
    took = np.full((100, 3), S)
    took[:, 1] = 2 * S
    sentence = told(waiting(tmp_path, took), {"average": {"every": 1}})
    assert sentence == (
        "Rank 1 (node n1) bounds the run: without its delays the time after start-up would be up to 50% less."
    )


def test_waiting_for_a_node(tmp_path):
    took = np.full((100, 4), S)
    took[:, 2:] = [2 * S - 1, 2 * S]
    took[::2, 2:] = [2 * S, 2 * S - 1]
    for rank, spans in enumerate(meeting_ranks(*(np.arange(100)[:, None] * (2 * S + 10) + took).tolist())):
        place = {"rank": rank, "size": 4, "node": f"n{rank // 2}"}
        write_part(tmp_path, spans, start_unix_ns=10**18, clock=[(0, 0, 0)], **place)
    assert told(tmp_path).startswith(
        "Node n1 (ranks 2, 3) bounds the run: without its delays the time after start-up"
    )
    assert "up to 50% less" in told(tmp_path)


def test_waiting_by_turns(tmp_path):
    """Delays that are independent: what four steps at once would take is computed, and the stated gain is near it."""
    took = (np.random.default_rng(1).exponential(1, (4000, 4)) * S).astype(np.int64)
    sentence = told(waiting(tmp_path, took), {"average": {"every": 2}})
    assert sentence.startswith("Wait (ranks waiting for one another) bounds the run")
    assert "try average.every = 8 instead of 2: ranks are late by turns" in sentence
    stated = int(sentence.partition("about ")[2].partition("%")[0]) / 100
    four = took.reshape(-1, 4, 4).sum(axis=1).max(axis=1).sum()
    assert stated == pytest.approx(1 - four / took.max(axis=1).sum(), abs=0.05)
    assert "average.every" not in told(
        tmp_path, {"average": {"every": 64}}
    )  # they meet as often without averaging
