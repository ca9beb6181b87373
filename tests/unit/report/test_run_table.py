"""Runs beside each other, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import make_run, settings, walk, write_store

from hpc_lstm import cli
from hpc_lstm.errors import InputError
from hpc_lstm.market.known_rows import know_rows
from hpc_lstm.market.store import MarketStore
from hpc_lstm.parallel.world import World
from hpc_lstm.report.run_table import compare_runs, list_runs
from hpc_lstm.runs import directory
from hpc_lstm.runs.run_file import RunFile, write_run_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs that differ in their window, the first a persistence, and one that was not completed."""
    store = write_store(tmp_path / "market.h5", {"A": walk(1), "B": walk(2)})
    (tmp_path / "runs" / "deep").mkdir(parents=True)
    make_run(tmp_path / "runs" / "first", settings(store), monkeypatch)
    make_run(
        tmp_path / "runs" / "deep" / "second", settings(store, window=8), monkeypatch, lambda x: x[:, 0, 0]
    )
    third = make_run(tmp_path / "runs" / "third", settings(store), monkeypatch)
    (third / "metrics.json").unlink()
    (third / "history.jsonl").write_text('{"kind": "train", "step": 5, "epoch": 2.5, "loss": 1}\n')
    start = {"started": "2026-01-02T03:04:05+00:00"}
    write_run_file(directory.at(third), RunFile(starts=[start]))
    return tmp_path / "runs"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_runs_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "runs", str(folder)).splitlines()
    assert [line.split()[0] for line in lines] == ["run", "third", "deep/second", "first"]
    assert "2026-01-02 03:04" in lines[1]
    assert "epoch 2.5 of 10" in lines[1]
    assert lines[3].endswith("1.0000")
    found = json.loads(said(capsys, "runs", str(folder), "--json"))
    assert found[1]["ratio"] > 1
    assert found[2]["verdict"].startswith("On test the model does not beat")


def test_a_damaged_run_does_not_hide_the_others(folder: Path) -> None:
    (folder / "first" / "metrics.json").write_text("{")
    states = {Path(run.path).name: run.state for run in list_runs(folder)}
    assert states["first"].startswith("damaged: ")
    assert states["second"] == "complete"
    for empty in (folder / "first" / "timing", folder / "none"):
        with pytest.raises(InputError, match=r"no such folder|has no runs"):
            list_runs(empty)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("run.json", {"starts": ["x"]}),
        ("run.json", {"starts": [{"started": 1}]}),
        ("run.json", {"checkpoints": {"step": 1}}),
        ("run.json", {"data": {"rows": "many"}}),
        ("metrics.json", {"test": {"model": {"rmse": "x"}, "persistence": {"rmse": 1.0}}}),
        ("metrics.json", {"per_symbol": {"A": 1}}),
        ("metrics.json", {"notes": [1]}),
    ],
)
def test_values_of_other_types_are_damage(folder: Path, file: str, change: dict) -> None:
    run = folder / "first"
    write_run_file(directory.at(run), RunFile())
    content = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(content | change))
    states = {Path(found.path).name: found.state for found in list_runs(folder)}
    assert states["first"].startswith(f"damaged: {run / file}: ")


def test_where_persistence_has_no_error_there_is_no_ratio(folder: Path) -> None:
    file = folder / "first" / "metrics.json"
    metrics = json.loads(file.read_text())
    metrics["test"]["persistence"]["rmse"] = 0.0  # of prices that stand still
    file.write_text(json.dumps(metrics))
    assert {Path(run.path).name: run.ratio for run in list_runs(folder)}["first"] is None


def test_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = [str(folder / "first"), str(folder / "deep" / "second")]
    text = said(capsys, "compare", *pair)
    assert text.splitlines()[0].split() == ["first", "second"]
    assert "data.window" in text
    found = json.loads(said(capsys, "compare", *pair, "--json"))
    assert found["settings"] == {"data.window": [5, 8]}
    one, other = found["results"]["test: RMSE / persistence"]
    assert one == pytest.approx(1, abs=1e-6)
    assert other > 1.01
    measured = json.loads((folder / "first" / "metrics.json").read_text())
    assert found["results"]["test: RMSE"][0] == measured["test"]["model"]["rmse"]


def test_what_cannot_be_compared_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "other.h5", {"A": walk(1, 200)})
    other = make_run(tmp_path / "other", settings(store), monkeypatch)
    notes = compare_runs([folder / "first", other]).notes
    assert any("different windows of test" in note for note in notes)
    for runs in ([folder / "first"], [folder / "first", folder / "third"], [folder / "first", tmp_path]):
        with pytest.raises(InputError):
            compare_runs(runs)


def trained_on(run: Path, store: Path, columns: list[int]) -> None:
    """Note in a run's directory which columns of which store it was trained on, as training does."""
    with MarketStore(store) as market:
        known = know_rows(market, columns, range(len(market.symbols)), World())
    known.save(run / "rows.h5")
    data = {
        "store": str(store),
        "symbols": len(known.symbols),
        "rows": int(known.rows.sum()),
        "last": str(known.last_date),
        "sha256": known.digest,
    }
    write_run_file(directory.at(run), RunFile(data=data))


def test_whether_two_runs_had_the_same_prices(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "market.h5"
    copy = write_store(tmp_path / "copy.h5", {"A": walk(1), "B": walk(2)})
    other = write_store(tmp_path / "other.h5", {"A": walk(1), "B": walk(3)})
    first, second = folder / "first", folder / "deep" / "second"

    def said_of_prices() -> list[str]:
        return [note for note in compare_runs([first, second]).notes if "prices" in note]

    for run in (first, second):
        trained_on(run, store, [1])
    assert said_of_prices() == []
    trained_on(second, copy, [1])
    assert said_of_prices() == []
    trained_on(second, other, [1])
    assert said_of_prices() == ["The runs were trained on different prices."]
    trained_on(second, store, [0, 1])
    assert said_of_prices() == [], "other columns of the same prices"
    trained_on(second, copy, [0, 1])
    assert "cannot be determined" in said_of_prices()[0]
    write_run_file(directory.at(second), RunFile())
    assert "is not recorded" in said_of_prices()[0]
