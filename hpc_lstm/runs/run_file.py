"""``run.json`` of a run directory: where the run began, which prices it was given, and where its checkpoints go.

    {"format": "hpc_lstm run", "version": 3,
     "id": "9f86d081...",                     random, of this run alone: its checkpoints are signed for it
     "init_from": null,                       or the run directory whose model it began with
     "scaling": "fitted",                     or "kept": that run's
     "data": {"store", "symbols", "rows", "last", "sha256",
              "train_ends", "validation_ends"},   last days of the parts; not where each symbol is split by itself
     "checkpoints": {"url", "prefix", "step"},
                                              null before the first is complete; url is storage.url, step the newest
     "starts": [{"started", "command", ...}]} where and with what each start computed: ``training.environment``

A run of an older version has no file, or a file without some of these.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from hpc_lstm.errors import InputError, why_unreadable
from hpc_lstm.files import read_text, write_text
from hpc_lstm.runs.directory import RunDirectory

FORMAT = "hpc_lstm run"
VERSION = 3
# Starts that are kept: a run that is requeued for weeks has hundreds.
STARTS = 50
_COUNTS = ("symbols", "rows", "step")
FITTED, KEPT = "fitted", "kept"


@dataclass(frozen=True)
class RunFile:
    """The content of ``run.json``.

    Attributes:
        init_from: absolute path of the run directory whose model the run began with; None: it began from the seed.
        scaling: FITTED on its own train rows, or KEPT: that of ``init_from``.
        data: the market store, and in sum what the run was given of it.
        checkpoints: where there is, or was, a complete checkpoint: ``storage.url``, the prefix there, the newest step.
        starts: what each start of the run computed with, the newest last; at most ``STARTS``.
        id: random name of the run, which no other run has; "" in a run that version 0.1 began.
    """

    init_from: str | None = None
    scaling: str = FITTED
    data: dict[str, Any] | None = None
    checkpoints: dict[str, Any] | None = None
    starts: list[dict[str, Any]] = field(default_factory=list)
    id: str = ""


def read_run_file(run: RunDirectory) -> RunFile | None:
    """What ``run.json`` says; None if there is none.

    Raises:
        InputError: it is damaged, or of a newer version.
    """
    try:
        content = json.loads(read_text(run.record))
        if content.pop("format") != FORMAT or content.pop("version") > VERSION:
            raise ValueError("not of a version that this program knows")
        found = RunFile(**content)
        _check(found)
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        damaged = f"cannot be read ({error}); restore an intact copy"
        raise InputError(f"{run.record}: {why_unreadable(error, damaged)}") from None


def _check(found: RunFile) -> None:
    """Refuse values of other types than ``write_run_file`` writes; one of an older version may lack some.

    Raises:
        ValueError: it names the first.
    """
    tables = {"data": found.data or {}, "checkpoints": found.checkpoints or {}}
    if not isinstance(found.starts, list):
        raise ValueError("starts is not a list")
    for table in (*tables.values(), *found.starts):
        if not isinstance(table, dict):
            raise ValueError(f"{str(table)[:40]!r} is not a table")
    texts = {"id": found.id, "scaling": found.scaling, "init_from": found.init_from or ""}
    texts |= {f"started of {number}": start.get("started", "") for number, start in enumerate(found.starts)}
    for name, table in tables.items():
        for key, value in table.items():
            if key in _COUNTS:
                if type(value) is not int or not 0 <= value < 2**63:
                    raise ValueError(f"{name}.{key} is not a count")
            else:
                texts[f"{name}.{key}"] = value
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{name} is not text")
    if found.checkpoints and not {"url", "prefix"} <= found.checkpoints.keys():
        raise ValueError("checkpoints lacks url or prefix")


def write_run_file(run: RunDirectory, content: RunFile) -> None:
    """Write ``run.json`` whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    tables = {"format": FORMAT, "version": VERSION, **asdict(content)}
    write_text(run.record, json.dumps(tables, indent=2) + "\n")
