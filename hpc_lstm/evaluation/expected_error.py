"""The error to expect of a forecast, from the metrics of the run."""

from __future__ import annotations

from typing import Any

from hpc_lstm.errors import damage_in
from hpc_lstm.evaluation.metrics_file import ADVICE
from hpc_lstm.runs.directory import RunDirectory


def expected_error(
    files: RunDirectory, metrics: dict[str, Any] | None, symbol: str, price: float
) -> tuple[float, list[str], list[str]]:
    """Typical error of one step in price units, a note on its source, and the verdict on the model.

    Args:
        metrics: what the run's ``metrics.json`` holds; None: there is none yet.

    Raises:
        InputError: that file is damaged.
    """
    if metrics is None:
        return float("nan"), ["+/-: not known before the run has metrics."], []
    with damage_in(files.metrics, ADVICE):
        return _error_of(metrics, symbol, price)


def _error_of(metrics: dict[str, Any], symbol: str, price: float) -> tuple[float, list[str], list[str]]:
    """The same from the content of ``metrics.json``."""
    how = "times the square root of the step"
    for part in ("test", "validation"):
        if not metrics.get(part):
            continue
        own = metrics.get("per_symbol", {}).get(symbol, {}).get(part)
        if own and own["model"]["rmse"] is not None:
            return (
                own["model"]["rmse"],
                [f"+/-: RMSE of {symbol} on {part}, {how}."],
                [metrics[part]["verdict"]],
            )
        relative = metrics[part]["model"]["mape"]
        if relative is not None:
            note = f"+/-: mean percentage error of all symbols on {part} ({relative:.2f}%), {how}."
            return price * relative / 100, [note], [metrics[part]["verdict"]]
    return float("nan"), ["+/-: not known: the run's metrics have neither test nor validation."], []
