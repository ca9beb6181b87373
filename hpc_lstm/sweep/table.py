"""A sweep's records as a tidy table, one row per run: CSV and HDF5."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm.errors import printable
from hpc_lstm.files import whole_file
from hpc_lstm.hdf5.writing import whole_hdf5
from hpc_lstm.sweep.groups import Group, Record, per_processor
from hpc_lstm.sweep.measure import STEADY

FORMAT, VERSION = "hpc_lstm sweep", 1


def table_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One row per run, all with the same columns; what is not known is None.

    ``seconds`` and the phases are those of the steady state, means over ranks. ``processors`` are cores, or GPUs
    where each rank had one (``processor_kind``); ``shared`` says that ranks shared them.
    """
    table = []
    for group in groups:
        for records in group.by_ranks.values():
            table += [_row(group, record) for record in records]
    # Packages may have come or gone between two calls of a sweep.
    empty = dict.fromkeys(name for row in table for name in row)
    return [
        empty | {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in table
    ]


def write_csv(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the table with a header line; unknown values are empty.

    Raises:
        InputError: it cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def write_hdf5(table: Sequence[dict[str, Any]], records: Sequence[Record], path: Path) -> None:
    """Write each column as a dataset [runs] under ``/runs``, and the environments under ``/environments``.

    Numbers are int64 or float64 (NaN where unknown), booleans are bool, all else is text. ``/runs/environment`` is
    the index of the run's entry in ``/environments``, JSON texts.

    Raises:
        InputError: it cannot be written.
    """
    import h5py

    environments, numbers = deduplicate([record["environment"] for record in records])
    with whole_hdf5(path) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION})
        for name in table[0]:
            _dataset(file, f"runs/{name}", [row[name] for row in table])
        by_name = {record["name"]: number for record, number in zip(records, numbers, strict=True)}
        file["runs/environment"] = np.array([by_name[row["run"]] for row in table], np.int64)
        texts = [json.dumps(environment) for environment in environments]
        file.create_dataset("environments", data=texts, dtype=h5py.string_dtype())


def deduplicate(values: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The distinct ones of JSON values, and the index of each value among them."""
    found: dict[str, int] = {}
    places = [found.setdefault(json.dumps(value, sort_keys=True), len(found)) for value in values]
    return [json.loads(text) for text in found], places


def _row(group: Group, record: Record) -> dict[str, Any]:
    environment, place = record["environment"], record["place"]
    nodes, gpus = environment["nodes"], dict.fromkeys(r["gpu"] for r in environment["ranks"] if r["gpu"])
    return {
        "run": record["name"],
        "point": record["point"],
        "repeat": record["repeat"],
        "scaling": record["scaling"],
        "ranks": record["ranks"],
        **{key: value if _plain(value) else json.dumps(value) for key, value in record["axes"].items()},
        "rank_batch_size": record["batch_size"],
        "rank_steps": record["steps"],
        "samples": record["samples"],
        "seconds": record["seconds"],
        "samples_per_second": record["samples_per_second"],
        "processor_kind": place["kind"],
        "processors": place["used"],
        "shared": place["shared"],
        "other_load": record["other_load"],
        "nodes": place["nodes"],
        "samples_per_second_per_processor": per_processor(record),
        "efficiency": group.efficiency(record),
        **{f"{phase}_s": record["phase_seconds"][phase] for phase in STEADY},
        "averaged_bytes": record["averaged_bytes"],
        "hosts": " ".join(node["node"] for node in nodes),
        "processor": "; ".join(dict.fromkeys(node["processor"] for node in nodes)),
        "gpu": "; ".join(gpus),
        "mpi": environment["mpi"].partition(";")[0],
        "transport": environment["transport"],
        **{f"version_{name}": version for name, version in environment["versions"].items()},
    }


def _plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


def _dataset(file: Any, name: str, values: list[Any]) -> None:
    import h5py

    if all(isinstance(value, bool) for value in values):
        file[name] = np.array(values, np.bool_)
    elif all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
        file[name] = np.array(values, np.int64)
    elif all(value is None or isinstance(value, (int, float)) for value in values):
        file[name] = np.array([np.nan if value is None else value for value in values], np.float64)
    else:
        file.create_dataset(name, data=[str(value) for value in values], dtype=h5py.string_dtype())
