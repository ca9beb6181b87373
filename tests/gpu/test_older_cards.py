"""The kernels for GPUs without thread-block clusters, on a GPU that is taken for such a one.

Their code is compiled for the older card, and their blocks are as many as it has room for; see
benchmarks/gpu_older_cards.py.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cuda_engine import batches, compare_with_mathematics, engine

from hpc_lstm.config import ModelConfig
from hpc_lstm.cuda.device import Device
from hpc_lstm.model.engines.cuda.forecasts import CudaForecaster
from hpc_lstm.model.keras_file import SavedNetwork
from hpc_lstm.model.parameters import network_schema
from hpc_lstm.model.reference import forecasts

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
import gpu_older_cards  # noqa: E402

# Compute capability and multiprocessors: an A100, a seventh of it, an RTX A6000 and an RTX 3060.
A100, SLICE, A6000, SMALL = [((8, 0), 108), ((8, 0), 14), ((8, 6), 84), ((8, 6), 28)]


@contextmanager
def older_card(capability: tuple[int, int], multiprocessors: int) -> Iterator[None]:
    """This GPU, taken for another one; skips the test where it is smaller than that."""
    own = Device()
    if not gpu_older_cards.can_be_taken_for(own, capability, multiprocessors):
        pytest.skip(f"{own.name} has less than the card it would be taken for")
    with gpu_older_cards.older_card(capability, multiprocessors):
        yield


SHAPES = [
    # layers, units, features, window, batch, dropout
    (1, 129, 3, 1, 1, 0.0),
    (2, 160, 4, 5, 37, 0.1),
    (3, 256, 5, 7, 50, 0.1),
    (1, 200, 4, 6, 600, 0.0),
    (2, 256, 20, 5, 70, 0.1),
    (2, 300, 5, 6, 33, 0.1),
    (1, 400, 43, 4, 300, 0.0),
    (3, 384, 5, 3, 130, 0.2),
    (2, 512, 5, 4, 40, 0.1),
    (1, 512, 20, 3, 1, 0.0),
    (2, 448, 3, 9, 700, 0.1),
]
FLOAT32_ALONE = [(2, 96, 5, 9, 70, 0.1), (2, 128, 17, 6, 2000, 0.1), (8, 90, 3, 5, 16, 0.1)]


CASES = [(A100, precision, shape) for precision in ("float32", "bfloat16") for shape in SHAPES]
CASES += [(A100, "float32", shape) for shape in FLOAT32_ALONE]
CASES += [
    (card, precision, shape)
    for card in (SLICE, A6000, SMALL)
    for precision in ("float32", "bfloat16")
    for shape in ((3, 256, 5, 7, 50, 0.1), (2, 300, 17, 6, 33, 0.1), (2, 512, 5, 4, 140, 0.1))
]


@pytest.mark.parametrize(("card", "precision", "shape"), CASES, ids=str)
def test_loss_and_gradient_are_those_of_the_mathematics(card: Any, precision: str, shape: Any) -> None:
    with older_card(*card):
        one = compare_with_mathematics(precision, shape)
    assert one._plan.forward.through_memory
    assert one._plan.backward.through_memory


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_one_block_holds_is_the_same_there(precision: str) -> None:
    with older_card(*A100):
        one = compare_with_mathematics(precision, (2, 64, 5, 12, 100, 0.5))
    assert one._plan.forward.split == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("card", [A100, SMALL], ids=str)
@pytest.mark.parametrize(("units", "batch"), [(256, 2000), (512, 300)])
def test_the_same_bits_come_again(precision: str, card: Any, units: int, batch: int) -> None:
    with older_card(*card):
        found = [digest_of_training(precision, units, batch) for _ in range(3)]
    assert found[0] == found[1] == found[2]


def digest_of_training(precision: str, units: int, batch: int) -> str:
    """Of the weights after a few steps, clipped, and the loss."""
    one = engine(2, units, 3, 12, batch, dropout=0.1, precision=precision, clip_norm=0.1)
    assert one._plan.forward.through_memory
    inputs, targets = batches(one, 2, batch, 12, 3)
    for _ in range(6):
        loss = float(one.step(inputs, targets, 1e-2))
    assert np.isfinite(loss)
    return hashlib.sha256(one.parameters().tobytes() + np.float64(loss).tobytes()).hexdigest()


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from test_older_cards import A100, digest_of_training, older_card
with older_card(*A100):
    for _ in range(4):
        print(digest_of_training("float32", 256, 500))
"""


def test_processes_that_share_a_gpu_by_time_slices_compute_the_same() -> None:
    with older_card(*A100):
        pass
    words = [sys.executable, "-c", PROGRAM, str(ROOT), str(ROOT / "tests/gpu")]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [one.communicate(timeout=300)[0].split() for one in running]
    assert [one.returncode for one in running] == [0] * 3
    assert [len(digests) for digests in found] == [4] * 3
    assert len({digest for digests in found for digest in digests}) == 1


def test_the_log_says_where_one_process_alone_finds_room(caplog: pytest.LogCaptureFixture) -> None:
    for card, said in ((A100, 0), (SMALL, 1)):
        with older_card(*card):
            engine(1, 512, 3, 2, 4, precision="float32")
        assert caplog.text.count("let no other use it at the same time through MPS") == said


@pytest.mark.parametrize("shape", [(2, 256, 5, 30, 1, 1025), (2, 512, 20, 9, 3, 300), (1, 384, 1, 1, 1, 1)])
@pytest.mark.parametrize("card", [A100, SMALL], ids=str)
def test_forecasts_are_those_of_the_mathematics(card: Any, shape: tuple[int, ...]) -> None:
    layers, units, features, window, outputs, windows = shape
    random = np.random.default_rng(0)
    model = ModelConfig(layers=layers, units=units, dropout=0.0)
    schema = network_schema(model, features, outputs)
    flat = random.normal(0, 0.5 / max(1, units / 16) ** 0.5, schema.length).astype("f")
    inputs = random.normal(size=(windows, window, features)).astype("f")
    with older_card(*card):
        found = CudaForecaster(SavedNetwork(model, window, features, outputs, flat)).predict(inputs)
    wanted = forecasts(flat, schema, inputs)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
