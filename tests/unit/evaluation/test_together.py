"""Forecasts of many symbols at once: what one by one would give, in few calls of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import last_input, make_run, settings, walk, write_store

from hpc_lstm.evaluation import together
from hpc_lstm.evaluation.predict import predict_symbols
from hpc_lstm.evaluation.together import Asking, forecast_together


def asks(number: int, times: int) -> Asking[list[float]]:
    """Asks for more windows from time to time: their outputs."""
    found: list[float] = []
    for time in range(times):
        outputs = yield np.full((time + 1, 2, 1), number + time / 10)
        assert outputs.shape == (time + 1, 1)
        found += outputs[:, 0].tolist()
    return found


def test_each_gets_the_outputs_of_its_own_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "TOGETHER", 3)
    batches = []

    def predict(windows: np.ndarray) -> np.ndarray:
        batches.append(len(windows))
        return windows[:, -1]

    found = forecast_together((asks(number, number % 3) for number in range(5)), predict)
    assert found == [[], [1.0], [2.0, 2.1, 2.1], [], [4.0]]
    assert batches == [2, 2, 1]


def test_the_first_that_fails_is_told() -> None:
    def fails(number: int) -> Asking[None]:
        yield np.zeros((1, 2, 1))
        raise ValueError(str(number))

    with pytest.raises(ValueError, match=r"^1$"):
        forecast_together(iter([asks(0, 2), fails(1), fails(2)]), lambda windows: windows[:, -1])


@pytest.mark.parametrize("steps", [1, 3])
def test_all_symbols_together_are_forecast_as_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    names = ("A", "B", "C")
    store = write_store(
        tmp_path / "market.h5", {name: walk(seed) for seed, name in enumerate((*names, "NEW"))}
    )
    batches = []

    def network(inputs: np.ndarray) -> np.ndarray:
        batches.append(len(inputs))
        return last_input(inputs)

    run = make_run(tmp_path / "run", settings(store, symbols=list(names)), monkeypatch, network)
    alone = [predict_symbols(run, [name], steps)[0][0] for name in names]
    batches.clear()
    found, left_out = predict_symbols(run, None, steps)
    assert batches == [len(names)] * (steps + 1)
    assert len(left_out) == 1
    for one, other in zip(found, alone, strict=True):
        for mine, own in zip(one.columns().values(), other.columns().values(), strict=True):
            np.testing.assert_array_equal(mine, own)
        assert one.notes == other.notes
