"""MLflow: a run on its tracking server, or in a folder.

Where that is, and the experiment, is told by MLflow's own variables, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hpc_lstm.errors import InputError
from hpc_lstm.runs.directory import RunDirectory
from hpc_lstm.runs.loggers.background import BackgroundLogger, Point
from hpc_lstm.runs.loggers.reason import reason_of
from hpc_lstm.runs.loggers.remembered import remember_id, remembered_id

PACKAGE = "mlflow"
EXPERIMENT = "hpc_lstm"
# What a server takes in one request, and the longest value of a parameter.
MOST_METRICS, MOST_PARAMETERS, LONGEST_VALUE = 1000, 100, 500


class MlflowSink:
    """One run on a tracking server.

    Args:
        client: an ``MlflowClient``.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def send(self, points: list[Point]) -> None:
        """Log the points as metrics."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(point.time_s * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[start : start + MOST_METRICS])

    def finish(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


def open_logger(run: RunDirectory, settings: Mapping[str, Any]) -> BackgroundLogger:
    """Create a run with the settings as parameters, or reopen that of the run directory.

    Raises:
        InputError: the tracking server does not answer, or refuses.
    """
    # MLflow's own default is minutes of retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        from mlflow import MlflowClient

        client = MlflowClient()
        run_id = _reopened(client, remembered_id(run, "mlflow")) or _created(client, run.name, settings)
    except Exception as error:  # of MLflow, its server, or the library that asks it
        raise InputError(
            f"mlflow: {reason_of(error)}; set MLFLOW_TRACKING_URI to a tracking server that answers, or take mlflow "
            "out of train.loggers"
        ) from None
    remember_id(run, "mlflow", run_id)
    return BackgroundLogger("mlflow", MlflowSink(client, run_id))


def _reopened(client: Any, run_id: str) -> str:
    """The id, if the server still has the run, which is then running again; else ""."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return ""
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return ""
        raise
    return run_id


def _created(client: Any, name: str, settings: Mapping[str, Any]) -> str:
    from mlflow.entities import Param

    wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    experiment = client.get_experiment_by_name(wanted)
    number = client.create_experiment(wanted) if experiment is None else experiment.experiment_id
    run_id: str = client.create_run(number, run_name=name).info.run_id
    parameters = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in settings.items()]
    for start in range(0, len(parameters), MOST_PARAMETERS):
        client.log_batch(run_id, params=parameters[start : start + MOST_PARAMETERS])
    return run_id
