"""Trials that learn from those before them: the tree-structured Parzen estimator of Optuna.

Bergstra, Bardenet, Bengio and Kegl 2011, "Algorithms for hyper-parameter optimization"; Akiba et al. 2019, "Optuna".
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hpc_lstm.errors import InputError
from hpc_lstm.tuning.settings import TuneConfig
from hpc_lstm.tuning.trials import Trial

# Of a space that holds few settings, most suggestions are old: after so many in a row there is nothing new.
MOST_REPEATED = 50


def suggest(tune: TuneConfig, done: Sequence[Trial], count: int) -> list[dict[str, Any]]:
    """The settings of the next trials, by ``section.key``; the same for the same file and the same trials before.

    Args:
        done: all trials so far, in order; those that failed are the worst.
        count: how many are wanted; there are fewer where the space holds no more that are new.

    Raises:
        InputError: Optuna is not installed.
    """
    optuna = load_optuna()
    space = {key: _distribution(values, optuna.distributions) for key, values in tune.space.items()}
    seed = int(np.random.default_rng([tune.tune.seed, len(done)]).integers(2**32))
    found: list[dict[str, Any]] = []
    with _quiet(optuna):
        # Trials that are under way count as bad ones, so that those side by side are not all alike.
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
        for trial in done:
            params = {key: _to_optuna(tune.space[key], value) for key, value in trial.values.items()}
            error = math.inf if trial.error is None else trial.error
            study.add_trial(optuna.trial.create_trial(value=error, params=params, distributions=space))
        known, repeated = [trial.values for trial in done], 0
        while len(found) < count and repeated < MOST_REPEATED:
            asked = study.ask(space)
            values = {key: _from_optuna(tune.space[key], asked.params[key]) for key in tune.space}
            if values in known:
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
                repeated += 1
            else:
                known.append(values)
                found.append(values)
    return found


def load_optuna() -> Any:
    """The module ``optuna``.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError(
            'tune.search = "tpe" needs Optuna: pip install "hpc-lstm[tune]", or search = "random"'
        ) from None
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without what Optuna says of studies, and that ``constant_liar`` is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distribution(values: Any, distributions: Any) -> Any:
    """What Optuna calls a list, whose places it draws, or a range."""
    if isinstance(values, list):
        return distributions.CategoricalDistribution(range(len(values)))
    low, high, log = values["low"], values["high"], values.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return distributions.IntDistribution(low, high, log=log)
    return distributions.FloatDistribution(low, high, log=log)


def _to_optuna(values: Any, value: Any) -> Any:
    return values.index(value) if isinstance(values, list) else value


def _from_optuna(values: Any, drawn: Any) -> Any:
    """One of the list; or the number, with as many digits as a random draw has, inside its range."""
    if isinstance(values, list):
        return values[drawn]
    if isinstance(drawn, int):
        return drawn
    return min(max(float(f"{drawn:.6g}"), values["low"]), values["high"])
