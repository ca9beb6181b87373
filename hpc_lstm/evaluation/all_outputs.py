"""What a model is worth: each output from which a price follows beside the baselines, and each as a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.backtest import BacktestSettings
from hpc_lstm.evaluation.dates import date_text
from hpc_lstm.evaluation.evaluate import BATCH_SIZE, Evaluation, IntervalForecast, evaluate, no_part_note
from hpc_lstm.evaluation.intervals import Intervals, constant_targets
from hpc_lstm.evaluation.metrics_file import FORMAT, NEW, PARTS, VERSION
from hpc_lstm.evaluation.output_metrics import output_metrics
from hpc_lstm.evaluation.window_forecasts import Predict, RememberedOutputs, WindowForecast
from hpc_lstm.features.columns import ModelColumns
from hpc_lstm.features.feature import PRICED
from hpc_lstm.model.engines.forecaster_choice import Workload
from hpc_lstm.model.engines.head import Head
from hpc_lstm.parallel.world import World

if TYPE_CHECKING:
    from hpc_lstm.preprocess.prepare import Prepared
    from hpc_lstm.preprocess.windows import Windows


def evaluate_outputs(
    predict: Predict,
    head: Head,
    intervals: Intervals,
    prepared: Prepared,
    world: World,
    *,
    batch_size: int = BATCH_SIZE,
    date_unit: str = "D",
    boosting_s: float | None = None,
    trading: BacktestSettings | None = None,
    parts: Sequence[str] = (*PARTS, NEW),
) -> Evaluation:
    """Measure all outputs of a model on validation, test and, if there are any, new rows; collective.

    The tables of a part are those of the first output from which a price follows. Where there are several, the others'
    are in ``by_output``.

    Args:
        predict: scaled inputs float32 [B, window, features] to outputs float32 [B, O].
        batch_size, date_unit, boosting_s, trading, parts: as for ``evaluate``; gradient boosting and the backtest are
            of the first priced output.

    Returns:
        The same on every rank.

    Raises:
        InputError: as for ``evaluate``; gradient boosting or a backtest was asked for, and no output is priced.
    """
    columns = prepared.columns
    priced = priced_outputs(columns)
    if not priced and not (boosting_s is None and trading is None):
        names = ", ".join(dict.fromkeys(target.name for target in columns.targets))
        raise world.on_all_ranks(
            InputError(f"--gradient-boosting, --backtest: no price follows from {names}; leave them out")
        )
    outputs = RememberedOutputs(predict)
    measured = [
        evaluate(
            _of_windows(outputs, head, output),
            prepared.of_output(output),
            world,
            batch_size=batch_size,
            date_unit=date_unit,
            boosting_s=boosting_s if output == priced[0] else None,
            trading=trading if output == priced[0] else None,
            interval=_intervals_of_windows(outputs, head, intervals, prepared, output),
            parts=parts,
        )
        for output in priced
    ]
    found = measured[0] if measured else _without_prices(prepared, world, date_unit, parts)
    metrics = found.metrics
    if len(priced) > 1:
        metrics["by_output"] = [
            {
                "target": columns.targets[output].name,
                "horizon": columns.targets[output].horizon,
                **{part: dict(of.metrics[part]) for part in (*PARTS, NEW) if of.metrics.get(part)},
            }
            for output, of in zip(priced, measured, strict=True)
        ]
    for part in (*PARTS, NEW):
        if metrics.get(part):
            windows = prepared.validation if part == "validation" else prepared.load_windows(part)
            metrics[part]["outputs"] = output_metrics(
                outputs, head, prepared, windows, intervals, world, batch_size
            )
    return found


def evaluation_work(prepared: Prepared, world: World, batch_size: int = BATCH_SIZE) -> Workload:
    """What ``evaluate_outputs`` has each rank forecast: each window once."""
    windows = sum(prepared.index.total(part) for part in (*PARTS, NEW))
    return Workload(-(-windows // world.size), batch_size, world.threads)


def priced_outputs(columns: ModelColumns) -> list[int]:
    """Indices of the targets from which a price follows."""
    return [o for o, target in enumerate(columns.targets) if target.transform.unit in PRICED]


def point_forecasts(head: Head, outputs: np.ndarray, output: int) -> np.ndarray:
    """The scaled point forecasts [B] of one output's target, from a network's outputs [B, O]."""
    return head.loss.point(head.by_target(outputs))[:, output]


def _of_windows(outputs: WindowForecast, head: Head, output: int) -> WindowForecast:
    return lambda windows, numbers: point_forecasts(head, outputs(windows, numbers), output)


def _intervals_of_windows(
    outputs: WindowForecast, head: Head, intervals: Intervals, prepared: Prepared, output: int
) -> IntervalForecast | None:
    """Windows to the scaled ends [B] of one output's intervals; None: it has none."""
    if not intervals.known(head, output):
        return None

    def ends(windows: Windows, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        constant = constant_targets(prepared.scaler, prepared.columns, windows.symbols(numbers))
        low, high = intervals.of(head, outputs(windows, numbers), constant)
        return low[:, output], high[:, output]

    return ends


def _without_prices(prepared: Prepared, world: World, date_unit: str, parts: Sequence[str]) -> Evaluation:
    """What is known of a model from which no prices follow: on how many windows it is measured."""
    metrics: dict[str, Any] = {"format": FORMAT, "version": VERSION, "per_symbol": {}, "notes": []}
    for part in (*PARTS, NEW):
        if part not in parts:
            if part != NEW:
                metrics[part] = None
            continue
        total = prepared.index.total(part)
        if not total:
            if part != NEW:
                metrics[part] = None
                metrics["notes"].append(no_part_note(part))
            continue
        windows = prepared.validation if part == "validation" else prepared.load_windows(part)
        dates = windows.prices(np.arange(len(windows), dtype=np.int64))
        own = np.unique(dates.date)
        symbols = np.unique(np.concatenate(world.allgather(np.unique(dates.symbol))))
        first, last = (int(date) for date in np.unique(np.concatenate(world.allgather(own)))[[0, -1]])
        metrics[part] = {
            "windows": total,
            "symbols": len(symbols),
            "first_date": date_text(first, date_unit),
            "last_date": date_text(last, date_unit),
            "verdict": f"On {part} no price follows from {prepared.columns.target.name}: see its own metrics.",
        }
    return Evaluation(metrics, {}, prepared.scaler.symbols)
