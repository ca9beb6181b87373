"""A run's settings and environment, as a report shows them."""

from __future__ import annotations

from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import damage_in
from hpc_lstm.files import read_text
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.run_file import RunFile, read_run_file
from hpc_lstm.text.counts import counted

# How an entry of ``starts`` in ``run.json`` is called, in the order of the page.
ENVIRONMENT = {
    "started": "started",
    "command": "command",
    "folder": "in the folder",
    "hpc_lstm": "hpc-lstm",
    "git": "git commit",
    "python": "Python",
    "packages": "packages",
    "mpi": "MPI",
    "system": "system",
    "processor": "processor",
    "cores": "cores of rank 0's node",
    "memory_bytes": "memory of rank 0's node",
    "ranks": "ranks",
    "threads": "CPU threads of a rank",
    "nodes": "nodes",
    "gpus": "GPUs",
    "engine": "engine",
    "backend": "backend",
    "precision": "precision",
    "seed": "seed",
    "job": "job",
}


def settings_section(run: RunDirectory) -> dict[str, Any]:
    """The settings that differ from the defaults, and all of them as TOML."""
    config = run.load_config()
    changed = changed_settings(config)
    return {
        "about": "What differs from the defaults:",
        "changed": [(key, _setting(value)) for key, value in changed.items()],
        "toml": read_text(run.config),
    }


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that differ from the defaults, by key."""
    default = RunConfig(data=configuration.DataConfig(store=config.data.store))
    changed = {key: new for key, _, new in configuration.differences(default, config)}
    return {"data.store": config.data.store, **changed}


def environment_section(run: RunDirectory, metrics: dict[str, Any]) -> dict[str, Any]:
    """Where and with what the run computed, of its last start, and when it ended.

    Args:
        metrics: the content of ``metrics.json``, as far as there is any.

    Raises:
        InputError: ``run.json`` is damaged.
    """
    record = read_run_file(run)
    if record is None or not record.starts:
        return {
            "rows": [],
            "notes": ["Not recorded: the run was trained by an older version, or has not begun."],
        }
    with damage_in(run.record, "restore an intact copy"):
        return _environment_of(record, metrics)


def _environment_of(record: RunFile, metrics: dict[str, Any]) -> dict[str, Any]:
    start = record.starts[-1]
    rows = [
        (title, _fact(key, start[key]))
        for key, title in ENVIRONMENT.items()
        if start.get(key) not in (None, "")
    ]
    if metrics.get("finished"):
        rows.insert(1, ("finished", metrics["finished"]))
    if isinstance(metrics.get("wall_s"), (int, float)):
        rows.insert(2, ("wall time", f"{metrics['wall_s']:,.1f} s"))
    data = record.data or {}
    if data:
        size = f"{counted(data['symbols'], 'symbol')}, {counted(data['rows'], 'row')}"
        rows.append(("prices", f"{size} up to {data['last']}"))
        rows.append(("SHA-256 of the prices", data["sha256"]))
    notes = []
    if len(record.starts) > 1:
        notes.append(f"The run was started {len(record.starts)} times; this is its last start.")
    if record.init_from:
        rows.append(("began with the model of", record.init_from))
    return {"rows": rows, "notes": notes}


def _fact(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value[:8])) + (f" and {len(value) - 8} more" if len(value) > 8 else "")
    if key == "memory_bytes":
        return f"{value / 2**30:.1f} GiB"
    return str(value)


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
