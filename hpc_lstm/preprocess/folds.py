"""Walk-forward folds: blocks of days to test on, one after the other, each after all or the last days to train on.

The days are cut into ``count`` + 1 blocks of equal length, within one; the first is only trained on, each of the
others is tested on in turn (as scikit-learn's TimeSeriesSplit does). The last days before a test block are its
validation part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpc_lstm.config import DataConfig
from hpc_lstm.errors import InputError


@dataclass(frozen=True)
class Fold:
    """One fold; all days are texts such as "2012-01-31".

    Attributes:
        number: from 1.
        train_from: first day of a train target; "" in an expanding fold: the first there is.
        validation_from, test_from: first days of a validation and of a test target.
        until: last day of a test target.
    """

    number: int
    train_from: str
    validation_from: str
    test_from: str
    until: str

    def applied_to(self, data: DataConfig, embargo: int) -> DataConfig:
        """Settings that train and test on this fold."""
        changes = {
            "split": [self.validation_from, self.test_from],
            "split_by": "date",
            "embargo": embargo,
            "train_from": self.train_from,
            "until": self.until,
        }
        return DataConfig(**{**data.model_dump(), **changes})


def make_folds(days: np.ndarray, count: int, validation: float, *, embargo: int, rolling: int) -> list[Fold]:
    """The folds over some days.

    Args:
        days: datetime64[D], ascending, on which there is a target.
        count: folds.
        validation: share of the days before a test block that are its validation part.
        embargo: days left out at the end of train and of validation.
        rolling: train days of each fold, at most; 0: all there are.

    Raises:
        InputError: too few days.
    """
    first = len(days) // (count + 1)
    held = max(1, round(first * validation))
    if first - held - embargo < 1 or held <= embargo:
        raise InputError(
            f"--walk-forward {count}: {len(days)} days with a target make blocks of {first}, too short for train, "
            f"validation and an embargo of {embargo}; ask for fewer folds or a shorter embargo"
        )
    edges = [len(days) * block // (count + 1) for block in range(count + 2)]
    found = []
    for number in range(1, count + 1):
        test = edges[number]
        first_validated = test - max(1, round(test * validation))
        trained = first_validated - embargo
        begin = max(0, trained - rolling) if rolling else 0
        found.append(
            Fold(
                number=number,
                train_from=str(days[begin]) if begin else "",
                validation_from=str(days[first_validated]),
                test_from=str(days[test]),
                until=str(days[edges[number + 1] - 1]),
            )
        )
    return found
