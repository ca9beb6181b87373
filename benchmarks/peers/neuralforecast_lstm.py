"""neuralforecast's LSTM on a file of series, as ``forecast.py`` calls it: SERIES.csv OUTPUT.csv SEED.

It is trained on the train rows, stopped early on the validation rows, and forecasts every test row from the rows before
it, one day ahead, with the weekday and the day of the year known in advance. As in hpc_lstm's run there are 30 rows in,
32 units and one layer. Series are scaled as there, by each symbol's mean and deviation on the train rows: before the
test rows of the universe `ar`, that was better than neuralforecast's scaling of each window (``scaler_type``), whose
mean and deviation of 30 returns are mostly noise. Number of steps, batch and learning rate are its defaults; three
times the learning rate was no better. The quantile loss gives an interval of 90 %.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import LSTM

WINDOW, UNITS = 30, 32
SETTINGS = {
    "max_steps": 1000,
    "windows_batch_size": 128,
    "learning_rate": 1e-3,
    "val_check_steps": 50,
    "early_stop_patience_steps": 5,
    "scaler_type": "identity",
}


def forecast(frame: pd.DataFrame, seed: int, settings: dict[str, object]) -> pd.DataFrame:
    """The rows of the part "test" with the forecast median and the ends of the interval of the change.

    Args:
        frame: columns "unique_id", "ds", "y", "price" and "part", symbol by symbol in order of date.
        settings: of ``LSTM``, beside those that make it comparable.
    """
    # As hpc_lstm, without symbols that begin after the train days.
    learned = frame.loc[frame["part"] == "train", "unique_id"].unique()
    frame = frame[frame["unique_id"].isin(learned)].reset_index(drop=True)
    days, known = frame["ds"], []
    for name, angle in (("week", days.dt.weekday / 5), ("year", days.dt.dayofyear / 365.25)):
        for function in ("sin", "cos"):
            known.append(f"{function}_{name}")
            frame[known[-1]] = getattr(np, function)(2 * np.pi * angle)
    train = frame[frame["part"] == "train"].groupby("unique_id")["y"]
    mean, deviation = (frame["unique_id"].map(of) for of in (train.mean(), train.std()))
    scaled = frame[["unique_id", "ds", *known]].assign(y=(frame["y"] - mean) / deviation)
    # Rows follow each other: a day of the exchange without trading is none.
    scaled["ds"] = frame["row"] = frame.groupby("unique_id").cumcount()
    sizes = frame.groupby(["unique_id", "part"]).size().unstack(fill_value=0)
    model = LSTM(
        h=1,
        input_size=WINDOW,
        encoder_n_layers=1,
        encoder_hidden_size=UNITS,
        decoder_hidden_size=UNITS,
        futr_exog_list=known,
        loss=MQLoss(level=[90]),
        random_seed=seed,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        accelerator="cpu",
        **settings,
    )
    found = NeuralForecast(models=[model], freq=1).cross_validation(
        df=scaled,
        n_windows=None,
        step_size=1,
        val_size=int(sizes["validation"].max()),
        test_size=int(sizes["test"].max()),
        refit=False,
    )
    frame["last"] = frame.groupby("unique_id")["price"].shift(1)
    frame = frame.assign(mean=mean, deviation=deviation)[frame["part"] == "test"]
    joined = frame.merge(
        found, left_on=["unique_id", "row"], right_on=["unique_id", "ds"], suffixes=("", "_found")
    )
    for column, name in (("LSTM-median", "median"), ("LSTM-lo-90", "low"), ("LSTM-hi-90", "high")):
        joined[name] = joined["mean"] + joined["deviation"] * joined[column]
    return joined[["unique_id", "row", "last", "price", "median", "low", "high"]]


def main() -> None:
    torch.set_num_threads(1)
    source, output, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    forecast(pd.read_csv(source, parse_dates=["ds"]), seed, SETTINGS).to_csv(output, index=False)


if __name__ == "__main__":
    main()
