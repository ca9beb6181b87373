"""Training comes near the best forecast that there is, on prices of which it is known."""

from __future__ import annotations

import json
from pathlib import Path

from hpc_lstm import config
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.training.loop import train

EXAMPLE = Path(__file__).parents[2] / "examples" / "known_optimum.toml"


def test_the_example_comes_within_one_percent_of_the_optimum(tmp_path: Path) -> None:
    store = tmp_path / "market.h5"
    synthesize(store, symbols=12, days=1000, seed=11)
    settings = config.load(EXAMPLE, [f'data.store="{store}"'])
    train(settings, directory.at(tmp_path / "run"), World())
    test = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert test["model"]["rmsse"] < 1.01 * test["oracle"]["rmsse"]
    assert test["reached_gain"] > 0.9
    assert test["model"]["rmsse"] < 0.985 * test["ar"]["rmsse"], (
        "the season and the noise are more than an AR knows"
    )
