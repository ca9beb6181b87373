"""Changed files and options: each is read, or refused in one line; none hangs, crashes or fills the memory.

The seeds are the same at every start; ``campaign.py`` runs more of them.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from inspector import Inspector
from targets import TARGETS, Target
from worker import INSPECTION_S, REFUSED, RIGHT, outcomes

from hpc_lstm.hdf5 import reading
from hpc_lstm.native import code_cache

EXAMPLES = 500
NEEDED = (
    "h5py",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "hpc_lstm.checkpoint.restore",
    "hpc_lstm.config",
    "hpc_lstm.evaluation.trained_run",
    "hpc_lstm.market.importing",
    "hpc_lstm.model.engines.registry",
    "hpc_lstm.report.page_run",
    "hpc_lstm.report.plots",
    "hpc_lstm.sweep.summary",
    "hpc_lstm.timing.trace",
    "hpc_lstm.tuning.command",
)
MEMORY_FOLDER, ROOM = Path("/dev/shm"), 1 << 28
# What a campaign found, beyond those, and is mended.
FOUND = {"model": (34055, 40782), "scaler": (40297,)}


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    """Examples run in children of this process, each of which would import what most kinds need."""
    for name in NEEDED:
        importlib.import_module(name)


@pytest.fixture(scope="module", autouse=True)
def inspected_by_one() -> Iterator[None]:
    """Those children, which run one after the other, would start a process each that inspects HDF5 files."""
    inspector = Inspector(INSPECTION_S, shared=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_inspect", inspector)
        yield
    inspector.end()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For files of examples: in memory if it has room, as each of thousands writes, renames and removes some."""
    if not os.access(MEMORY_FOLDER, os.W_OK) or shutil.disk_usage(MEMORY_FOLDER).free < ROOM:
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory(prefix="hpc_lstm-fuzz-", dir=MEMORY_FOLDER) as name:
            yield Path(name)


def copy_kernels(source: Path, cache: Path) -> None:
    """Give a new cache the C kernels of another: what lies there for other sources is not taken, by its name."""
    cache.mkdir()
    for file in source.glob(f"lstm-{platform.machine()}-*"):
        if ".tmp-" not in file.name:  # which another process is writing
            shutil.copyfile(file, cache / file.name)


@pytest.mark.timeout(900)  # each example has its own limit
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_changed_inputs_are_read_or_refused(
    target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = code_cache.cache_path("")
    monkeypatch.setenv("HPC_LSTM_CACHE", str(folder / "cache"))
    if compiled is not None and target.name == "model":
        copy_kernels(compiled, folder / "cache")
    example, found = target.example(folder), {}
    for seeds in (range(EXAMPLES), *(range(seed, seed + 1) for seed in FOUND.get(target.name, ()))):
        found |= outcomes(example, seeds)
    wrong = {seed: text for seed, text in found.items() if text not in (RIGHT, REFUSED)}
    kinds = Counter(text.strip().splitlines()[-1][:200] for text in wrong.values())
    first = next(iter(wrong.items()), None)
    assert not wrong, f"{len(wrong)} of {EXAMPLES}: {dict(kinds)}; first, seed {first}"
    assert len(found) == EXAMPLES + len(FOUND.get(target.name, ()))
    print(f"{target.name}: {Counter(found.values())}")
