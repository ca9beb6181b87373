"""What reads files and options of strangers: whole samples, what is changed in them, and how they are read."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mutations import ODD_WORDS, Mutation, of_bytes, of_json, of_members, of_words

ROOT = Path(__file__).parents[2]
OLD_RUNS = ROOT / "tests/data/written_by_0_1_0"
PRICES = ROOT / "tests/data/prices"
RUN_EXAMPLES = [
    ROOT / f"examples/{name}.toml" for name in ("known_optimum", "quickstart", "s3", "two_clusters")
]


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        samples: makes whole inputs by name, once, in a folder.
        mutation: what is done to one of them.
        read: reads a changed one, with a folder of its own to work in; an InputError refuses it.
    """

    name: str
    samples: Callable[[Path], dict[str, bytes]]
    mutation: Mutation
    read: Callable[[str, bytes, Path], Any]

    def example(self, folder: Path) -> Callable[[int], None]:
        """Takes a seed, changes a sample and reads it."""
        samples = self.samples(folder)
        names = sorted(samples)
        work = folder / "work"

        def run(seed: int) -> None:
            rng = random.Random(f"{self.name} {seed}")
            name = rng.choice(names)
            clear(work)
            self.read(name, self.mutation(samples[name], rng), work)

        return run


def clear(folder: Path) -> None:
    """An empty folder, the same one: to remove one and make it anew takes the kernel milliseconds."""
    folder.mkdir(exist_ok=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


@contextlib.contextmanager
def changed_file(path: Path, data: bytes) -> Iterator[None]:
    """A file with other content for a while."""
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def copied_once(source: Path, target: Path, *ignored: str) -> Path:
    """A folder that is only read from, beside the one of an example, copied for the first of them."""
    if not target.exists():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*ignored))
    return target


def files(*paths: Path) -> Callable[[Path], dict[str, bytes]]:
    """Samples that lie in the repository."""
    return lambda _: {path.name: path.read_bytes() for path in paths}


# -- prices ------------------------------------------------------------------------------------------------------


def read_prices(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.market.importing import import_prices

    (work / name).write_bytes(data)
    import_prices([work / name], work / "m.h5")
    assert sorted(path.name for path in work.iterdir()) == sorted([name, "m.h5"])


def price_tables(_: Path) -> dict[str, bytes]:
    """The same prices in every format that is no text, and as a compressed text."""
    import pyarrow as pa
    from openpyxl import Workbook
    from pyarrow import feather, parquet

    days = [datetime.date(2024, 1, 1) + datetime.timedelta(number) for number in range(30)]
    columns = {
        "Date": days,
        "Symbol": ["A", "B"] * 15,
        "Close": [100 + number / 7 for number in range(30)],
        "Volume": list(range(1000, 1030)),
    }
    table = pa.table(columns)
    sheet = Workbook()
    sheet.active.append(list(columns))
    for row in zip(*columns.values(), strict=True):
        sheet.active.append(list(row))
    text = "\n".join(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))
    text = f"{','.join(columns)}\n{text}\n"
    files = {name: io.BytesIO() for name in ("p.parquet", "p.feather", "p.xlsx", "p.zip")}
    parquet.write_table(table, files["p.parquet"])
    feather.write_feather(table, files["p.feather"])
    sheet.save(files["p.xlsx"])
    with zipfile.ZipFile(files["p.zip"], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p.csv", text)
    return {name: file.getvalue() for name, file in files.items()} | {
        "p.csv.gz": gzip.compress(text.encode(), mtime=0)
    }


def fetch_journal(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.market.events import Events
    from hpc_lstm.market.fetching.journal import open_journal
    from hpc_lstm.market.fetching.series import COLUMNS, Series
    from hpc_lstm.market.fetching.update import Update

    none = Events(np.empty(0, np.int64), np.empty(0))
    split = Events(np.array([19003]), np.array([2.0]))
    path = folder / ".f.h5.journal"
    with contextlib.suppress(KeyboardInterrupt), open_journal(folder / "f.h5", "1d") as journal:
        for number in range(3):
            dates = np.arange(19000, 19020)
            values = np.full((len(dates), len(COLUMNS)), 100.0 + number)
            series = Series(dates, values, split, none, "America/New_York", 1_700_000_000, 0)
            journal.append(f"S{number}", Update(series, True, datetime.date(2022, 1, 8)))
        raise KeyboardInterrupt  # as of a fetch that is stopped: the journal stays
    return {"journal": path.read_bytes()}


def read_journal(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.market.fetching.journal import open_journal

    (work / ".f.h5.journal").write_bytes(data)
    with open_journal(work / "f.h5", "1d") as journal:
        for number in range(3):
            for record in journal.records(f"S{number}"):
                journal.read(record)


def a_store(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.market.store_writer import StoreWriter

    path = folder / "m.h5"
    rng = np.random.default_rng(0)
    with StoreWriter(path, ["open", "close"], "a test", attributes={"note": "n"}) as writer:
        for number in range(4):
            dates, values = np.arange(60) + 15000, 100 + rng.normal(size=(60, 2))
            writer.append(f"S{number}", dates, values)
        writer.extras = {"splits/offsets": np.array([0, 1, 1, 1, 1]), "splits/dates": np.array([15003])}
        writer.extras["splits/values"] = np.array([2.0])
    return {"new": path.read_bytes(), "old": (OLD_RUNS / "market.h5").read_bytes()}


def read_store(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.config import DataConfig
    from hpc_lstm.market.events import StoredEvents
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel.world import World
    from hpc_lstm.preprocess import backends, prepare

    (work / "m.h5").write_bytes(data)
    with MarketStore(work / "m.h5") as store:
        rows = int(store.offsets[-1])
        values, dates = store.rows(0, rows), store.dates(0, rows)
        StoredEvents(store).of("splits", 0)
        if name == "new":
            assert hashlib.sha256(values.tobytes() + dates.tobytes()).hexdigest() == whole_prices(), (
                "other prices"
            )
        config = DataConfig(store=str(store.path), window=5)
        prepared = prepare.prepare(store, config, World(), backends.create_backend("host"))
        prepared.train.batch(np.arange(min(4, len(prepared.train))))
        prepared.close()


def whole_prices() -> str:
    rng = np.random.default_rng(0)
    values = np.concatenate([100 + rng.normal(size=(60, 2)) for _ in range(4)])
    return hashlib.sha256(values.tobytes() + np.tile(np.arange(60) + 15000, 4).tobytes()).hexdigest()


# -- settings ----------------------------------------------------------------------------------------------------


def read_settings(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm import config
    from hpc_lstm.config.toml_file import tomllib

    (work / "c.toml").write_bytes(data)
    settings = config.load(work / "c.toml")
    assert config.parse(tomllib.loads(config.dump(settings)), "again") == settings


def read_saved_settings(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.report.page_run import settings_section
    from hpc_lstm.runs.directory import RunDirectory

    run = RunDirectory(work)
    run.config.write_bytes(data)
    run.load_config()
    settings_section(run)


def read_tuning(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.tuning.search import candidates
    from hpc_lstm.tuning.settings import load_tune

    shutil.copyfile(ROOT / "examples/quickstart.toml", work / "quickstart.toml")
    (work / "tune.toml").write_bytes(data)
    tune, _ = load_tune(work / "tune.toml")
    candidates(tune)


def read_sweep(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.sweep import plan
    from hpc_lstm.sweep.settings import load_sweep

    (work / name).write_bytes(data)
    sweep, base = load_sweep(str(work / name))
    plan.plan_sweep(sweep, base, name)


def all_options(_: Path) -> dict[str, bytes]:
    from hpc_lstm import config

    run = config.RunConfig(data=config.DataConfig(store="m.h5"))
    return {key: f"{key}={json.dumps(config.get(run, key))}".encode() for key in config.keys()}  # noqa: SIM118


def of_option(data: bytes, rng: random.Random) -> bytes:
    key, _, value = data.decode().partition("=")
    kind = rng.randrange(4)
    if kind == 0:
        return of_bytes(data, rng)
    if kind == 1:
        return f"{key}={rng.choice(ODD_WORDS)}".encode()
    if kind == 2:
        return f"{key}={value[: rng.randrange(len(value) + 1)]}{rng.choice(ODD_WORDS)}".encode()
    return f"{key}=[{rng.choice(ODD_WORDS)}, {value}]".encode()


def read_option(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm import config

    # As the system gives it: without null bytes.
    text = os.fsdecode(data.replace(b"\0", b""))
    settings = config.load(ROOT / "examples/quickstart.toml", [text])
    config.dump(settings)


# -- run directories ---------------------------------------------------------------------------------------------


def old_run(work: Path) -> Path:
    (work / "run/timing").mkdir(parents=True)
    for name, data in timing_lines(work).items():
        (work / "run/timing" / name).write_bytes(data)
    return work / "run"


def drawn(data: bytes) -> bool:
    """One of fifty: a picture takes as long as all else."""
    return zlib.crc32(data) % 50 == 0


def read_scaler(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.preprocess.scaler import Scaler

    (work / "scaler.h5").write_bytes(data)
    scaler = Scaler.load(work / "scaler.h5")
    scaler.select(scaler.symbols)
    scaler.inverse_target(np.zeros(len(scaler.symbols)), np.arange(len(scaler.symbols)))


def known_rows(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.market.known_rows import know_rows
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel.world import World

    with MarketStore(OLD_RUNS / "market.h5") as store:
        know_rows(store, [0], range(len(store.symbols)), World()).save(folder / "rows.h5")
    return {"rows.h5": (folder / "rows.h5").read_bytes()}


def read_known_rows(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.market.known_rows import KnownRows, compare_rows
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel.world import World

    (work / "rows.h5").write_bytes(data)
    known = KnownRows.load(work / "rows.h5")
    with MarketStore(OLD_RUNS / "market.h5") as store:
        compare_rows(known, store, World())


def read_history_file(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.report.plots import history_figure
    from hpc_lstm.runs.directory import RunDirectory
    from hpc_lstm.runs.history import History, read_history
    from hpc_lstm.timing.cluster_runs import _steps_per_epoch

    run = RunDirectory(work)
    run.history.write_bytes(data)
    entries = read_history(run.history)
    if entries and drawn(data):
        history_figure(entries).clear()
    _steps_per_epoch(run)
    History(run, True, 10).close()


def read_metrics_file(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.evaluation.expected_error import expected_error
    from hpc_lstm.evaluation.metrics_file import read_metrics
    from hpc_lstm.report.html import _accuracy
    from hpc_lstm.report.page_symbols import symbols_section
    from hpc_lstm.report.run_table import compare_runs, comparison_text, runs_table, summarize
    from hpc_lstm.runs.directory import RunDirectory

    runs = work.with_name("runs")
    run, other = (
        RunDirectory(copied_once(OLD_RUNS / "finished", runs / each, "*.h5", "timing")) for each in "ab"
    )
    with changed_file(run.metrics, data):
        runs_table([summarize(run)], runs)
        expected_error(run, read_metrics(run), "S0", 1.0)
        _accuracy(run)
        symbols_section(run, read_metrics(run), ())
        comparison_text(compare_runs([run.path, other.path]))


def symbols_tables(_: Path) -> dict[str, bytes]:
    header = "symbol,part,method,windows,rmse,mae,rmsse"
    rows = [
        f"S{number},{part},{method},20,{number + 0.5},0.25,{number + 0.75}"
        for number in range(3)
        for part in ("validation", "test")
        for method in ("model", "persistence")
    ]
    return {"symbols.csv": "\n".join([header, *rows, ""]).encode()}


def read_symbols_table(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.report.page_symbols import symbols_section
    from hpc_lstm.runs.directory import RunDirectory

    (work / name).write_bytes(data)
    symbols_section(RunDirectory(work), {"test": {"windows": 60}, "per_symbol_omitted": 0}, ())


def intervals_files(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.evaluation.intervals import Intervals, write_intervals
    from hpc_lstm.runs.directory import RunDirectory

    write_intervals(RunDirectory(folder), Intervals(0.9, np.array([0.25, np.nan])))
    return {"intervals.json": (folder / "intervals.json").read_bytes()}


def read_intervals_file(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm import config
    from hpc_lstm.evaluation.intervals import read_intervals
    from hpc_lstm.model.engines.head import Head
    from hpc_lstm.runs.directory import RunDirectory

    (work / name).write_bytes(data)
    settings = config.RunConfig(data=config.DataConfig(store="m.h5", horizon=[1, 2]))
    head = Head.of(settings)
    ends = read_intervals(RunDirectory(work), head, settings.forecast).of(head, np.ones((3, head.outputs)))
    assert np.array_equal(ends[0], ends[0]) or np.isnan(ends[0]).any()


def run_files(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.runs.directory import RunDirectory
    from hpc_lstm.runs.run_file import RunFile, write_run_file

    data = {"store": "m.h5", "symbols": 3, "rows": 216, "last": "2011-05-26", "sha256": "0" * 64}
    data |= {"train_ends": "2011-04-01", "validation_ends": "2011-05-01"}
    checkpoints = {"url": "", "prefix": "checkpoints/main", "step": 20}
    start = {"started": "2024-01-02T03:04:05", "command": "hpc-lstm train", "ranks": 2, "nodes": {"n1": 2}}
    content = RunFile(None, "fitted", data, checkpoints, [start], "0" * 32)
    write_run_file(RunDirectory(folder), content)
    return {"run.json": (folder / "run.json").read_bytes()}


def read_run_json(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.errors import InputError
    from hpc_lstm.evaluation.trained_run import TrainedRun
    from hpc_lstm.preprocess.recorded_split import recorded_split
    from hpc_lstm.report.page_run import environment_section
    from hpc_lstm.report.run_table import runs_table, summarize
    from hpc_lstm.runs.directory import RunDirectory
    from hpc_lstm.training.ownership import refuse_lost_checkpoints

    run = RunDirectory(work)
    run.record.write_bytes(data)
    shutil.copyfile(OLD_RUNS / "finished/config.toml", run.config)
    runs_table([summarize(run)], work)
    trained = TrainedRun(run, run.load_config(), None, None, None)
    recorded_split(trained.files, trained.config, "D")
    environment_section(run, {})
    with contextlib.suppress(InputError):  # there is none: whole or not, it is refused
        refuse_lost_checkpoints(run, trained.config, "checkpoints/main")


def read_timing(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.report.plots import timing_figure
    from hpc_lstm.timing.spans import load_timing
    from hpc_lstm.timing.table import timing_table
    from hpc_lstm.timing.trace import write_trace

    run = old_run(work)
    if name.endswith(".jsonl"):
        (run / "timing" / name).write_bytes(data)
        (run / "timing.h5").unlink(missing_ok=True)
    else:
        shutil.rmtree(run / "timing")
        (run / "timing.h5").write_bytes(data)
    timing_table(run)
    if drawn(data):
        write_trace([run], work / "trace.json")
        timing_figure(load_timing(run)).clear()


def timing_lines(_: Path) -> dict[str, bytes]:
    """The first lines of each rank of two, and its totals."""
    found = {}
    for path in sorted((OLD_RUNS / "finished/timing").glob("*.jsonl"))[:2]:
        lines = path.read_bytes().splitlines(keepends=True)
        found[path.name] = b"".join([*lines[:12], lines[-1]])
    return found


def timing_file(folder: Path) -> dict[str, bytes]:
    from hpc_lstm.timing.spans import gather_timing

    return {"timing.h5": gather_timing(old_run(folder)).read_bytes()}


def model_files(_: Path) -> dict[str, bytes]:
    return {"model.keras": (OLD_RUNS / "finished/model.keras").read_bytes()}


def read_model(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.model.engines.registry import load_forecaster

    (work / name).write_bytes(data)
    load_forecaster(work / name, threads=1)


# -- checkpoints and rounds --------------------------------------------------------------------------------------


def read_manifest_file(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.checkpoint import manifest
    from hpc_lstm.checkpoint.provenance import Provenance
    from hpc_lstm.errors import CheckpointError
    from hpc_lstm.storage.folder import FolderStore

    place = work / "p/000000030"
    place.mkdir(parents=True)
    (place / manifest.NAME).write_bytes(data)
    try:
        manifest.read_manifest(FolderStore(work), "p", 30, Provenance())
    except manifest.DAMAGED as error:  # the checkpoint before is taken
        raise CheckpointError(str(error)) from None


def new_manifest(_: Path) -> dict[str, bytes]:
    from hpc_lstm.checkpoint import manifest
    from hpc_lstm.checkpoint.provenance import Provenance

    old = next((OLD_RUNS / "finished/checkpoints/main/000000030").glob("*.json")).read_bytes()
    content = manifest.Manifest.model_validate(json.loads(old)).model_copy(
        update={"run": "0" * 32, "version": 2}
    )
    key = f"p/000000030/{manifest.NAME}"
    return {"old": old, "new": manifest.manifest_bytes(key, content, Provenance())}


def rank_states(_: Path) -> dict[str, bytes]:
    folder = OLD_RUNS / "finished/checkpoints/main/000000030"
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


@functools.cache
def whole_state(data: bytes) -> dict[str, Any]:
    """The content of a sample."""
    from hpc_lstm.checkpoint.state_file import unpack_state

    return unpack_state(data)


def crafted_state(data: bytes, rng: random.Random) -> bytes:
    """Bytes that are changed, or whole files of other names, types and shapes."""
    from hpc_lstm.checkpoint.state_file import pack_state

    if rng.random() < 0.5:
        return of_bytes(data, rng)
    state = dict(whole_state(data))
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(sorted(state))
        kind = rng.randrange(6)
        if kind == 0:
            del state[name]
        elif kind == 1:
            state[rng.choice(("x", "position/x", "sync/x", "engine/x/y"))] = rng.choice((1, "x", np.zeros(3)))
        elif kind == 2:
            state[name] = rng.choice(
                (-1, 0, 2**62, np.nan, "x", np.zeros(0), np.zeros((2, 2)), np.ones(10**5, "u1"))
            )
        elif kind == 3:
            text = np.asarray(state[name]).dtype.kind == "U"
            state[name] = 1 if text else np.asarray(state[name]).astype(rng.choice(("f8", "i1", "u8", "?")))
        else:
            state[name] = state[rng.choice(sorted(state))]
    return pack_state(state)


def read_state(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.checkpoint.state_file import unpack_state
    from hpc_lstm.checkpoint.state_layout import Entry, StateLayout
    from hpc_lstm.errors import CheckpointError

    entries = {key: Entry.like(value) for key, value in whole_state(rank_states(work)[name]).items()}
    try:
        unpack_state(data, StateLayout(entries, frozenset(entries)))
    except ValueError as error:  # the checkpoint before is taken
        raise CheckpointError(str(error)) from None


def old_run_that_has_ended(bucket: Path) -> Path:
    """A run of clusters in a bucket beside the one of an example; clusters of its version did not write their ends."""
    from hpc_lstm.clusters.documents import RoundResult, RunEnd, end_key, round_of_result

    team = copied_once(OLD_RUNS / "bucket/team", bucket / "team")
    newest = sorted(team.glob("rounds/*/merged.json"))[-1]
    number = round_of_result(str(newest.relative_to(team)))
    path = team / end_key(number, "alpha")
    if not path.exists():
        content = json.loads(newest.read_bytes())
        content.pop("signature")
        result = RoundResult.model_validate_json(json.dumps(content)).digest()
        path.parent.mkdir()
        path.write_text(json.dumps(RunEnd(round=number, cluster="alpha", result=result).content()))
    return team


def round_documents(work: Path) -> dict[str, bytes]:
    team = old_run_that_has_ended(work.with_name("bucket"))
    found = [
        team / "run.json",
        *sorted(team.glob("rounds/*/merged.json")),
        *sorted(team.glob("rounds/*/contributions/*")),
        *sorted(team.glob("rounds/*/ends/*")),
    ]
    return {str(path.relative_to(team)): path.read_bytes() for path in found}


def read_document(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.config import StorageConfig
    from hpc_lstm.report.rounds_table import checkpoints_table, rounds_table

    bucket = work.with_name("bucket")
    storage = StorageConfig(url=f"file://{bucket}")
    with changed_file(old_run_that_has_ended(bucket) / name, data):
        rounds_table(storage)
        checkpoints_table(storage)


# -- tuning and sweeps -------------------------------------------------------------------------------------------


def failed_trials(_: Path) -> dict[str, bytes]:
    trial = {"number": 1, "values": {"model.units": 2}, "error": None, "epochs": 0.0, "failure": "it failed"}
    return {"failed.json": json.dumps(trial).encode()}


def read_trial(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm import config
    from hpc_lstm.parallel.world import World
    from hpc_lstm.tuning.command import _table
    from hpc_lstm.tuning.trials import run_trials

    (work / "trial-001").mkdir()
    (work / "trial-001" / name).write_bytes(data)
    base = config.RunConfig(data=config.DataConfig(store="m.h5"))
    _table(run_trials(base, [{"model.units": 2}], work, World()), ["model.units"])


def sweep_records(_: Path) -> dict[str, bytes]:
    return shipped_records()


@functools.cache
def shipped_records() -> dict[str, bytes]:
    whole = json.loads((ROOT / "benchmarks/results/scaling.json").read_text())
    found = {}
    for record in whole["records"][:2]:
        config = whole["configs"][record["config"]]
        record |= {"environment": whole["environments"][record["environment"]], "config": config}
        found[record["name"]] = json.dumps(record).encode()
    return found


def read_sweep_record(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.report import figures
    from hpc_lstm.sweep import plots, table
    from hpc_lstm.sweep.groups import group_records
    from hpc_lstm.sweep.model.fit import fit_model
    from hpc_lstm.sweep.records import SweepFolder
    from hpc_lstm.sweep.summary import points_text

    samples = shipped_records()
    folder = SweepFolder(work)
    (work / "records").mkdir()
    for each, whole in samples.items():
        folder.record_file(each).write_bytes(data if each == name else whole)
    records = folder.load_records(samples)
    groups = group_records(records)
    rows = table.table_rows(groups)
    table.write_csv(rows, work / "t.csv")
    table.write_hdf5(rows, records, work / "t.h5")
    points_text(groups, 1)
    if drawn(data):
        fit_model(groups)
        with figures.styled():
            figures.save(plots.scaling_figure(groups), work / "s.png")
            figures.save(plots.phases_figure(groups), work / "p.png")


def sweep_folders(_: Path) -> dict[str, bytes]:
    return {
        "sweep.json": json.dumps({"digest": "0" * 64, "settings": {"sweep.ranks": [1, 2]}}).encode(),
        "jobs.json": json.dumps({"p0000-r00": "123", "p0001-r00": "124"}).encode(),
        "failures/p0000-r00.json": json.dumps({"name": "p0000-r00", "reason": "killed"}).encode(),
    }


def read_sweep_folder(name: str, data: bytes, work: Path) -> None:
    from hpc_lstm.sweep.records import SweepFolder
    from hpc_lstm.sweep.slurm_jobs import Queue

    (work / name).parent.mkdir(exist_ok=True)
    (work / name).write_bytes(data)
    folder = SweepFolder(work)
    folder.load_failures(["p0000-r00"])
    Queue(work / "jobs.json", str, str, float).is_active("p0000-r00")
    folder.begin("1" * 64, {"sweep.ranks": [1, 4]})


TARGETS = (
    Target(
        "prices",
        files(*(path for path in sorted(PRICES.iterdir()) if path.suffix == ".csv")),
        of_words,
        read_prices,
    ),
    Target("price tables", price_tables, of_bytes, read_prices),
    Target("fetch journal", fetch_journal, of_bytes, read_journal),
    Target("settings", files(*RUN_EXAMPLES), of_words, read_settings),
    Target("saved settings", files(OLD_RUNS / "finished/config.toml"), of_words, read_saved_settings),
    Target("tuning file", files(ROOT / "examples/tune.toml"), of_words, read_tuning),
    Target("sweep file", files(ROOT / "examples/sweep.toml"), of_words, read_sweep),
    Target("option", all_options, of_option, read_option),
    Target("market store", a_store, of_bytes, read_store),
    Target("scaler", files(OLD_RUNS / "finished/scaler.h5"), of_bytes, read_scaler),
    Target("known rows", known_rows, of_bytes, read_known_rows),
    Target("history", files(OLD_RUNS / "finished/history.jsonl"), of_json, read_history_file),
    Target("timing lines", timing_lines, of_json, read_timing),
    Target("timing file", timing_file, of_bytes, read_timing),
    Target("metrics", files(OLD_RUNS / "finished/metrics.json"), of_json, read_metrics_file),
    Target("symbols table", symbols_tables, of_words, read_symbols_table),
    Target("intervals", intervals_files, of_json, read_intervals_file),
    Target("run file", run_files, of_json, read_run_json),
    Target("model", model_files, of_members, read_model),
    Target("manifest", new_manifest, of_json, read_manifest_file),
    Target("rank state", rank_states, crafted_state, read_state),
    Target("round document", round_documents, of_json, read_document),
    Target("failed trial", failed_trials, of_json, read_trial),
    Target("sweep record", sweep_records, of_json, read_sweep_record),
    Target("sweep folder", sweep_folders, of_json, read_sweep_folder),
)
