"""The baselines there are, in the order of tables.

To add one: a file with a subclass of ``Baseline``, a line here, and a line in docs/metrics.md.
"""

from __future__ import annotations

from hpc_lstm.evaluation.baselines.autoregression import Autoregression
from hpc_lstm.evaluation.baselines.baseline import Baseline
from hpc_lstm.evaluation.baselines.drift import Drift
from hpc_lstm.evaluation.baselines.exponential_smoothing import ExponentialSmoothing
from hpc_lstm.evaluation.baselines.historical_mean import HistoricalMean
from hpc_lstm.evaluation.baselines.persistence import Persistence
from hpc_lstm.evaluation.baselines.seasonal_naive import SeasonalNaive

BASELINES: tuple[Baseline, ...] = (
    Persistence(),
    Drift(),
    SeasonalNaive(),
    HistoricalMean(),
    Autoregression(),
    ExponentialSmoothing(),
)

# Forecasts that only some tables have: of boosted trees where they were asked for, and the best that there can be, of
# synthetic prices.
BOOSTING = "gradient-boosting"
ORACLE = "oracle"
# The rows of a table of metrics: the model, then what it is compared with.
METHODS = ("model", *(baseline.name for baseline in BASELINES), BOOSTING, ORACLE)
