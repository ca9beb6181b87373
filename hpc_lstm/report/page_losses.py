"""The losses that a report's chart draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpc_lstm.arrays import distinct

# Points of a curve: more than a chart has pixels.
MAX_POINTS = 2000


def loss_curves(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Curves of epochs and losses: ``train``, ``means`` of each epoch, ``validation``; and how to scale the axis."""
    train = points(entries, "train", "loss")
    validation = points(entries, "validation", "loss")
    means = epoch_means(train)
    losses = np.concatenate([means[1], validation[1]])
    positive = len(losses) > 0 and losses.min() > 0
    return {
        "train": thinned(train).tolist(),
        "means": means.tolist(),
        "validation": validation.tolist(),
        "epochs": math.ceil(max([*train[0], *validation[0]], default=0)),
        "logarithmic": bool(positive and losses.max() / losses.min() > 20),
    }


def points(entries: Sequence[Mapping[str, Any]], kind: str, value: str) -> np.ndarray:
    """float64 [2, n]: epochs and finite values of the entries of a kind."""
    found = [
        (e["epoch"], e[value])
        for e in entries
        if e["kind"] == kind and e.get("epoch") is not None and e.get(value) is not None
    ]
    return np.array(found, np.float64).reshape(-1, 2).T


def epoch_means(train: np.ndarray) -> np.ndarray:
    """float64 [2, n]: the end of each epoch, and its mean loss: points weigh by the steps that they stand for."""
    epochs, losses = train
    if not len(epochs):
        return np.empty((2, 0))
    weights = np.maximum(np.diff(epochs, prepend=0.0), 1e-12)
    number = np.maximum(
        np.ceil(epochs - 1e-9).astype(np.int64), 1
    )  # the point at the end of epoch 1 belongs to it
    ends = distinct(number)
    means = [np.average(losses[number == end], weights=weights[number == end]) for end in ends]
    return np.array([np.minimum(ends, epochs[-1]), means])


def thinned(curve: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """A curve float64 [2, n] with at most so many points, each the mean of those that it stands for."""
    if curve.shape[1] <= most:
        return curve
    blocks = np.array_split(np.arange(curve.shape[1]), most)
    return np.array([[column[block].mean() for block in blocks] for column in curve])
