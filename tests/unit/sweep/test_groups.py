"""Efficiency, and what a machine cannot show; the table in CSV and HDF5."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from sweep_records import ENVIRONMENT, record

from hpc_lstm.parallel.world import World
from hpc_lstm.report import figures
from hpc_lstm.sweep import environment, plots, summary, table
from hpc_lstm.sweep.environment import OtherLoad, processors_used
from hpc_lstm.sweep.groups import group_records
from hpc_lstm.text.terminal import fitted


def place(ranks: int, cores: int, threads: int = 1, gpus: list[str] | None = None) -> dict:
    where = [
        {"node": "n1", "gpu": "G" if gpus else "", "gpu_uuid": gpus[r] if gpus else ""} for r in range(ranks)
    ]
    nodes = [{"node": "n1", "processor": "P", "cpus": 2 * cores, "cores": cores, "interfaces": []}]
    return processors_used({"threads": threads, "nodes": nodes, "ranks": where})


def test_hardware_threads_are_not_cores() -> None:
    """4 hardware threads on 2 cores: 3 ranks share them, and have 2 cores between them."""
    assert place(2, 2) == {"kind": "cores", "used": 2, "shared": False, "nodes": 1}
    assert place(3, 2) == {"kind": "cores", "used": 2, "shared": True, "nodes": 1}
    assert place(1, 4, threads=4) == {"kind": "cores", "used": 4, "shared": False, "nodes": 1}
    assert place(2, 4, threads=4) == {"kind": "cores", "used": 4, "shared": True, "nodes": 1}


class OneNode(World):
    """Ranks of one node, each bound to CPUs of its own; all ask as this process does."""

    size = 2

    def __init__(self, bound: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.bound, self.monkeypatch = bound, monkeypatch

    def allgather(self, value: object) -> list:
        """What each rank would say: its value is asked for anew where it depends on the binding."""
        if isinstance(value, dict) and "cores" in value:
            return [value | {"cpus": sorted(cpus), "cores": self.cores(cpus)} for cpus in self.bound]
        if isinstance(value, tuple) and len(value) == 3:
            return [
                (value[0], 0.0 if number else value[1], sorted(cpus))
                for number, cpus in enumerate(self.bound)
            ]
        return [value] * len(self.bound)

    def cores(self, cpus: set[int]) -> list[str]:
        self.monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cpus)
        return environment.physical_cores()


def test_ranks_that_are_bound_to_a_core_each_share_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU 900 and up are not there: each is a core."""
    apart = environment.describe_environment(OneNode([{900}, {901}], monkeypatch), 1)
    assert apart["nodes"][0]["cores"] == apart["nodes"][0]["cpus"] == 2
    assert processors_used(apart) == {"kind": "cores", "used": 2, "shared": False, "nodes": 1}
    together = environment.describe_environment(OneNode([{900}, {900}], monkeypatch), 1)
    assert processors_used(together) == {"kind": "cores", "used": 1, "shared": True, "nodes": 1}


def test_ranks_on_gpus_count_gpus() -> None:
    assert place(2, 1, gpus=["a", "b"]) == {"kind": "gpus", "used": 2, "shared": False, "nodes": 1}
    assert place(2, 8, gpus=["a", "a"]) == {"kind": "gpus", "used": 1, "shared": True, "nodes": 1}


def test_other_programs_are_noticed() -> None:
    load = OtherLoad(World())
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(1.5)
        busy.kill()
    assert 0.1 / (os.cpu_count() or 1) < load.share() <= 1


def test_programs_on_other_cpus_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 CPUs the ranks have 2 and 3; others take half of CPU 3 and all of 4 to 7."""
    world, now = OneNode([{2}, {3}], monkeypatch), [0.0]
    taken = [0, 0, 0, 0.5, 1, 1, 1, 1]
    monkeypatch.setattr(
        environment, "_busy_seconds", lambda: {n: 100 + now[0] * s for n, s in enumerate(taken)}
    )
    monkeypatch.setattr(environment.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(environment.time, "process_time", lambda: 0.0)
    load = OtherLoad(world)
    now[0] = 10.0
    assert load.share() == pytest.approx(0.25)


def test_efficiency_is_within_a_repeat_and_per_core() -> None:
    (one,) = group_records(
        [
            record(1, 0, rate=100.0),
            record(1, 1, rate=200.0),
            record(2, 0, point=1, rate=150.0),
            record(2, 1, point=1, rate=360.0),
        ]
    )
    assert [one.efficiency(r) for r in one.by_ranks[2]] == pytest.approx([0.75, 0.9])


def test_without_the_fewest_ranks_there_is_no_efficiency() -> None:
    """Of an unfinished sweep: two ranks are not 100 % of themselves."""
    measured = [
        record(1, axes={"a": 1}),
        record(2, point=1, axes={"a": 1}),
        record(2, point=2, axes={"a": 2}),
    ]
    _, half = group_records(measured)
    assert half.efficiency(measured[2]) is None
    for fewest, shown in ((1, " - "), (2, "100.0% (100%-100%)")):
        head, *lines = summary.points_text(group_records(measured[1:], fewest), 1).splitlines()[:3]
        assert f"efficiency over {fewest} rank" in head
        assert [shown in line for line in lines] == [True, True]


def test_ranks_that_share_cores_have_no_efficiency() -> None:
    records = [record(1, rate=100.0), record(4, point=1, rate=180.0, shared=True, cores=2)]
    (one,) = group_records(records)
    assert one.efficiency(records[1]) is None
    text = summary.points_text([one], 0)
    (line,) = [line for line in text.splitlines() if " 4* " in line]
    assert " 90 " in line  # samples a second of each core
    assert "45" not in line
    assert "here there are 2 for 4 ranks. " in text
    threads = record(2, shared=True, cores=4, environment=ENVIRONMENT | {"threads": 4})
    assert "here there are 4 for 2 ranks of 4 threads. " in summary.points_text(group_records([threads]), 0)
    assert "Efficiency can be shown up to 1 rank; points with * have none" in text


@pytest.mark.parametrize("width", [50, 60, 79])
def test_points_fit_a_narrow_terminal(width: int) -> None:
    """Every part of the table tells which point a row is of."""
    records = [record(ranks, point=ranks, axes={"average.every": 16}) for ranks in (1, 2, 4)]
    text = summary.points_text(group_records(records), 0)
    lines = fitted(text, width).splitlines()
    assert max(map(len, lines)) <= width
    headings = [line for line in lines if line.startswith("settings")]
    assert len(headings) > 1
    assert " ".join(headings).split().count("samples/s") == 1
    assert sum(line.startswith("every 16") for line in lines) == 3 * len(headings)


def test_a_busy_machine_is_told() -> None:
    quiet, busy = group_records([record(1)]), group_records([record(1, other_load=0.4)])
    assert "Other programs" not in summary.points_text(quiet, 0)
    assert "Other programs took 40% of the cores" in summary.points_text(busy, 0)


def test_cores_that_others_took_show_no_efficiency() -> None:
    """2 ranks on 2 cores of which other programs took 0.2, then 1.2."""
    nodes = [{"node": "n1", "processor": "P", "cpus": 2, "cores": 2, "interfaces": []}]
    environment = ENVIRONMENT | {"nodes": nodes}
    base = record(1, environment=environment)
    quiet = record(2, point=1, environment=environment, other_load=0.1)
    busy = record(2, point=1, environment=environment, other_load=0.6)
    assert group_records([base, quiet])[0].efficiency(quiet) == 0.5
    (one,) = group_records([base, busy])
    assert one.efficiency(busy) is None
    assert " 2! " in summary.points_text([one], 0)
    (one,) = group_records([base | {"other_load": 1.5}, quiet])
    assert one.efficiency(quiet) is None
    assert "Efficiency can be shown for no number of ranks" in summary.points_text([one], 0)


def test_an_interval_that_says_nothing_is_not_printed() -> None:
    assert summary.interval_text(0.5, 0.4, 0.6) == "50.0% (40.0%-60.0%)"
    assert summary.interval_text(0.5, 0.1, 30.0) == "cannot be told"


def test_what_cannot_be_told_is_not_drawn_and_nothing_is_above_all() -> None:
    axes = [{"average.every": every} for every in (1, 64)]
    groups = group_records([record(1, point=number, axes=one) for number, one in enumerate(axes)])
    found = [
        {"name": groups[0].name, "ranks": [2, 4], "efficiency": [1.5, 0.9], "low": [1.4, 0.8], "high": [1.6, 1.0]},
        {"name": groups[1].name, "ranks": [2, 4], "efficiency": [0.9, 1.2], "low": [0.8, 0.1], "high": [1.0, 9.0]},
    ]  # fmt: skip
    with figures.styled():
        (panel,) = plots.extrapolation_figure(groups, found).axes
    curves = {line.get_label(): line for line in panel.get_lines() if len(line.get_xdata())}
    assert curves["1"].get_ydata().tolist() == [1.0, 0.9]
    assert curves["64"].get_xdata().tolist() == [2]
    assert [text.get_text() for text in panel.texts] == ["cannot be told:\n64 from 4 ranks on"]
    styles = {(curves[name].get_color(), curves[name].get_linestyle()) for name in ("1", "64")}
    assert len(styles) == 2
    assert len({style for _, style in styles}) == 2


def test_a_value_has_its_colour_in_every_panel_and_in_the_legend() -> None:
    """The first panel lacks a value of the first axis, as where [[skip]] leaves it out."""
    axes = [
        {"average.every": every, "model.units": units}
        for every, units in ((4, 16), (64, 16), (1, 32), (4, 32))
    ]
    groups = group_records([record(1, point=number, axes=one) for number, one in enumerate(axes)])
    found = [{"name": g.name, "ranks": [2], "efficiency": [0.9], "low": [0.8], "high": [1.0]} for g in groups]
    with figures.styled():
        for figure in (plots.scaling_figure(groups), plots.extrapolation_figure(groups, found)):
            (legend,) = figure.legends
            colours = {
                (handle.get_label(), (handle.get_children() or [handle])[0].get_color())
                for axes in figure.axes[:2]
                for handle in axes.get_legend_handles_labels()[0]
                if handle.get_label() != "ideal"
            }
            assert {label for label, _ in colours} == {"1", "4", "64"}
            assert len(colours) == 3
            assert {"1", "4", "64"} <= {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize(("fewest", "says"), [(1, "model and measured"), (2, "model, over 1 rank")])
def test_only_what_is_over_one_rank_is_drawn_beside_the_model(fewest: int, says: str) -> None:
    groups = group_records([record(fewest), record(4, point=1)])
    found = [{"name": groups[0].name, "ranks": [2], "efficiency": [0.5], "low": [0.4], "high": [0.6]}]
    with figures.styled():
        (panel,) = plots.extrapolation_figure(groups, found).axes
    assert panel.get_ylabel() == f"efficiency: {says}"
    assert len(panel.containers) == (fewest == 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("panels", "says"), [(6, None), (7, "2 more settings are in the table")])
def test_settings_without_a_panel_are_told(panels: int, says: str | None) -> None:
    axes = [{"average.every": every, "model.units": n} for n in range(panels) for every in (1, 4)]
    groups = group_records([record(1, point=number, axes=one) for number, one in enumerate(axes)])
    with figures.styled():
        drawn = [
            plots.scaling_figure(groups),
            plots.phases_figure(groups),
            plots.extrapolation_figure(groups, []),
        ]
        assert [one.get_suptitle() or None for one in drawn] == [says] * 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ranks", [[1], [1, 2, 4]])
def test_figures_of_few_points_are_drawn_without_a_warning(ranks: list[int]) -> None:
    groups = group_records([record(one) for one in ranks])
    with figures.styled():
        for draw in (plots.scaling_figure, plots.phases_figure):
            draw(groups).savefig(io.BytesIO())


def test_a_panel_without_efficiency_says_why() -> None:
    with figures.styled():
        for shared, fewest, says in (
            (False, 2, []),
            (False, 1, ["not measured:\nno run on 1 rank\nto compare with"]),
            (True, 2, ["not measured:\nno ranks with cores\nof their own"]),
        ):
            groups = group_records([record(2, shared=shared, cores=1)], fewest)
            _, efficiency = plots.scaling_figure(groups).axes
            assert [text.get_text() for text in efficiency.texts] == says


def test_a_value_is_no_formula_and_no_command(tmp_path: Path) -> None:
    axes = {"data.store": "$x^2$ \x1b[31m", "data.target": "$a$ \u202eb"}
    groups = group_records([record(1, axes=axes)])
    with figures.styled():
        for draw in (plots.scaling_figure, plots.phases_figure):
            figures.save(draw(groups), tmp_path / "sweep.svg")
            svg = (tmp_path / "sweep.svg").read_text()
            assert "$x^2$ \\x1b[31m" in svg
            assert "target $a$ \\u202eb" in svg


def test_csv_and_hdf5_hold_the_same_table(tmp_path: Path) -> None:
    axes = {"average.every": "epoch", "data.split": [0.5, 0.25, 0.25]}
    records = [
        record(1, axes=axes, rate=100.0),
        record(2, point=1, axes=axes, rate=150.0, shared=True, cores=1),
    ]
    rows = table.table_rows(group_records(records))
    table.write_csv(rows, tmp_path / "t.csv")
    table.write_hdf5(rows, records, tmp_path / "t.h5")
    with (tmp_path / "t.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["run"] for row in read] == ["p0000-r00", "p0001-r00"]
    assert read[0]["data.split"] == "[0.5, 0.25, 0.25]"
    assert [row["efficiency"] for row in read] == ["1.0", ""]
    with h5py.File(tmp_path / "t.h5") as file:
        assert set(file["runs"]) == {*rows[0], "environment"}
        np.testing.assert_array_equal(file["runs/shared"][:], [False, True])
        np.testing.assert_array_equal(file["runs/efficiency"][:], [1.0, np.nan])
        assert [text.decode() for text in file["runs/hosts"]] == ["n1", "n1"]
        assert len(file["environments"]) == 2
        for name in ("ranks", "samples", "seconds", "samples_per_second", "compute_s"):
            assert [float(row[name]) for row in read] == pytest.approx(file[f"runs/{name}"][:])
