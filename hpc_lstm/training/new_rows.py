"""What a resumed run finds in its market store: the rows that it knows, with newer ones after them or not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.market.known_rows import Growth, KnownRows, compare_rows
from hpc_lstm.preprocess.prepare import window_index
from hpc_lstm.preprocess.scaler import Scaler
from hpc_lstm.text.counts import counted
from hpc_lstm.training.early_stopping import EarlyStopping
from hpc_lstm.training.setup import Run
from hpc_lstm.training.state import known_rows_of
from hpc_lstm.training.validation import loss_sum


def check_prices(run: Run, saved: Mapping[str, Any], digest: str) -> Growth | None:
    """What the store has beyond the rows that a checkpoint was trained on, None for nothing; collective.

    Args:
        saved: the checkpoint's state.
        digest: of the store as a checkpoint of an older version has it, which does not tell new rows from changed ones.

    Raises:
        InputError: the rows themselves have changed.
    """
    world = run.world
    known, others = world.bcast(
        world.raise_on_all(lambda: _known_rows(run, saved) if world.rank == 0 else (None, None))
    )
    if known is None:
        if saved["data"] != digest:
            raise world.on_all_ranks(_other_prices(run, "its size or its first or last row differs"))
        run.log.info(
            "the checkpoint is of a version that did not record its prices row by row: that they are the same is only "
            "known of the store's symbols, row counts, first and last row"
        )
        return None
    detail = world.raise_on_all(lambda: _row_checks(run) if world.rank == 0 else None)
    found = compare_rows(known, run.store, world, chosen=run.known.symbols, detail=detail)
    if found.difference:
        raise world.on_all_ranks(_other_prices(run, found.difference))
    if others is not None and (changed := compare_rows(others, run.store, world).difference):
        mean = f"{changed}, of which features take the mean of all symbols"
        raise world.on_all_ranks(_other_prices(run, mean))
    return found.growth or None


def train_windows_before(run: Run, found: Growth) -> int:
    """How many train windows there were in the rows that the run knows; collective."""
    chosen = run.config.data.model_copy(update={"symbols": list(found.before.symbols), "shard": ""})
    return window_index(run.store, chosen, run.world, known=found.known)[0].total("train")


def log_growth(run: Run, found: Growth, train_windows: int, *, complete: bool) -> None:
    """Say what is new in the store and, unless the run is complete, what follows from it.

    Args:
        train_windows: how many there were before.
    """
    new = []
    if found.rows:
        new.append(
            f"{counted(found.rows, 'new row')} of {counted(found.symbols, 'symbol')} "
            f"{found.after(run.store.date_unit)}"
        )
    if found.new_symbols:
        new.append(counted(len(found.new_symbols), "new symbol"))
    there = f"the market store has {' and '.join(new)} since the checkpoint"
    if complete:
        run.log.info("%s", there)
        return
    run.log.info(
        "%s: train windows %s -> %s, validation and test begin later; %s; early stopping starts over, and each rank "
        "starts a new order of its windows",
        *(there, f"{train_windows:,}", f"{run.data.index.total('train'):,}", _scaling(run)),
    )


def measure_best(run: Run, best: EarlyStopping) -> None:
    """Measure the best weights so far on the validation windows that there are now; collective."""
    total = run.data.index.total("validation")
    if not total or not len(best.weights):
        return
    own, before = run.engine.parameters(), best.loss
    run.engine.set_parameters(best.weights)
    best.loss = loss_sum(run) / total
    run.engine.set_parameters(own)
    run.log.info(
        "validation loss of the best model so far: %.6g on the current windows, %.6g on the previous ones",
        *(best.loss, before),
    )


def _known_rows(run: Run, saved: Mapping[str, Any]) -> tuple[KnownRows | None, KnownRows | None]:
    """Of the run's own symbols, and of others."""
    try:
        return known_rows_of(saved), known_rows_of(saved, "others")
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{run.directory.path}: the checkpoint's record of the prices is damaged ({error}); delete this "
            "checkpoint, to resume from the one before"
        ) from None


def _other_prices(run: Run, how: str) -> InputError:
    return InputError(
        f"{run.config.data.store}: holds other prices than this run was started with: {how}; put the old store back, "
        f"or start a new run from this one's model: --init-from {shlex.quote(str(run.directory.path))} with another "
        "--run-dir"
    )


def _row_checks(run: Run) -> KnownRows | None:
    return KnownRows.load(run.directory.rows) if run.directory.rows.exists() else None


def _scaling(run: Run) -> str:
    """In words, what new train rows did to the scaling; how much is known where a completed run has left its own."""
    if run.origin.scaler is not None:
        return "the scaling is kept"
    if not run.directory.scaler.exists():
        return "the scaling is fitted again"
    old, new = Scaler.load(run.directory.scaler), run.data.scaler
    known = set(old.symbols)
    both = [name for name in new.symbols if name in known]
    here, there = new.select(both), old.select(both)
    moved = (new.scale[here] != old.scale[there]) | (new.shift[here] != old.shift[there])
    count = int(moved.any(axis=1).sum())
    if not count:
        return "the scaling is fitted again, and stays the same"
    return f"the scaling is fitted again, and moves for {count:,} of {counted(len(both), 'symbol')}"
