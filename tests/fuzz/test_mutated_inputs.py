"""Changed files and options: each is read, or refused in one line; none hangs, crashes or fills the memory.

HPC_LSTM_MUTATIONS is how many of each kind; its seeds are the same at every start.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from inspector import Inspector
from targets import TARGETS, Target
from worker import REFUSED, RIGHT, outcomes

from hpc_lstm.hdf5 import reading

EXAMPLES = int(os.environ.get("HPC_LSTM_MUTATIONS", "500"))
# Seconds of a processor after which an inspection of a small file is taken for endless.
CPU_S = 1


@pytest.mark.timeout(0 if EXAMPLES > 500 else 900)  # each example has its own limit
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_changed_inputs_are_read_or_refused(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPC_LSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "_inspect", Inspector(CPU_S))
    found = outcomes(target.example(tmp_path), range(EXAMPLES))
    wrong = {seed: text for seed, text in found.items() if text not in (RIGHT, REFUSED)}
    kinds = Counter(text.strip().splitlines()[-1][:200] for text in wrong.values())
    first = next(iter(wrong.items()), None)
    assert not wrong, f"{len(wrong)} of {EXAMPLES}: {dict(kinds)}; first, seed {first}"
    assert len(found) == EXAMPLES
    print(f"{target.name}: {Counter(found.values())}")
