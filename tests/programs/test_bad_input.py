"""Bad input: exit code 2, one line on stderr that names what is wrong and the way out, nothing half-written."""

from __future__ import annotations

import http.server
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from forked_programs import ForkedPrograms

from hpc_lstm import cli
from hpc_lstm.errors import InputError
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.store_writer import StoreWriter
from hpc_lstm.parallel import launch
from hpc_lstm.training import loop, setup

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
[data]
{data}
[model]
layers = 1
units = 3
[train]
batch_size = 16
epochs = 1
threads = 1
{train}
[average]
every = 4
[checkpoint]
every = 5
{more}
"""
STORE = 'store = "market.h5"\nwindow = 6'


@dataclass
class Place:
    """A folder of a user: ``market.h5``, ``job.toml``, and ``run``, a completed run of it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def path(self, name: str) -> Path:
        return self.folder / name

    def config(self, data: str = STORE, train: str = "", more: str = "") -> None:
        self.path("job.toml").write_text(CONFIG.format(data=data, train=train, more=more))


Setup = Callable[[Place], None]


def text(name: str, content: str) -> Setup:
    """Write a file."""

    def write(place: Place) -> None:
        place.path(name).parent.mkdir(parents=True, exist_ok=True)
        place.path(name).write_text(content)

    return write


def data(lines: str) -> Setup:
    """``[data]`` with other lines."""
    return lambda place: place.config(data=lines)


def train(line: str) -> Setup:
    """``[train]`` with another line."""
    return lambda place: place.config(train=line)


def more(lines: str) -> Setup:
    """Another section after the others."""
    return lambda place: place.config(more=lines)


def both(*setups: Setup) -> Setup:
    def all_of_them(place: Place) -> None:
        for one in setups:
            one(place)

    return all_of_them


def symbol_of(values: dict[str, list[float] | np.ndarray], name: str = "market.h5") -> Setup:
    """A store of one symbol A with these columns."""
    return lambda place: write_store(
        place.path(name), {"A": np.column_stack(list(values.values()))}, list(values)
    )


def edit_store(change: Callable[[h5py.File], object], name: str = "market.h5") -> Setup:
    def edit(place: Place) -> None:
        with h5py.File(place.path(name), "a") as file:
            change(file)

    return edit


def cut(name: str, share: float) -> Setup:
    """Cut a file's end off."""
    return lambda place: os.truncate(place.path(name), int(place.path(name).stat().st_size * share))


def remove(name: str) -> Setup:
    def take_away(place: Place) -> None:
        path = place.path(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return take_away


def without(module: str) -> Setup:
    """As if a package were not installed."""
    return lambda place: place.monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]


def s3(url: str, endpoint: str = "", extra: str = "timeout_s = 0.5") -> Setup:
    """Checkpoints in S3; credentials that mean nothing."""

    def configure(place: Place) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            place.monkeypatch.setenv(name, "testing")
        line = f'endpoint_url = "{endpoint.format(**SERVERS)}"' if endpoint else ""
        place.config(more=f'[storage]\nurl = "{url}"\n{line}\n{extra}')

    return configure


def no_credentials(place: Place) -> None:
    place.monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it remembers those of the tests before
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        place.monkeypatch.delenv(name, raising=False)
    place.monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        place.monkeypatch.setenv(name, "/nonexistent")


def in_storage(place: Place) -> None:
    """A whole checkpoint of a run named ``new`` in a shared folder."""
    place.config(more=f'[storage]\nurl = "file://{place.path("storage")}"')
    shutil.copytree(place.path("run/checkpoints"), place.path("storage/new/checkpoints"))


def damage_checkpoints(place: Place) -> None:
    for path in place.path("run/checkpoints").rglob("*.h5"):
        path.write_bytes(b"not what was written")


def other_prices(place: Place) -> None:
    write_store(place.path("other.h5"), {s: walk(i + 50)[:, None] for i, s in enumerate(("AAA", "BBB"))})


def below_a_file(place: Place) -> None:
    place.path("file").write_text("")


TRAIN = ("train", "job.toml", "--run-dir", "new")
ON = ("train", "job.toml", "--run-dir", "run", "--resume")


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        name: for people.
        arguments: of ``hpc-lstm``, in the user's folder.
        says: fragments of the line on stderr: what, where, how to put it right.
        setup: makes the input bad.
        grows: files that may be longer afterwards: those of the run that tell what was done.
    """

    name: str
    arguments: Sequence[str]
    says: Sequence[str]
    setup: Setup = lambda place: None
    grows: Sequence[str] = field(default=())


LOGS = ("run/log/rank-00000.log", "run/timing/rank-00000.jsonl")

CASES = [
    # The command line.
    Case("unknown command", ("trian", "job.toml"), ["trian", "--help"]),
    Case("unknown option", (*TRAIN, "--rezume"), ["--rezume", "--resume"]),
    Case("missing argument", ("train",), ["CONFIG", "train --help"]),
    Case("missing option", ("predict", "run"), ["--symbol", "--all"]),
    Case("option no number", ("predict", "run", "--symbol", "AAA", "--steps", "many"), ["--steps", "many"]),
    Case("option out of range", ("predict", "run", "--symbol", "AAA", "--steps", "0"), ["--steps", "x>=1"]),
    # Settings.
    Case("config missing", ("train", "nothing.toml"), ["nothing.toml", "no such config file", "quickstart"]),
    Case("config a folder", ("train", "run"), ["run", "cannot be read"]),
    Case("config not TOML", TRAIN, ["job.toml", "not valid TOML", "line 1"], text("job.toml", "[data\n")),
    Case(
        "config binary",
        TRAIN,
        ["job.toml", "is not text in UTF-8"],
        lambda p: p.path("job.toml").write_bytes(b"\xff\xfe"),
    ),
    Case("config empty", TRAIN, ["job.toml", "data", "required"], text("job.toml", "")),
    Case("section unknown", TRAIN, ["job.toml", "[trian]", '"train"'], more("[trian]\nepochs = 1")),
    Case("section not a table", TRAIN, ["job.toml", "data", "[data]"], text("job.toml", "data = 3")),
    Case("key unknown", TRAIN, ["job.toml", "train", "epochz", '"epochs"'], train("epochz = 3")),
    Case("key required", TRAIN, ["job.toml", "data.store", "required"], data("window = 3")),
    Case(
        "type wrong",
        TRAIN,
        ["job.toml", "train.seed", "must be a whole number", "'one'"],
        train('seed = "one"'),
    ),
    Case("truth for number", TRAIN, ["job.toml", "train.seed", "True"], train("seed = true")),
    Case(
        "range wrong",
        TRAIN,
        ["job.toml", "train.learning_rate", "greater than 0"],
        train("learning_rate = -1"),
    ),
    Case(
        "range far exceeded",
        TRAIN,
        ["data.window", "less than"],
        data('store = "market.h5"\nwindow = 1' + 30 * "0"),
    ),
    Case("not finite", TRAIN, ["job.toml", "train.learning_rate", "finite"], train("learning_rate = nan")),
    Case(
        "number too long", TRAIN, ["job.toml", "train.learning_rate"], train("learning_rate = 1" + 400 * "0")
    ),
    Case(
        "choice wrong",
        TRAIN,
        ["job.toml", "train.optimizer", "'adam'", "'lion'"],
        train('optimizer = "lion"'),
    ),
    Case(
        "split sum",
        TRAIN,
        ["job.toml", "split", "sum to 1", "1.2"],
        data(STORE + "\nsplit = [0.8, 0.2, 0.2]"),
    ),
    Case("split length", TRAIN, ["job.toml", "data.split", "3 shares"], data(STORE + "\nsplit = [0.8, 0.2]")),
    Case("no train share", TRAIN, ["split", "train", "above 0"], data(STORE + "\nsplit = [0, 0.5, 0.5]")),
    Case("feature range", TRAIN, ["feature_range", "low < high"], data(STORE + "\nfeature_range = [1, 0]")),
    Case("no symbols", TRAIN, ["symbols", "at least one"], data(STORE + "\nsymbols = []")),
    Case(
        "engine fused in bfloat16",
        TRAIN,
        ["train.engine", '"fused"', '"bfloat16"', '"auto"'],
        train('engine = "fused"\nprecision = "bfloat16"'),
    ),
    Case("backend cuda", TRAIN, ["train.backend", '"cuda"', '"host"'], train('backend = "cuda"')),
    Case("sync key", TRAIN, ["sync.id", "no such key"], more('[sync]\nid = "a"')),
    Case("sync storage", TRAIN, ["sync.cluster", "storage.url"], more('[sync]\ncluster = "a"')),
    Case(
        "--set without value", (*TRAIN, "--set", "train.epochs"), ["--set train.epochs", "section.key=value"]
    ),
    Case("--set without section", (*TRAIN, "--set", "epochs=3"), ["--set epochs=3", "section.key=value"]),
    Case("--set address of another kind", (*TRAIN, "--set", "storage.url=ftp://x"), ["--set storage.url: "]),
    Case("--set unknown section", (*TRAIN, "--set", "trane.epochs=3"), ["[trane]", '"train"']),
    Case("--set unknown key", (*TRAIN, "--set", "train.epoch=3"), ["epoch", '"epochs"']),
    Case(
        "--set wrong type",
        (*TRAIN, "--set", "train.epochs=three"),
        ["train.epochs", "must be a whole number", "'three'"],
    ),
    Case(
        "storage url",
        TRAIN,
        ["storage", "url", "file://", "s3://", "ftp://x"],
        more('[storage]\nurl = "ftp://x"'),
    ),
    Case(
        "no bucket",
        TRAIN,
        ["storage", "url", "bucket", "s3://bucket/prefix"],
        more('[storage]\nurl = "s3://"'),
    ),
    Case(
        "S3 key for a folder",
        TRAIN,
        ["endpoint_url", "S3 only"],
        more('[storage]\nendpoint_url = "http://x"'),
    ),
    Case("doctor config missing", ("doctor", "nothing.toml"), ["nothing.toml", "no such config file"]),
    # The market store and what is taken from it.
    Case("store missing", TRAIN, ["market.h5", "no such market store", "import"], remove("market.h5")),
    Case("store a folder", TRAIN, ["no such market store"], data('store = "run"')),
    Case("store no HDF5", TRAIN, ["market.h5", "no HDF5"], text("market.h5", "date,close\n")),
    Case("store empty", TRAIN, ["market.h5", "no HDF5"], text("market.h5", "")),
    Case(
        "store other HDF5",
        TRAIN,
        ["market.h5", "format"],
        edit_store(lambda f: f.attrs.modify("format", "x")),
    ),
    Case(
        "store newer", TRAIN, ["market.h5", "version 99"], edit_store(lambda f: f.attrs.modify("version", 99))
    ),
    Case("store truncated", TRAIN, ["market.h5", "truncated", "again"], cut("market.h5", 0.5)),
    Case(
        "store without part", TRAIN, ["market.h5", "damaged"], edit_store(lambda f: f.__delitem__("offsets"))
    ),
    Case(
        "store inconsistent",
        TRAIN,
        ["market.h5", "damaged"],
        edit_store(lambda f: f["offsets"].write_direct(np.array([0, 9, 3]))),
    ),
    Case("symbol unknown", TRAIN, ["market.h5", '"AAB"', '"AAA"'], data(STORE + '\nsymbols = ["AAB"]')),
    Case(
        "feature unknown",
        TRAIN,
        ["data.features", '"clos"', '"close"'],
        data(STORE + '\nfeatures = ["clos"]'),
    ),
    Case(
        "feature of another kind",
        TRAIN,
        ["data.features", '"smma"', '"sma(NAME, length)"'],
        data(STORE + '\nfeatures = ["smma(close, 5)"]'),
    ),
    Case(
        "feature without its length",
        TRAIN,
        ["data.features", '"ema(close)"', '"ema(close, 20)"'],
        data(STORE + '\nfeatures = ["ema(close)"]'),
    ),
    Case(
        "target without a price",
        TRAIN,
        ["data.target", '"sma(close, 5)"', "log-returns(NAME)"],
        data(STORE + '\ntarget = "sma(close, 5)"'),
    ),
    Case("feature twice", TRAIN, ["data.features", "twice"], data(STORE + '\nfeatures = ["close", "close"]')),
    Case("target unknown", TRAIN, ["data.target", '"open"', "close"], data(STORE + '\ntarget = "open"')),
    Case(
        "window too long",
        TRAIN,
        ["data.window = 500", "longest", "120", "shorten"],
        data('store = "market.h5"\nwindow = 500'),
    ),
    Case(
        "value missing",
        TRAIN,
        ["market.h5", "symbol A", '"close"', "1970-01-04", "nan"],
        symbol_of({"close": [1, 2, 3, np.nan, *range(5, 60)]}),
    ),
    Case(
        "value infinite",
        TRAIN,
        ["symbol A", "1970-01-03", "inf"],
        symbol_of({"close": [1, 2, np.inf, *range(4, 60)]}),
    ),
    Case(
        "log of zero",
        TRAIN,
        ["symbol A", "1970-01-05", "0.0", "above 0"],
        both(symbol_of({"close": [1, 2, 3, 4, 0, *range(6, 60)]}), data(STORE + '\ntarget = "log-returns"')),
    ),
    # Where results and checkpoints go.
    Case(
        "run dir taken", ("train", "job.toml", "--run-dir", "run"), ["run", "already holds a run", "--resume"]
    ),
    Case("run dir a file", ("train", "job.toml", "--run-dir", "job.toml"), ["job.toml", "--run-dir"]),
    Case(
        "run dir below a file",
        ("train", "job.toml", "--run-dir", "job.toml/new"),
        ["job.toml/new", "--run-dir"],
    ),
    Case("run dir in /proc", ("train", "job.toml", "--run-dir", "/proc/new"), ["/proc/new", "--run-dir"]),
    *(
        Case(f"{command[0]}: no home", (*command, "~nobody-here/x"), ["~nobody-here/x: no such home"])
        for command in (
            ("train", "job.toml", "--run-dir"),
            ("submit", "job.toml", "--run-dir"),
            ("timing",),
            ("evaluate", "run", "--store"),
            ("synth", "-o"),
        )
    ),
    Case("run dir too long", ("train", "job.toml", "--run-dir", 300 * "n"), ["nnn", "too long"]),
    Case(
        "storage below a file",
        TRAIN,
        ["file/x", "storage.url"],
        both(below_a_file, lambda p: p.config(more=f'[storage]\nurl = "file://{p.path("file/x")}"')),
    ),
    Case("checkpoints of another run", TRAIN, ["new/checkpoints", "--resume", "--run-dir"], in_storage),
    Case(
        "boto3 missing",
        TRAIN,
        ["boto3", 'pip install "hpc-lstm[s3]"'],
        both(without("boto3"), s3("s3://bucket/x")),
    ),
    Case(
        "S3 unreachable",
        TRAIN,
        ["s3://bucket/x", "cannot be reached", "endpoint_url"],
        s3("s3://bucket/x", "{nobody}"),
    ),
    Case(
        "S3 refused",
        TRAIN,
        ["s3://bucket/x", "AccessDenied", "credentials"],
        s3("s3://bucket/x", "{refusing}"),
    ),
    Case(
        "bucket missing",
        TRAIN,
        ["s3://bucket/x", 'no bucket "bucket"', "storage.url"],
        s3("s3://bucket/x", "{empty}", "timeout_s = 20"),
    ),
    Case("bucket name", TRAIN, ["not a valid bucket name", "storage.url"], s3("s3://b u/x", "{nobody}")),
    Case("endpoint no address", TRAIN, ["storage.endpoint_url"], s3("s3://bucket/x", "nowhere")),
    Case(
        "no credentials",
        TRAIN,
        ["s3://bucket/x", "credentials", "AWS_ACCESS_KEY_ID"],
        both(s3("s3://bucket/x", "{empty}", "timeout_s = 20"), no_credentials),
    ),
    # Going on.
    Case(
        "resumed with other settings",
        (*ON, "--set", "model.units=9", "--set", "train.seed=1"),
        ["run/config.toml", "model.units (was 3, now 9)", "train.seed (was 0, now 1)"],
    ),
    Case(
        "resumed with other prices",
        (*ON, "--set", "train.epochs=2", "--set", "data.store=other.h5"),
        ["other.h5", "other prices"],
        other_prices,
        grows=LOGS,
    ),
    Case(
        "resumed without a complete checkpoint",
        ON,
        ["none of the", "checkpoints", "is complete"],
        damage_checkpoints,
        grows=LOGS,
    ),
    Case(
        "resumed with a damaged config",
        ON,
        ["run/config.toml", "not valid TOML"],
        text("run/config.toml", "[["),
    ),
    # Runs to look at.
    *(
        Case(f"{command[0]}: no folder", command, ["nothing", "no such run directory"])
        for command in (
            ("evaluate", "nothing"),
            ("predict", "nothing", "--symbol", "AAA"),
            ("report", "nothing"),
        )
    ),
    *(
        Case(f"{command[0]}: no run", command, ["empty", "config.toml"], text("empty/x", ""))
        for command in (("evaluate", "empty"), ("predict", "empty", "--symbol", "AAA"), ("report", "empty"))
    ),
    *(
        Case(
            f"{command[0]}: not completed",
            command,
            ["run/scaler.h5", "not complete", "--resume"],
            remove("run/scaler.h5"),
        )
        for command in (("evaluate", "run"), ("predict", "run", "--symbol", "AAA"))
    ),
    *(
        Case(f"{command[0]}: model damaged", command, ["run/model.keras"], cut("run/model.keras", 0.5))
        for command in (("evaluate", "run"), ("predict", "run", "--symbol", "AAA"))
    ),
    *(
        Case(
            f"{command[0]}: scaler damaged", command, ["run/scaler.h5", "scaler"], text("run/scaler.h5", "x")
        )
        for command in (("evaluate", "run"), ("predict", "run", "--symbol", "AAA"))
    ),
    Case(
        "predict: metrics damaged",
        ("predict", "run", "--symbol", "AAA"),
        ["run/metrics.json", "evaluate"],
        text("run/metrics.json", "{"),
    ),
    Case("predict: symbol unknown", ("predict", "run", "--symbol", "AAB"), ["market.h5", '"AAB"', '"AAA"']),
    Case(
        "predict: store missing",
        ("predict", "run", "--symbol", "AAA", "--store", "x.h5"),
        ["x.h5", "no such market store"],
    ),
    Case(
        "predict: not trained on",
        ("predict", "run", "--symbol", "A", "--store", "a.h5"),
        ["symbol A", "not trained on"],
        symbol_of({"close": np.arange(1.0, 50)}, "a.h5"),
    ),
    Case(
        "predict: too few rows",
        ("predict", "run", "--symbol", "AAA", "--store", "a.h5"),
        ["AAA", "3 rows", "6"],
        lambda p: write_store(p.path("a.h5"), {"AAA": np.ones((3, 1))}),
    ),
    Case("evaluate: store missing", ("evaluate", "run", "--store", "x.h5"), ["x.h5", "no such market store"]),
    Case(
        "evaluate: other symbols",
        ("evaluate", "run", "--store", "a.h5"),
        ["a.h5", "AAA"],
        symbol_of({"close": np.arange(1.0, 50)}, "a.h5"),
    ),
    Case(
        "evaluate: other columns",
        ("evaluate", "run", "--store", "a.h5"),
        ["a.h5", '"close"', "open"],
        lambda p: write_store(p.path("a.h5"), {"AAA": np.ones((90, 1))}, ["open"]),
    ),
    Case("timing: no folder", ("timing", "nothing"), ["nothing", "timing"]),
    Case("timing: no run", ("timing", "empty"), ["empty", "timing"], text("empty/x", "")),
    Case("timing: suffix", ("timing", "run", "--trace", "trace.xls"), ["trace.xls", ".json"]),
    Case(
        "timing: folder is a file",
        ("timing", "run", "--trace", "job.toml/trace.json"),
        ["job.toml", "folder cannot be made"],
    ),
    Case(
        "report: folder is a file",
        ("report", "run", "-o", "job.toml/report.html"),
        ["job.toml", "folder cannot be made"],
    ),
    Case(
        "report: matplotlib missing",
        ("report", "run", "--figures", "figs"),
        ["matplotlib", 'pip install "hpc-lstm[report]"'],
        without("matplotlib"),
    ),
    # What is written replaces nothing else.
    *(
        Case(f"{command[0]}: output is another file", command, [command[-1], f"is not {what}, and would be"])
        for what, command in (
            ("a table of forecasts", ("predict", "run", "--symbol", "AAA", "-o", "run/model.keras")),
            ("a table of past forecasts", ("evaluate", "run", "--forecasts", "market.h5")),
            ("a report", ("report", "run", "-o", "run/config.toml")),
            ("a trace", ("timing", "run", "--trace", "run/metrics.json")),
        )
    ),
    # Pictures.
    Case(
        "plot: suffix",
        ("plot", "market.h5", "--symbol", "AAA", "-o", "x.doc"),
        ["x.doc", ".png"],
    ),
    Case(
        "plot: symbol",
        ("plot", "market.h5", "--symbol", "AAB", "-o", "x.png"),
        ['"AAB"', '"AAA"'],
    ),
    Case(
        "plot: average",
        ("plot", "market.h5", "--symbol", "AAA", "--sma", "20,x", "-o", "x.png"),
        ["--sma", "20,50,200", "20,x"],
    ),
    Case(
        "plot: average of 0",
        ("plot", "market.h5", "--symbol", "AAA", "--ema", "0", "-o", "x.png"),
        ["--ema", "days"],
    ),
    Case(
        "plot: average too long",
        ("plot", "market.h5", "--symbol", "AAA", "--sma", "999", "-o", "x.png"),
        ["--sma 999", "120 rows"],
    ),
    Case(
        "plot: folder is a file",
        ("plot", "market.h5", "--symbol", "AAA", "-o", "job.toml/x.png"),
        ["job.toml", "folder cannot be made"],
    ),
    Case(
        "plot: store missing",
        ("plot", "x.h5", "--symbol", "AAA", "-o", "x.png"),
        ["x.h5", "no such market store"],
    ),
    # Prices from outside.
    Case("import: file missing", ("import", "x.csv", "-o", "x.h5"), ["x.csv"]),
    Case("import: file empty", ("import", "a.csv", "-o", "x.h5"), ["a.csv"], text("a.csv", "")),
    Case(
        "import: header alone",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv"],
        text("a.csv", "date,close\n"),
    ),
    Case(
        "import: bad number",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv", "3", "abc"],
        text("a.csv", "date,close\n2020-01-01,1.5\n2020-01-02,abc\n"),
    ),
    Case(
        "import: bad date",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv", "3", "2020-13-45"],
        text("a.csv", "date,close\n2020-01-01,1.5\n2020-13-45,2\n"),
    ),
    Case(
        "import: row too short",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv", "3"],
        text("a.csv", "date,open,close\n2020-01-01,1.5,2\n2020-01-02,1\n"),
    ),
    Case(
        "import: no date column",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv", "date"],
        text("a.csv", "when,close\n1,1.5\n"),
    ),
    Case(
        "import: binary",
        ("import", "a.csv", "-o", "x.h5"),
        ["a.csv"],
        lambda p: p.path("a.csv").write_bytes(bytes(range(256)) * 20),
    ),
    Case(
        "import: broken gzip",
        ("import", "a.csv.gz", "-o", "x.h5"),
        ["a.csv.gz"],
        lambda p: p.path("a.csv.gz").write_bytes(b"\x1f\x8b\x08\x00junk"),
    ),
    Case(
        "import: folder is a file",
        ("import", "a.csv", "-o", "a.csv/x.h5"),
        ["a.csv", "folder cannot be made"],
        text("a.csv", "date,close\n2020-01-01,1.5\n"),
    ),
    Case(
        "synth: folder is a file",
        ("synth", "--symbols", "2", "--days", "50", "-o", "job.toml/x.h5"),
        ["job.toml", "folder cannot be made"],
    ),
    Case(
        "synth: output a folder",
        ("synth", "--symbols", "2", "--days", "50", "-o", "run"),
        ["run", "is a folder"],
    ),
    Case("synth: symbols", ("synth", "--symbols", "0", "-o", "x.h5"), ["--symbols", "x>=1"]),
    Case(
        "fetch: folder is a file",
        ("fetch", "AAPL", "--start", "2020-01-01", "-o", "job.toml/x.h5"),
        ["job.toml", "folder cannot be made"],
    ),
    Case(
        "fetch: interval",
        ("fetch", "AAPL", "--start", "2020-01-01", "--interval", "7m", "-o", "x.h5"),
        ["--interval", "1d, 1wk", "7m"],
    ),
    Case(
        "fetch: minutes of years ago",
        ("fetch", "AAPL", "--start", "2020-01-01", "--interval", "1m", "-o", "x.h5"),
        ["2020-01-01", "30 days", "use --start 20"],
    ),
    Case(
        "fetch: symbols' file missing",
        ("fetch", "--symbols-file", "s.txt", "--start", "2020-01-01", "-o", "x.h5"),
        ["s.txt", "No such file"],
    ),
    Case(
        "fetch: no symbol", ("fetch", "--start", "2020-01-01", "-o", "x.h5"), ["no symbol", "--symbols-file"]
    ),
    Case(
        "import: append to no store",
        ("import", "--append", "a.csv", "-o", "a.csv"),
        ["a.csv", "not a market store"],
        text("a.csv", "date,close\n2020-01-01,1.5\n"),
    ),
    Case(
        "fetch: yfinance missing",
        ("fetch", "AAPL", "--start", "2020-01-01", "-o", "x.h5"),
        ["yfinance", "pip install"],
        without("yfinance"),
    ),
    Case(
        "fetch: start",
        ("fetch", "AAPL", "--start", "yesterday", "-o", "x.h5"),
        ["--start", "yesterday", "such as 20"],
    ),
    Case(
        "fetch: end before start",
        ("fetch", "AAPL", "--start", "2020-01-01", "--end", "2019-01-01", "-o", "x.h5"),
        ["2019-01-01"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_told_in_one_line(case: Case, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    case.setup(place)
    before = tree(place.folder)
    with pytest.raises(SystemExit) as ended:
        cli.main(list(case.arguments))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("hpc-lstm")
    assert "error: " in lines[0]
    for fragment in case.says:
        assert fragment in lines[0]
    assert ended.value.code == 2
    after = tree(place.folder)
    for name in case.grows:
        before.pop(name), after.pop(name)
    assert after == before


def test_corrected_second_attempt_is_not_in_the_way(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    for bad in ('data.symbols=["X"]', "data.window=1000", "data.store=no.h5"):
        assert run(*TRAIN, "--set", bad) == 2
    assert run(*TRAIN) == 0
    assert place.path("new/metrics.json").exists()
    assert run(*TRAIN) == 2, "now it does hold a run"


def test_a_run_that_cannot_begin_lets_go_of_its_store(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[MarketStore] = []

    class Kept(MarketStore):
        def __init__(self, path: str | Path) -> None:
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(setup, "MarketStore", Kept)
    assert run(*TRAIN, "--set", "data.window=1000") == 2
    (store,) = opened
    assert not store._file, "HDF5 files are false once they are closed"


def test_memory_that_is_not_enough(
    place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*parts: object) -> None:
        np.empty(1 << 50)

    monkeypatch.setattr(loop, "train_epochs", exhaust)
    assert run(*TRAIN) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("hpc-lstm: error: out of memory; lower train.batch_size")


def test_engine_backend_and_precision_may_change_on_resume_and_the_log_says_so(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ("--set", "train.epochs=2", "--set", "train.engine=keras", "--set", "train.backend=host")
    assert run(*ON, *more) == 0
    log = place.path("run/log/rank-00000.log").read_text()
    assert "resuming from the checkpoint of step" in log
    assert "train.engine 'auto' -> 'keras'" in log
    assert "train.backend 'auto' -> 'host'" in log
    assert "the checkpoint was computed by the engine fused, this start uses keras" in log
    assert run(*ON, *more, "--set", "train.epochs=3", "--set", "train.precision=bfloat16") == 0
    log = place.path("run/log/rank-00000.log").read_text()
    assert "train.precision 'float32' -> 'bfloat16'" in log
    assert not capfd.readouterr().err


def test_refused_resumption_leaves_the_settings_of_the_run(place: Place) -> None:
    other_prices(place)
    before = place.path("run/config.toml").read_text()
    assert run(*ON, "--set", "train.epochs=2", "--set", "data.store=other.h5") == 2
    assert place.path("run/config.toml").read_text() == before
    assert run(*ON, "--set", "train.epochs=2") == 0
    assert "epochs = 2" in place.path("run/config.toml").read_text()


def test_debug_shows_the_traceback(place: Place, programs: ForkedPrograms) -> None:
    done = programs.run("--debug", *TRAIN, "--set", "data.store=no.h5")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "no such market store" in done.stderr
    assert not place.path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train", "nothing.toml"), "no such config file"),
        ((*TRAIN, "--set", "data.store=no.h5"), "no such market store"),
        (("evaluate", "nothing"), "no such run directory"),
    ],
)
def test_program_of_its_own(place: Place, arguments: Sequence[str], says: str) -> None:
    before = tree(place.folder)
    done = program(*arguments)
    # Where the machine is slow, the program tells what it is doing before it knows better.
    told = [
        line for line in done.stdout.splitlines() if not re.fullmatch(r"[\w ]+, \d+ s since the start", line)
    ]
    assert (done.returncode, told) == (2, [])
    (line,) = done.stderr.splitlines()
    assert line.startswith("hpc-lstm: error: ")
    assert says in line
    assert tree(place.folder) == before


def test_full_disk_at_a_checkpoint(place: Place, programs: ForkedPrograms) -> None:
    # The files that a process may write are limited to less than a checkpoint has.
    settings = ("model.units=64", "train.epochs=20", "checkpoint.every=1", "storage.max_failures=1")
    done = programs.run(
        *TRAIN, *(word for setting in settings for word in ("--set", setting)), limit=60_000, mpi=True
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line
    assert "File too large" in line
    assert "make room" in line
    assert not list(place.path("new/checkpoints").rglob("*.json")), "no checkpoint may count as whole"
    assert not list(place.path("new").rglob("*.writing-*"))
    assert not place.path("new/metrics.json").exists()


def test_a_limit_on_files_by_which_mpi_cannot_start_is_named(place: Place) -> None:
    limited = f"ulimit -f 1024; exec {shlex.join([sys.executable, '-m', 'hpc_lstm', *TRAIN])}"
    done = subprocess.run(
        ["bash", "-c", limited],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("hpc-lstm: error: files of this process may have 1,048,576 bytes (ulimit -f)")
    assert not place.path("new").exists()


def test_a_limit_on_files_is_no_matter_where_the_user_has_chosen_how_mpi_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch.resource, "getrlimit", lambda which: (1 << 20, 1 << 20))
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    with pytest.raises(InputError, match="ulimit -f"):
        launch._require_file_size()
    monkeypatch.setenv("UCX_TLS", "tcp,self")
    launch._require_file_size()


@pytest.mark.parametrize("name", ["timing/rank-00000.jsonl", "log/rank-00000.log"])
def test_full_disk_at_a_log(place: Place, programs: ForkedPrograms, name: str) -> None:
    path = place.path("new") / name
    path.parent.mkdir(parents=True)
    limit = 1 << 24  # more than any other file of the run has
    path.touch()
    os.truncate(path, limit)
    done = programs.run(*TRAIN, limit=limit, mpi=True)
    if name.startswith("log"):
        assert (done.returncode, done.stderr) == (0, ""), "a log that cannot be written stops nothing"
        return
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "File too large" in line
    assert str(place.path("new")) in line


@pytest.mark.parametrize(
    "command",
    [
        ("plot", "market.h5", "--symbol", "AAA", "-o", "x.svg"),
        ("report", "run"),
        ("synth", "--symbols", "20", "--days", "500", "-o", "x.h5"),
    ],
)
def test_full_disk_at_an_output(place: Place, programs: ForkedPrograms, command: Sequence[str]) -> None:
    before = tree(place.folder)
    done = programs.run(*command, limit=4_000, mpi=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert "cannot be written" in line
    assert "File too large" in line
    assert tree(place.folder) == before


# -- what the tests stand on ------------------------------------------------------------------------------------


def walk(seed: int, rows: int = 120) -> np.ndarray:
    return 100 + np.cumsum(np.random.default_rng(seed).uniform(-0.3, 0.3, rows))


def write_store(path: Path, values: dict[str, np.ndarray], columns: Sequence[str] = ("close",)) -> None:
    with StoreWriter(path, columns, "test") as writer:
        for symbol, rows in values.items():
            writer.append(symbol, np.arange(len(rows), dtype=np.int64), rows)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: a file's content, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def run(*arguments: str) -> int:
    """The exit code of the program, in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a Python of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", "hpc_lstm", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def programs() -> Iterator[ForkedPrograms]:
    """Processes of the program that need not import what it uses anew."""
    with ForkedPrograms(
        "hpc_lstm.training.loop",
        "hpc_lstm.market.synthetic",
        "matplotlib.figure",
        "matplotlib.backends.backend_svg",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a config and a completed run."""
    folder = tmp_path_factory.mktemp("completed")
    write_store(
        folder / "market.h5", {symbol: walk(seed)[:, None] for seed, symbol in enumerate(("AAA", "BBB"))}
    )
    with pytest.MonkeyPatch.context() as monkeypatch, kept_process():
        Place(folder, monkeypatch).config()
        monkeypatch.chdir(folder)
        assert run("train", "job.toml", "--run-dir", "run") == 0
    return folder


@pytest.fixture
def place(completed: Path, servers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A copy of that folder, which the process is in."""
    folder = tmp_path / "user"
    shutil.copytree(completed, folder)
    monkeypatch.chdir(folder)
    place = Place(folder, monkeypatch)
    place.config(data=f'store = "{folder}/market.h5"\nwindow = 6')
    with kept_process():
        yield place


class kept_process:
    """Puts back what a run changes in its process: signal handlers and logging."""

    def __enter__(self) -> None:
        self._handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        logger = logging.getLogger("hpc_lstm")
        files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        assert not [file for file in files if file.baseFilename != os.devnull], "a run must close its log"
        logger.propagate = True


SERVERS: dict[str, str] = {}


class Refusing(http.server.BaseHTTPRequestHandler):
    """An S3 server that lets nobody in."""

    def do_GET(self) -> None:
        body = (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        )
        self.answer(403, body)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def servers(s3_server: str) -> Iterator[None]:
    """S3 servers that refuse, that are empty, and an address where nobody listens."""
    SERVERS["empty"] = s3_server
    refusing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    SERVERS["refusing"] = f"http://127.0.0.1:{refusing.server_port}"
    with socket.socket() as nobody:  # bound, not listening
        nobody.bind(("127.0.0.1", 0))
        SERVERS["nobody"] = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        yield
    refusing.shutdown()
    refusing.server_close()
