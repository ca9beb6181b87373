"""Where a run cut train, validation and test, as its directory records it."""

from __future__ import annotations

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError
from hpc_lstm.market.known_rows import KnownRows
from hpc_lstm.preprocess.split import SplitDates
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.run_file import read_run_file


def recorded_split(run: RunDirectory, config: RunConfig, unit: str) -> SplitDates | None:
    """Where a run was cut; None where it split each symbol by itself, or that is not recorded.

    Args:
        unit: of the store's dates that are to be split there.

    Raises:
        InputError: ``run.json`` is damaged.
    """
    record = read_run_file(run)
    texts = (record.data if record is not None else None) or {}
    if config.data.split_by != "date" or "train_ends" not in texts:
        return None
    try:
        return SplitDates.from_texts(texts, unit)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{run.record}: cannot be read ({error}); restore an intact copy") from None


def split_to_resume(run: RunDirectory, config: RunConfig, known: KnownRows) -> SplitDates | None:
    """Where a run was cut that goes on with the very rows that it was given; None if that is not known.

    The same settings cut the same rows on the same days, but for what a later version counts otherwise: before the
    embargo was of days, it was of as many dates of an intraday store.

    Raises:
        InputError: ``run.json`` is damaged.
    """
    record = read_run_file(run) if run.holds_run else None
    if record is None or (record.data or {}).get("sha256") != known.digest:
        return None
    cut = recorded_split(run, config, known.date_unit)
    # A version that cut for an embargo always recorded where test begins.
    return cut if cut is not None and (cut.test_opens is not None) == bool(config.data.embargo) else None
