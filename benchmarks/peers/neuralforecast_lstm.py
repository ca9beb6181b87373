"""neuralforecast's LSTM on a file of series, as ``forecast.py`` calls it: SERIES.csv OUTPUT.csv SEED.

It is trained on the train rows, stopped early on the validation rows, and forecasts every test row from the rows before
it, one day ahead, with the weekday and the day of the year known in advance. The settings are neuralforecast's defaults
but for what makes them comparable: 30 rows in, 32 units, one layer, at most as many passes over the data, the quantile
loss for an interval of 90 %, scaling per window.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import LSTM

WINDOW, UNITS, EPOCHS, BATCH = 30, 32, 30, 64


def main() -> None:
    source, output, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    frame = pd.read_csv(source, parse_dates=["ds"])
    days = frame["ds"]
    known = []
    for name, angle in (("week", days.dt.weekday / 5), ("year", days.dt.dayofyear / 365.25)):
        for function in ("sin", "cos"):
            known.append(f"{function}_{name}")
            frame[known[-1]] = getattr(np, function)(2 * np.pi * angle)
    sizes = frame.groupby(["unique_id", "part"]).size().unstack(fill_value=0)
    validation, test = int(sizes["validation"].max()), int(sizes["test"].max())
    # A step of neuralforecast takes the windows of a batch of series.
    steps = EPOCHS * int(sizes["train"].sum()) // (BATCH * 16)
    model = LSTM(
        h=1,
        input_size=WINDOW,
        encoder_n_layers=1,
        encoder_hidden_size=UNITS,
        decoder_hidden_size=UNITS,
        futr_exog_list=known,
        loss=MQLoss(level=[90]),
        max_steps=steps,
        val_check_steps=max(1, steps // 30),
        early_stop_patience_steps=5,
        windows_batch_size=BATCH * 16,
        scaler_type="standard",
        random_seed=seed,
        enable_progress_bar=False,
        logger=False,
        accelerator="cpu",
    )
    forecaster = NeuralForecast(models=[model], freq="B")
    columns = ["unique_id", "ds", "y", *known]
    # Rows follow each other: a day of the exchange without trading is none.
    numbered = frame[columns].copy()
    numbered["ds"] = frame.groupby("unique_id").cumcount()
    forecaster.freq = 1
    found = forecaster.cross_validation(
        df=numbered, n_windows=None, step_size=1, val_size=validation, test_size=test, refit=False
    )
    frame["row"], frame["last"] = numbered["ds"], frame.groupby("unique_id")["price"].shift(1)
    joined = frame[frame["part"] == "test"].merge(
        found, left_on=["unique_id", "row"], right_on=["unique_id", "ds"], suffixes=("", "_found")
    )
    named = {"LSTM-median": "median", "LSTM-lo-90": "low", "LSTM-hi-90": "high"}
    joined = joined.rename(columns=named)
    joined[["unique_id", "row", "last", "price", "median", "low", "high"]].to_csv(output, index=False)


if __name__ == "__main__":
    main()
