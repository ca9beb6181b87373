"""What a completed run's model is worth, on its own market store or another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.all_outputs import evaluate_outputs, evaluation_work
from hpc_lstm.evaluation.backtest import BacktestSettings
from hpc_lstm.evaluation.evaluate import BATCH_SIZE, Evaluation
from hpc_lstm.evaluation.metrics_file import NEW, PARTS, parts_of, read_metrics
from hpc_lstm.evaluation.new_rows import compare_with_run, new_rows_note
from hpc_lstm.files import expanded
from hpc_lstm.model.engines.forecaster_choice import AUTO
from hpc_lstm.parallel.world import World
from hpc_lstm.text.counts import counted

if TYPE_CHECKING:
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess.scaler import Scaler


def measure_run(
    run_dir: str | Path,
    store_path: str | Path | None,
    world: World,
    batch_size: int = BATCH_SIZE,
    *,
    boosting_s: float | None = None,
    trading: BacktestSettings | None = None,
    device: str = AUTO,
) -> Evaluation:
    """Measure a completed run's model; collective.

    On a store that holds the run's rows, and perhaps newer ones, the run's own validation and test are measured, and
    windows of newer rows as a part "new"; also where prices of the run's rows have been corrected, which is said. Any
    other store is split on the days on which the run was, or by its shares where the run split each symbol by itself.
    Each symbol is scaled as the run did; symbols that it has not scaled are left out and counted in the notes.

    Args:
        store_path: another market store; None: the run's own.
        boosting_s: compare with gradient boosting, too, and give it so many seconds.
        trading: backtest the forecasts of the test part, too.
        device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

    Returns:
        The measures; their metrics are the whole content of ``metrics.json``. With the run's own store, what training
        wrote besides (speed, ranks, engine) is kept. With another, one whose prices are no longer the run's, or one
        that has no window to measure, it is left out and ``store`` names the file: that is not to be written over the
        run's own metrics.

    Raises:
        InputError: the run is not complete or damaged; the store is damaged, lacks the run's columns or a
            symbol that the run's settings name, or has no symbol that the run has scaled.
    """
    from hpc_lstm.evaluation.overlap import first_train_day
    from hpc_lstm.evaluation.trained_run import on_fastest_device, open_run
    from hpc_lstm.market.staging import stage_store
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.preprocess import prepare
    from hpc_lstm.preprocess.host_backend import HostBackend
    from hpc_lstm.preprocess.recorded_split import recorded_split

    trained = world.raise_on_all(lambda: open_run(run_dir, world.threads))
    before = world.raise_on_all(lambda: read_metrics(trained.files) if trained.files.metrics.exists() else {})
    data = trained.config.data
    if store_path is not None:
        given = world.raise_on_all(lambda: expanded(store_path).absolute())
        data = data.model_copy(update={"store": str(given)})
    path = stage_store(data.store, world)
    with world.raise_on_all(lambda: MarketStore(path)) as store:
        symbols, cautions = world.raise_on_all(lambda: _known_symbols(store, data, trained.scaler))
        data = data.model_copy(update={"symbols": symbols, "shard": ""})
        found = compare_with_run(trained.files, store, world)
        growth = found.growth if found is not None else None
        known = growth.known if growth is not None else None
        cut = world.raise_on_all(lambda: recorded_split(trained.files, trained.config, store.date_unit))
        prepared = prepare.prepare(
            *(store, data, world, HostBackend(), trained.scaler),
            known=known,
            split_dates=cut,
            to_train=False,
        )
        work = evaluation_work(prepared, world, batch_size)
        trained = on_fastest_device(trained, work, world, device)
        evaluation = evaluate_outputs(
            *(trained.predict, trained.head, trained.intervals, prepared, world),
            batch_size=batch_size,
            date_unit=store.date_unit,
            boosting_s=boosting_s,
            trading=trading,
        )
        metrics = evaluation.metrics
        notes = []
        if growth is not None:
            notes = new_rows_note(growth, store.date_unit, metrics.get(NEW))
        elif parts_of(metrics):
            cautions += _seen_in_training(before, metrics)
        else:
            cautions += _seen_alone(before, first_train_day(store, prepared.index, world))
    changed = found.difference if found is not None else ""
    lost = parts_of(before) and not parts_of(metrics)
    if store_path is not None or changed or lost:
        metrics["store"] = data.store
    else:
        begins = _validation_begins(before)
        if begins is not None and begins != _validation_begins(metrics):
            metrics["validation_begins"] = begins
        metrics = {**{name: value for name, value in before.items() if name != NEW}, **metrics}
    if changed and (store_path is None or growth is not None):
        cautions.append(f"The store holds other prices than the run was trained on: {changed}.")
    if (changed or lost) and store_path is None:
        notes.append("The run's metrics.json stays as it is.")
    metrics["notes"] = evaluation.metrics["notes"] + cautions + notes
    return replace(evaluation, metrics=metrics, cautions=cautions)


def _known_symbols(store: MarketStore, data: DataConfig, scaler: Scaler) -> tuple[list[str], list[str]]:
    """Symbols to measure in order of the store, and a note on those left out."""
    if data.symbols == "all":
        chosen = list(store.symbols)
    else:
        chosen = [store.symbols[s] for s in sorted(store.symbol(name) for name in data.symbols)]
    scaled = set(scaler.symbols)
    known = [name for name in chosen if name in scaled]
    if not known:
        raise InputError(
            f"{store.path}: the run was trained on none of its {counted(len(chosen), 'symbol')} "
            f"({_some(chosen)}); it knows {_some(scaler.symbols)}"
        )
    left_out = [name for name in chosen if name not in scaled]
    if not left_out:
        return known, []
    return known, [f"Left out, not trained on: {counted(len(left_out), 'symbol')} ({_some(left_out)})."]


def _seen_in_training(before: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """A warning if windows of another store may have been trained on."""
    known = _validation_begins(before)
    found = [metrics[part]["first_date"] for part in PARTS if metrics[part]]
    if known is None or not found or min(found) >= known:
        return []
    return [
        f"Windows of this store begin at {min(found)}, before the run's own validation ({known}): the model "
        "may have been trained on some of them, and its metrics flatter it."
    ]


def _seen_alone(before: dict[str, Any], first: str | None) -> list[str]:
    """A warning if all windows of another store belong to the part that the run was trained on.

    Args:
        first: the first day of that part in the store; None: it has no window there.
    """
    known = _validation_begins(before)
    if known is None or first is None or first >= known:
        return []
    return [
        f"Windows of this store begin at {first}, before the run's own validation ({known}), and none comes after: "
        "the model may have been trained on some of them, and nothing is measured."
    ]


def _validation_begins(before: dict[str, Any]) -> str | None:
    """When the windows begin that the run was not trained on, as its ``metrics.json`` says."""
    # An evaluation after the run keeps the date under a name of its own: its windows may be others.
    known = before.get("validation_begins")
    return known or next((before[part]["first_date"] for part in PARTS if before.get(part)), None)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
