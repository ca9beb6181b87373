"""The baselines there are, in the order of tables.

To add one: a file with what ``Baseline`` asks for, a line here, and a line in docs/metrics.md.
"""

from __future__ import annotations

from hpc_lstm.evaluation.baselines.baseline import Baseline
from hpc_lstm.evaluation.baselines.drift import Drift
from hpc_lstm.evaluation.baselines.persistence import Persistence
from hpc_lstm.evaluation.baselines.seasonal_naive import SeasonalNaive

BASELINES: tuple[Baseline, ...] = (Persistence(), Drift(), SeasonalNaive())

# The rows of a table of metrics: the model, then the baselines.
METHODS = ("model", *(baseline.name for baseline in BASELINES))
