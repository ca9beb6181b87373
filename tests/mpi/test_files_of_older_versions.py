"""What older versions have written keeps opening: market stores, run directories, checkpoints, buckets.

The files in ``tests/data/written_by_*`` were written by that version; each folder's ``make.sh`` tells how, and what
is in it. All goes through the command line: modules may move, files that users have may not.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launcher import InTurn, finish_all, launch_waiting, program
from small_job import model_weights

FILES = Path(__file__).resolve().parents[1] / "data" / "written_by_0_1_0"
# What stands in the files for the place where they lie, and the key that one pair of clusters has signed with.
PLACE = "/somewhere/else"
KEY = "a-key-that-is-for-these-tests-alone"
# The last bits depend on the processor, for which the engine's C code is compiled, and on TensorFlow's version.
CLOSE = 1e-5
FINISHED = ("finished", "finished_keras")
# Ranks of runs with the files of each rank's spans, with what was gathered from them, with those of two starts.
TIMED = {"finished": 2, "finished_keras": 1, "stopped": 2}
LIMIT_S = 240


@dataclass(frozen=True)
class Answers:
    """What commands on one rank have said and done.

    Attributes:
        folder: of the old files that they read or went on with.
        done: by command.
    """

    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]]

    def of(self, command: str) -> str:
        """What one of them said, which ended well."""
        assert self.done[command].returncode == 0, self.done[command].stdout + self.done[command].stderr
        return self.done[command].stdout


def copy(folder: Path) -> Path:
    """The old files in a folder of their own, whose paths are right there."""
    shutil.copytree(FILES, folder)
    for config in folder.rglob("config.toml"):
        config.write_text(config.read_text().replace(PLACE, str(folder)))
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old files, to be changed by one test."""
    return copy(tmp_path / "old")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The commands that read runs and buckets, in one copy of the files; runs that go on by themselves, in another."""
    folder = tmp_path_factory.mktemp("alone")
    reading, training = copy(folder / "reading"), copy(folder / "training")
    ended, bucket = (str(reading / "clusters" / "ended" / name) for name in "ab"), f"file://{reading}/bucket"
    read = {f"timing {run}": ["timing", str(reading / run)] for run in TIMED}
    read["timing of two"] = ["timing", *ended, "--trace", str(reading / "trace.json")]
    read |= {name: [name, bucket] for name in ("rounds", "checkpoints")}
    words = {"evaluate": [], "predict": ["--symbol", "SYN00001", "--steps", "3"], "report": []}
    read |= {f"{name} {run}": [name, str(reading / run), *words[name]] for run in FINISHED for name in words}
    more = {
        "stopped": [],
        "finished_keras": ["--set", "train.epochs=3"],
        "clusters/left/b": [],
        "clusters/ended/a": [],
    }
    train = {f"train {run}": resumption(training / run, *more[run]) for run in more}
    return answers(folder, read, train)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Pairs of clusters that were stopped go on together."""
    folder = copy(tmp_path_factory.mktemp("pairs") / "old")
    runs = {f"clusters/stopped/{name}": f"clusters/{name}/team" for name in "ab"}
    signed = f"HPC_LSTM_SYNC_KEY={KEY}"
    return answers(
        folder,
        *(
            {
                f"train {one}": resumption(folder / one),
                f"train {two}": [signed, *resumption(folder / two, "--accept-unsigned")],
            }
            for one, two in runs.items()
        ),
    )


def answers(folder: Path, *processes: dict[str, list[str]]) -> Answers:
    """Run processes at once, each of which runs commands in turn, by name."""
    started = [
        InTurn(0, folder / f"said-{number}", list(commands.values()))
        for number, commands in enumerate(processes)
    ]
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    for commands, ended in zip(processes, finish_all(started, LIMIT_S), strict=True):
        done |= zip(commands, ended, strict=True)
    return Answers(folder, done)


def resumption(run: Path, *more: str) -> list[str]:
    """What goes on with a run by the settings that its directory holds."""
    return ["train", str(run / "config.toml"), "--run-dir", str(run), "--resume", *more]


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def errors(run: Path) -> dict[str, float]:
    """All that metrics.json says of the three forecasts' errors, without MASE, which version 2 scales anew."""
    found: dict[str, float] = {}

    def take(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                take(f"{place}/{name}", inner)
        elif re.search(r"/(model|persistence|drift)/(rmse|mae|mape|directional_accuracy)$", place):
            found[place] = value

    take("", metrics(run))
    return found


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def numbers(text: str) -> list[float]:
    """The steps of a forecast as ``predict`` prints them: forecast, error to expect and last price of each."""
    lines = re.findall(r"^ +\d+  \d{4}-\d\d-\d\d +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE)
    return [float(number) for line in lines for number in line]


def merged(run: Path) -> list[dict[str, Any]]:
    """What the closed rounds of a run in a bucket came to."""
    return [json.loads(file.read_text()) for file in sorted((run / "rounds").glob("*/merged.json"))]


def assert_same_results(run: Path, reference: Path) -> None:
    np.testing.assert_allclose(model_weights(run), model_weights(reference), rtol=0, atol=CLOSE)
    # Forecasts are scaled back to prices before they are measured.
    assert errors(run) == pytest.approx(errors(reference), rel=10 * CLOSE)


def assert_went_on(run: Path, before: Path) -> None:
    """A run went on from where it stood: one that begins afresh forgets its history."""
    known = history(before)
    assert known
    assert history(run)[: len(known)] == known
    assert history(run)[len(known) :]


@pytest.mark.parametrize("run", FINISHED)
def test_a_model_is_worth_what_it_was(alone: Answers, run: str) -> None:
    text, here, before = alone.of(f"evaluate {run}"), alone.folder / "reading" / run, errors(FILES / run)
    assert len(before) == 4 * 3 * 2 * (1 + 3), "errors of three forecasts on two parts, of all and 3 symbols"
    assert errors(here) == pytest.approx(before, rel=CLOSE)
    for part in ("validation", "test"):
        assert f"{part}: 33 windows of 3 symbols" in text
    kept = ("ranks", "engine", "backend", "steps", "epochs", "best_step", "best_validation_loss")
    now, then = metrics(here), metrics(FILES / run)
    assert {name: now[name] for name in kept} == {name: then[name] for name in kept}


@pytest.mark.parametrize("run", FINISHED)
def test_a_forecast_is_what_it_was(alone: Answers, run: str) -> None:
    before = numbers((FILES / "forecasts" / f"{run}.txt").read_text())
    assert len(before) == 3 * 3
    assert numbers(alone.of(f"predict {run}")) == pytest.approx(before, rel=CLOSE)


@pytest.mark.parametrize("run", FINISHED)
def test_a_report_has_all_its_parts(alone: Answers, run: str) -> None:
    assert "report.html" in alone.of(f"report {run}")
    page = (alone.folder / "reading" / run / "report.html").read_text()
    assert f"Report: {run}" in page
    assert page.count('class="chart"') == 3, "prices, their errors, the losses"
    drawn = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert drawn["forecast"]["symbols"]
    assert drawn["losses"]["train"][0]
    assert 'class="missing"' not in page


@pytest.mark.parametrize("run", TIMED)
def test_timing_is_read(alone: Answers, run: str) -> None:
    text, ranks = alone.of(f"timing {run}"), TIMED[run]
    assert re.search(rf"{ranks} ranks? on 1 node", text)
    assert f"rank {ranks - 1}" in text
    assert re.search(r"^compute +\d", text, re.MULTILINE)


def test_timing_of_two_clusters_lies_on_one_axis(alone: Answers) -> None:
    text = alone.of("timing of two")
    assert re.search(r"^b .* a .*\b5 rounds", text, re.MULTILINE), "where b's clock stands, by rounds of both"
    events = json.loads((alone.folder / "reading" / "trace.json").read_text())["traceEvents"]
    names = {event["args"]["name"].split(" (")[0] for event in events if event["name"] == "process_name"}
    assert names == {"a: rank 0", "b: rank 0"}


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(old: Path) -> None:
    run, reference = old / "stopped", FILES / "uninterrupted"
    done = launch_waiting(2, program(*resumption(run)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert_went_on(run, FILES / "stopped")
    assert_same_results(run, reference)
    now, then = history(run), history(reference)
    assert [(e["kind"], e["step"]) for e in now] == [(e["kind"], e["step"]) for e in then]
    assert [e["loss"] for e in now] == pytest.approx([e["loss"] for e in then], rel=CLOSE)
    timing = launch_waiting(0, program("timing", str(run)))
    assert "2 ranks on 1 node" in timing.stdout, timing.stderr


def test_a_stopped_run_goes_on_on_another_number_of_ranks(alone: Answers) -> None:
    alone.of("train stopped")
    run = alone.folder / "training" / "stopped"
    assert_went_on(run, FILES / "stopped")
    assert (metrics(run)["ranks"], metrics(run)["epochs"]) == (1, 3)
    assert np.isfinite(model_weights(run)).all()


def test_a_run_that_ended_goes_on_to_more_epochs_in_tensorflow(alone: Answers) -> None:
    alone.of("train finished_keras")
    run = alone.folder / "training" / "finished_keras"
    assert_went_on(run, FILES / "finished_keras")
    assert_same_results(run, FILES / "longer_keras")


def test_a_run_that_ended_is_not_trained_again(alone: Answers) -> None:
    run = "clusters/ended/a"
    alone.of(f"train {run}")
    here = alone.folder / "training" / run
    assert metrics(here) == metrics(FILES / run)
    assert model_weights(here).tobytes() == model_weights(FILES / run).tobytes()


def test_a_cluster_that_was_left_behind_ends_beyond_the_other(alone: Answers) -> None:
    alone.of("train clusters/left/b")
    folder = alone.folder / "training"
    assert_went_on(folder / "clusters/left/b", FILES / "clusters/left/b")
    here, other = (metrics(folder / "clusters/left" / name)["sync"] for name in "ba")
    assert here["round"] > other["round"]
    assert here["clusters_missing"] == 0
    rounds, before = merged(folder / "bucket/left"), merged(FILES / "bucket/left")
    assert rounds[: len(before)] == before
    assert [one["cluster"] for one in rounds[len(before)]["members"]] == ["b"]
    assert rounds[-1]["departed"] == ["a", "b"]


def test_a_bucket_tells_what_is_in_it(alone: Answers) -> None:
    rounds = {text.split(":")[0]: text for text in alone.of("rounds").split("\n\n")}
    assert set(rounds) == {"run ended", "run left", "run stopped", "run team"}
    for name, text in rounds.items():
        count = len(merged(FILES / "bucket" / name.removeprefix("run ")))
        assert f"{count} rounds closed" in text
        assert f"round {count}: windows of a " in text
    assert "finished: a, b" in rounds["run ended"]
    assert "finished: a\n  stopped, to be continued with --resume: b" in rounds["run left"]
    assert "stopped, to be continued with --resume: a, b" in rounds["run stopped"]
    lines = alone.of("checkpoints").splitlines()
    found = sorted(tuple(line.split()[:2]) for line in lines)
    both = [(run, cluster) for run in ("ended", "stopped", "team") for cluster in "ab"]
    assert found == sorted([*both, ("left", "b")])
    assert not [line for line in lines if "damaged" in line or "missing" in line]


def assert_met(bucket: Path, run: str, clusters: Sequence[Path]) -> None:
    """Two clusters met in the rounds of an old run until both had ended, and have one model."""
    rounds, before = merged(bucket / run), merged(FILES / "bucket" / run)
    assert rounds[: len(before)] == before
    assert [one["cluster"] for one in rounds[len(before)]["members"]] == ["a", "b"]
    assert rounds[-1]["departed"] == ["a", "b"]
    assert model_weights(clusters[0]).tobytes() == model_weights(clusters[1]).tobytes()
    for cluster in clusters:
        told = metrics(cluster)["sync"]
        assert (told["round"], told["clusters_missing"], told["samples_dropped"]) == (len(rounds), 0, 0)


def test_stopped_clusters_go_on_together(pairs: Answers) -> None:
    names = ["clusters/stopped/a", "clusters/stopped/b"]
    for name in names:
        pairs.of(f"train {name}")
        assert_went_on(pairs.folder / name, FILES / name)
    assert_met(pairs.folder / "bucket", "stopped", [pairs.folder / name for name in names])
    for name in names:
        assert_same_results(pairs.folder / name, FILES / name.replace("stopped", "ended"))


def test_clusters_without_a_name_for_their_run_meet_where_they_met(pairs: Answers) -> None:
    names = ["clusters/a/team", "clusters/b/team"]
    for name in names:
        pairs.of(f"train {name}")
        assert_went_on(pairs.folder / name, FILES / name)
    assert_met(pairs.folder / "bucket", "team", [pairs.folder / name for name in names])
    places = {path.name for path in (pairs.folder / "bucket").iterdir()}
    assert places == {"ended", "left", "stopped", "team"}
    assert all("signature" in one for one in merged(pairs.folder / "bucket" / "team"))
