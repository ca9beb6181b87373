"""A run begins with another one's model only where its outputs mean the same."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from small_runs import make_run, settings, walk, write_store

from hpc_lstm.config import RunConfig, TrainConfig
from hpc_lstm.errors import ConfigError
from hpc_lstm.parallel.world import World
from hpc_lstm.runs.directory import at
from hpc_lstm.training.warm_start import WarmStart, find_origin


@pytest.mark.parametrize(
    ("horizon", "loss", "said"),
    [
        ([1, 2], "auto", None),
        ([3, 4], "auto", None),
        ([1], "auto", "data.horizon"),
        ([1, 2], "mae", "train.loss"),
    ],
)
def test_outputs_are_those_of_the_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, horizon: list[int], loss: str, said: str | None
) -> None:
    store = write_store(tmp_path / "market.h5", {"AAA": walk(1)})
    other = make_run(
        tmp_path / "run", settings(store, horizon=[1, 2]), monkeypatch, lambda x: x[:, -1].repeat(2, axis=1)
    )
    config = RunConfig(data=settings(store, horizon=horizon), train=TrainConfig(loss=loss))
    asked = (at(tmp_path / "new"), config, WarmStart(str(other)), World(), logging.getLogger("test"))
    if said is None:
        assert find_origin(*asked).source is not None
    else:
        with pytest.raises(ConfigError, match=said):
            find_origin(*asked)
