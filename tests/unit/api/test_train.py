"""What ``hl.train`` makes of its arguments; the ranks are stand-ins."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hpc_lstm as hl
from hpc_lstm.api import training


@pytest.fixture(autouse=True)
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that only write their settings, in a folder of their own."""

    def write_settings(command: list[str], progress: bool) -> None:
        settings, _, folder = command[command.index("train") + 1 :][:3]
        if "fails" in Path(settings).read_text():
            raise hl.InputError("it fails")
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(settings, Path(folder) / "config.toml")

    monkeypatch.setattr(training, "_run_ranks", write_settings)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "given", "taken"),
    [
        ("train.epochs", np.int64(2), 2),
        ("train.deterministic", np.bool_(True), True),
        ("model.dropout", np.float32(0.5), 0.5),
        ("data.split", (0.6, 0.2, 0.2), [0.6, 0.2, 0.2]),
        ("data.split", np.array([0.5, 0.25, 0.25]), [0.5, 0.25, 0.25]),
        ("data.symbols", pd.Index(["A", "B"]), ["A", "B"]),
        ("data.horizon", range(1, 4), [1, 2, 3]),
        ("data.horizon", [np.int64(1), np.int64(5)], [1, 5]),
        ("data.train_from", pd.Timestamp("2022-06-01"), "2022-06-01"),
        ("data.train_from", np.datetime64("2022-06-01", "ns"), "2022-06-01"),
        ("data.train_from", date(2022, 6, 1), "2022-06-01"),
    ],
)
def test_values_of_numpy_and_pandas_are_taken(key: str, given: Any, taken: Any) -> None:
    section, _, name = key.partition(".")
    store = {"store": "market.h5"}
    runs = [
        hl.train({"data": store}, overrides={key: given}),
        hl.train({"data": store, section: {**({"data": store}.get(section, {})), name: given}}),
    ]
    for run in runs:
        assert getattr(getattr(run.config, section), name) == taken


@pytest.mark.parametrize("given", [pd.Timestamp("2022-06-01 12:00"), pd.NaT])
def test_times_that_are_no_dates_are_refused(given: Any) -> None:
    with pytest.raises(hl.InputError, match=r"data\.train_from"):
        hl.train({"data": {"store": "market.h5", "train_from": given}})


def test_every_run_without_a_name_has_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = [hl.train({"data": {"store": "market.h5"}}) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert {run.path.parent for run in runs} == {tmp_path / "runs"}
    with pytest.raises(hl.InputError, match="it fails"):
        hl.train({"data": {"store": "fails.h5"}})
    assert len(list((tmp_path / "runs").iterdir())) == 4
