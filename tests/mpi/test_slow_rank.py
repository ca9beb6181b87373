"""A rank that is slow on purpose is named, and the trace's arrows lead from it to those who waited."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

from launcher import launch, program
from small_job import write_config

HERE = Path(__file__).parent
SLOW, SECONDS = 2, 0.03


def test_a_slow_rank_is_named_and_the_arrows_begin_there(tmp_path: Path) -> None:
    config = write_config(tmp_path, epochs=2, every=1, batch_size=2, checkpoint_every=10**6)
    run = tmp_path / "run"
    trained = launch(
        4, [sys.executable, str(HERE / "slow_rank.py"), str(SLOW), str(SECONDS), str(config), str(run)]
    )
    assert trained.returncode == 0, trained.stderr
    starts = set()
    for rank in range(4):
        lines = map(json.loads, (run / "timing" / f"rank-{rank:05d}.jsonl").read_text().splitlines())
        clocks = [line["start_unix_ns"] for line in lines if "clock_at_ns" in line]
        assert len(clocks) == 2, "compared at the start and at the end"
        starts |= set(clocks)
    assert len(starts) == 1
    done = launch(0, program("timing", str(run), "--trace", str(tmp_path / "trace.json")))
    assert done.returncode == 0, done.stderr
    named = re.search(
        r"Rank 2 \(node \S+\) arrived last at (\d+)% of .* its compute per step is \d", done.stdout
    )
    assert named, done.stdout
    assert int(named[1]) >= 80
    assert re.search(r"compared over MPI: all times are by rank 0's clock, within [0-9.]+ [um]s", done.stdout)

    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    ranks = {e["pid"]: e["args"]["name"].split(" (")[0] for e in events if e["name"] == "process_name"}
    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert begins.keys() == ends.keys()
    assert all(begins[number]["ts"] < ends[number]["ts"] for number in begins)
    arrows = Counter((ranks[begins[number]["pid"]], ranks[ends[number]["pid"]]) for number in begins)
    steps = json.loads((run / "metrics.json").read_text())["steps"]
    for waiter in ("rank 0", "rank 1", "rank 3"):
        assert arrows["rank 2", waiter] >= 0.8 * steps, arrows
