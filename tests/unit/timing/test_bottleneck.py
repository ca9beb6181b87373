"""The bottleneck: the largest share, and a saving that is what the setting would give."""

from __future__ import annotations

import numpy as np
import pytest
from rank_files import one_by_one, ranks_at_barriers, write_part

from hpc_lstm import config as configuration
from hpc_lstm.timing.barriers import collect_barriers
from hpc_lstm.timing.bottleneck import bottleneck_note
from hpc_lstm.timing.spans import load_timing
from hpc_lstm.timing.straggler import count_arrivals, find_straggler
from hpc_lstm.training import schedule

S = 10**9


def note_of(folder, settings=None, steps_per_epoch=None):
    timing = load_timing(folder)
    found = count_arrivals(timing, collect_barriers(timing))
    config = None
    if settings is not None:
        config = configuration.parse({"data": {"store": "/m.h5"}, **settings}, "test")
    return bottleneck_note(timing, found, find_straggler(timing, found), config, steps_per_epoch)


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
    assert note_of(folder, {"average": {"every": 4}}) == (
        "The bottleneck is average (averaging the ranks' weights): 60% of the time after start-up; try "
        "average.every = 64 instead of 4: saves about 56% in averaging alone, if the model tolerates it."
    )
    assert "try average.every 16 times as large: saves about 56%" in note_of(folder)
    assert "try" not in note_of(folder, {"average": {"every": "epoch"}})


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
    sentence = note_of(folder, {"average": {"every": every}}, steps)
    expected = (
        int(sentence.partition("average.every = ")[2].split()[0]) if "average.every = " in sentence else every
    )
    stated = float(sentence.partition("about ")[2].partition("%")[0]) / 100 if expected != every else 0.0
    assert stated == pytest.approx(0.6 * (1 - averages(expected) / averages(every)), abs=0.011)


def test_computing_leaves_the_rest_to_gain(tmp_path):
    folder = run(tmp_path, *[{"compute": 9, "average": 0.6, "checkpoint": 0.4}] * 2)
    sentence = note_of(folder, {"average": {"every": 16}})
    assert sentence.startswith(
        "The bottleneck is compute (the training itself): 90% of the time after start-up"
    )
    assert "removing everything else would save at most 10%" in sentence
    assert "try average.every = 32 instead of 16: saves about 3%" in sentence
    assert "train.batch_size" in sentence


def test_checkpoints(tmp_path):
    folder = run(tmp_path, {"compute": 4, "checkpoint": 6})
    assert "try checkpoint.every = 8000 instead of 500: saves about 56%" in note_of(folder, {})
    assert "try checkpoint.every = the number of steps in 16 epochs" in note_of(
        folder, {"checkpoint": {"every": "epoch"}}
    )


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        ({}, "try sync.overlap = true, which keeps training while rounds close: saves up to 40%"),
        ({"overlap": True, "every": 4}, "try sync.every = 64 instead of 4: saves about 56%"),
        ({"overlap": True, "every": 0}, "`hpc-lstm rounds` shows which clusters wait for which"),
    ],
)
def test_rounds_of_clusters(tmp_path, sync, expected):
    folder = run(tmp_path, {"compute": 4, "sync": 6})
    settings = {"sync": {"cluster": "a", "expected": 2, **sync}, "storage": {"url": "file:///s"}}
    sentence = note_of(folder, settings)
    assert sentence.startswith("The bottleneck is sync (exchanging weights with other clusters): 60%")
    assert expected in sentence


def test_a_short_run_has_no_bottleneck(tmp_path):
    sentence = note_of(run(tmp_path, {"compute": 3, "evaluate": 1}, startup=6), {})
    assert sentence == (
        "The run is too short to determine its bottleneck: start-up and loading took 60% of it; 75% of the rest was "
        "spent in compute."
    )
    assert note_of(run(tmp_path / "none", {}, startup=6)).endswith("took 100% of it.")


def test_many_phases_together(tmp_path):
    sentence = note_of(run(tmp_path, {"compute": 4, "preprocess": 3, "evaluate": 3}), {})
    assert sentence.startswith(
        "No single phase is the bottleneck; the largest, compute (the training itself), takes 40%"
    )


def waiting(folder, took):
    """Ranks whose steps take so long, [M, R] ns, and with a barrier after each."""
    before = np.concatenate([[0], np.cumsum(took.max(axis=1) + 10)[:-1]])
    for rank, spans in enumerate(ranks_at_barriers(*(before[:, None] + took).tolist())):
        write_part(folder, spans, rank=rank, size=took.shape[1], start_unix_ns=10**18, clock=[(0, 0, 0)])
    return folder


def test_waiting_for_one_rank(tmp_path):
    """It takes twice as long: without its delays the run would take half as long."""
    took = np.full((100, 3), S)
    took[:, 1] = 2 * S
    sentence = note_of(waiting(tmp_path, took), {"average": {"every": 1}})
    assert sentence == (
        "The bottleneck is rank 1 (node n1): without its delays the time after start-up would be up to 50% shorter."
    )


def test_waiting_for_a_node(tmp_path):
    took = np.full((100, 4), S)
    took[:, 2:] = [2 * S - 1, 2 * S]
    took[::2, 2:] = [2 * S, 2 * S - 1]
    for rank, spans in enumerate(
        ranks_at_barriers(*(np.arange(100)[:, None] * (2 * S + 10) + took).tolist())
    ):
        place = {"rank": rank, "size": 4, "node": f"n{rank // 2}"}
        write_part(tmp_path, spans, start_unix_ns=10**18, clock=[(0, 0, 0)], **place)
    assert note_of(tmp_path).startswith(
        "The bottleneck is node n1 (ranks 2, 3): without its delays the time after start-up"
    )
    assert "up to 50% shorter" in note_of(tmp_path)


def test_waiting_by_turns(tmp_path):
    """Delays that are independent: the time of four steps per barrier is computed, and the stated saving is near it."""
    took = (np.random.default_rng(1).exponential(1, (4000, 4)) * S).astype(np.int64)
    sentence = note_of(waiting(tmp_path, took), {"average": {"every": 2}})
    assert sentence.startswith("The bottleneck is wait (ranks waiting for one another)")
    assert "try average.every = 8 instead of 2: ranks take turns at being late" in sentence
    stated = int(sentence.partition("about ")[2].partition("%")[0]) / 100
    four = took.reshape(-1, 4, 4).sum(axis=1).max(axis=1).sum()
    assert stated == pytest.approx(1 - four / took.max(axis=1).sum(), abs=0.05)
    assert "average.every" not in note_of(
        tmp_path, {"average": {"every": 64}}
    )  # they synchronize as often without averaging
