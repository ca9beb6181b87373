"""What a run notes in its directory about itself: where it began, which rows it knows, where its checkpoints are."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import numpy as np

from hpc_lstm.config import RunConfig
from hpc_lstm.market.known_rows import KnownRows
from hpc_lstm.preprocess.split import SplitDates
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.run_file import STARTS, RunFile, read_run_file, write_run_file
from hpc_lstm.training import ownership
from hpc_lstm.training.warm_start import Origin


def write_records(
    run: RunDirectory,
    config: RunConfig,
    origin: Origin,
    known: KnownRows,
    split_dates: SplitDates | None,
    others: KnownRows | None,
    *,
    first: bool,
    environment: dict[str, Any] | None,
    run_id: str = "",
) -> None:
    """Write where the run began, then its settings, by which the folder holds a run; on rank 0.

    Args:
        split_dates: where train, validation and test are cut.
        others: rows of other symbols that its features take means of; None if they take none.
        first: it has no checkpoint yet, so that no model of it knows other rows than ``known``.
        environment: what this start computes with; None: it has nothing left to compute, and is not recorded.
        run_id: by which its checkpoints are signed; "": the directory's, or a new one.

    Raises:
        InputError: they cannot be written.
    """
    record = read_run_file(run)
    if first or record is None:
        source = str(origin.source.path) if origin.source is not None else None
        record = RunFile(source, origin.scaling, _in_sum(known, config, split_dates))
    starts = [*record.starts, *([] if environment is None else [environment])][-STARTS:]
    write_run_file(run, replace(record, starts=starts, id=record.id or run_id or secrets.token_hex(16)))
    if first:
        known.save(run.rows, others)
        if origin.scaler is not None:
            origin.scaler.save(run.scaler)
    ownership.write_settings(run, config)


def record_known_rows(
    run: RunDirectory,
    config: RunConfig,
    known: KnownRows,
    split_dates: SplitDates | None,
    others: KnownRows | None,
) -> None:
    """Write which rows the model knows that has just been trained, and how they were split; on rank 0.

    Args:
        others: as for ``write_records``.

    Raises:
        InputError: it cannot be written.
    """
    known.save(run.rows, others)
    write_run_file(run, replace(read_run_file(run) or RunFile(), data=_in_sum(known, config, split_dates)))


def record_checkpoint(run: RunDirectory, config: RunConfig, prefix: str, step: int) -> None:
    """Write where there is a complete checkpoint, and of which step; on rank 0.

    Raises:
        InputError: it cannot be written.
    """
    newest = {"url": config.storage.url, "prefix": prefix, "step": step}
    write_run_file(run, replace(read_run_file(run) or RunFile(), checkpoints=newest))


def _in_sum(known: KnownRows, config: RunConfig, split_dates: SplitDates | None) -> dict[str, Any]:
    """What ``run.json`` says about the prices that a run was given."""
    return {
        "store": config.data.store,
        "symbols": len(known.symbols),
        "rows": int(known.rows.sum()),
        "last": str(np.array(known.last_date, f"datetime64[{known.date_unit}]")),
        "sha256": known.digest,
        **(split_dates.texts(known.date_unit) if split_dates is not None else {}),
    }
