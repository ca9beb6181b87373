"""The forecasts that a report's charts draw: of as many symbols as fit into the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpc_lstm.clusters.run_owner import require
from hpc_lstm.errors import InputError
from hpc_lstm.evaluation.evaluate import BATCH_SIZE
from hpc_lstm.evaluation.metrics_file import PARTS, read_metrics
from hpc_lstm.evaluation.trained_run import on_fastest_device, open_run
from hpc_lstm.model.engines.forecaster_choice import AUTO, Workload
from hpc_lstm.parallel.world import World
from hpc_lstm.report.series import ForecastSeries, forecast_series, persistence_loss
from hpc_lstm.runs.directory import RunDirectory

# Bytes of base64 that the forecasts may take: with everything else the page stays below 2 MB.
MAX_BYTES = 1_300_000
# Symbols that are tried at most: each takes a few hundredths of a second.
MAX_SYMBOLS = 400
# Symbols on which persistence's loss is computed: all validation windows are read for it.
MAX_LOSS_SYMBOLS = 200


@dataclass
class PageForecast:
    """The forecasts of a page.

    Attributes:
        part: of the windows.
        column: what is forecast.
        horizon: rows ahead.
        coverage: share of targets that the intervals are to contain.
        daily: the dates are days.
        symbols: by name, base64 of little-endian arrays: ``dates`` float64, seconds since 1970; ``actual``, ``model``,
            ``last`` and, where there are intervals, their ends ``lower`` and ``upper`` float32.
        notes: sentences on what was left out.
        persistence_loss: persistence's loss on validation; None: not known.
    """

    part: str
    column: str = ""
    horizon: int = 0
    coverage: float = 0.0
    daily: bool = True
    symbols: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    persistence_loss: float | None = None

    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "part": self.part,
            "column": self.column,
            "daily": self.daily,
            "interval": f"{self.coverage:.0%}",
            "symbols": self.symbols,
        }


def collect_forecasts(run: RunDirectory, symbols: Sequence[str] = (), device: str = AUTO) -> PageForecast:
    """Forecast the test part, or validation without one.

    Args:
        symbols: those to show; none: all, as far as they fit.
        device: "cpu" or "gpu", to forecast on; "auto": where the forecasts are done first.

    Raises:
        InputError: the run was not completed, its store is missing, or a named symbol has no windows in the part.
    """
    for path in (run.model, run.scaler):
        require(run, path)
    trained = open_run(run.path)
    metrics = read_metrics(run)
    part = next((p for p in reversed(PARTS) if metrics.get(p)), "test")
    page = PageForecast(part)
    if len(trained.scaler.symbols) <= MAX_LOSS_SYMBOLS:
        page.persistence_loss = persistence_loss(trained)
    every = trained.scaler.symbols
    names = list(symbols) or every
    windows = (metrics.get(part) or {}).get("windows") or 0
    shown = windows * min(len(names), MAX_SYMBOLS) // max(1, len(every))
    trained = on_fastest_device(trained, Workload(shown, BATCH_SIZE), World(), device)
    room, full = MAX_BYTES, False
    problem = InputError(f"{run.path}: has no symbols")
    for name in names[: None if symbols else MAX_SYMBOLS]:
        try:
            series = forecast_series(trained, name, part)
        except InputError as error:  # it has no windows in the part, or nothing can be read
            if symbols:
                raise
            problem = error
            continue
        packed = _packed(series, room)
        if packed is None:
            full = True
            break
        page.symbols[name] = packed
        page.column, page.horizon, page.coverage = series.column, series.horizon, series.coverage
        page.daily = page.daily and series.dates.dtype == np.dtype("datetime64[D]")
        room -= sum(map(len, packed.values()))
    if not page.symbols:
        raise problem
    if full or len(names) > MAX_SYMBOLS:
        page.notes.append(
            f"The charts have {len(page.symbols):,} of {len(names):,} symbols; "
            "`hpc-lstm report RUN_DIR --symbol NAME` chooses others."
        )
    return page


def _packed(series: ForecastSeries, room: int) -> dict[str, str] | None:
    """The arrays of a symbol, only the newest of them if they alone are too long for a page; None without room."""
    columns = {"actual": series.actual, "model": series.model, "last": series.persistence}
    if np.isfinite(series.lower).any():
        columns |= {"lower": series.lower, "upper": series.upper}
    width = (8 + len(columns) * 4) * 4 / 3  # bytes of base64 for a target
    most = int(MAX_BYTES / width)
    if len(series.dates[-most:]) * width > room:
        return None
    seconds = series.dates[-most:].astype("datetime64[ns]").astype(np.int64) / 1e9
    arrays = {"dates": seconds.astype("<f8")}
    arrays |= {name: values[-most:].astype("<f4") for name, values in columns.items()}
    return {name: base64.b64encode(values.tobytes()).decode() for name, values in arrays.items()}
