"""The network in NumPy and float64, as in a textbook: what every engine computes, and what they are tested against.

Slow, and written to be read. Shapes: B windows of T rows and F features, layers of U units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.model.losses.loss import Loss
from hpc_lstm.model.parameters import Schema

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
MASK_BITS = 24
MAX_LAYERS = 16


def threefry(key: tuple[int, int], counter: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32-20, after Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011)."""
    keys = [np.uint32(k) for k in (*key, PARITY ^ key[0] ^ key[1])]
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for round_ in range(20):
        x = x + y
        by = np.uint32(ROTATIONS[round_ % 8])
        y = (y << by | y >> (np.uint32(32) - by)) ^ x
        if round_ % 4 == 3:
            group = round_ // 4 + 1
            x, y = x + keys[group % 3], y + keys[(group + 1) % 3] + np.uint32(group)
    return x, y


def masks(key: tuple[int, int], rate: float, layer: int, windows: int, rows: int, units: int) -> np.ndarray:
    """Dropout masks of one layer in one step, [T, B, U]: 0, or 1 / (1 - rate).

    Two rows share a counter, one for each of the two numbers drawn.

    Args:
        key: the run's key, and the number of the step.
        rate: share that is dropped.
        layer: from 0.
    """
    pairs = np.arange((rows + 1) // 2, dtype=np.uint32)[:, None, None]
    x = pairs * np.uint32(units) + np.arange(units, dtype=np.uint32)
    y = np.arange(windows, dtype=np.uint32)[None, :, None] * np.uint32(MAX_LAYERS) + np.uint32(layer)
    shape = (len(pairs), windows, units)
    drawn = np.stack(threefry(key, (np.broadcast_to(x, shape), np.broadcast_to(y, shape))), 1)
    drawn = drawn.reshape(-1, windows, units)[:rows] >> np.uint32(32 - MASK_BITS)
    return np.where(drawn >= int(np.float32(rate) * 2**MASK_BITS), 1 / (1 - rate), 0)


def forecasts(flat: np.ndarray, arrays: Schema, inputs: np.ndarray) -> np.ndarray:
    """Outputs [B, O] of windows [B, T, F], without dropout.

    Args:
        flat: weights [P] in the order of ``arrays``.
    """
    layers = (len(arrays.names) - 2) // 3
    return _forward(flat, arrays, inputs, [np.ones(())] * layers)[0]


def loss_and_gradient(
    flat: np.ndarray,
    arrays: Schema,
    inputs: np.ndarray,
    targets: np.ndarray,
    drops: list[np.ndarray],
    loss: Loss,
) -> tuple[float, np.ndarray]:
    """The mean loss of a batch and its gradient [P], by back-propagation.

    Args:
        flat: weights [P] in the order of ``arrays``.
        inputs: [B, T, F].
        targets: [B, K].
        drops: each layer's dropout masks [T, B, U].
        loss: of the K targets, whose outputs follow each other.
    """
    weights, batch = arrays.unflatten(flat.astype(np.float64)), len(inputs)
    outputs, values, traces = _forward(flat, arrays, inputs, drops)
    by_target = outputs.reshape(*targets.shape, loss.outputs)
    change = loss.gradient(by_target, targets.astype(np.float64)).reshape(outputs.shape) / targets.size
    gradients = [values[-1].T @ change, change.sum(0)]
    asked = np.zeros_like(values)
    asked[-1] = change @ weights[-2].T
    for layer in reversed(range(len(drops))):
        kernel, recurrent, bias = weights[3 * layer : 3 * layer + 3]
        sums = [np.zeros_like(array) for array in (kernel, recurrent, bias)]
        dh = dc = np.zeros((batch, len(recurrent)))
        asked = asked * drops[layer]
        below = []
        for t in reversed(range(len(asked))):
            x, (c_before, h_before), i, f, n, o, c, _ = traces[layer][t]
            dh = dh + asked[t]
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            gates = [dc * n * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - n**2)]
            dgates = np.concatenate([*gates, dh * np.tanh(c) * o * (1 - o)], 1)
            for total, part in zip(sums, (x.T @ dgates, h_before.T @ dgates, dgates.sum(0)), strict=True):
                total += part
            below.append(dgates @ kernel.T)
            dh, dc = dgates @ recurrent.T, dc * f
        asked = np.stack(below[::-1])
        gradients = [*sums, *gradients]
    losses = loss.values(np, by_target, targets)
    return float(np.mean(losses)), np.concatenate([g.ravel() for g in gradients])


# Of one row of one layer: x, (c, h) of the row before, gates i, f, n (the candidate), o, then c and h.
Trace = tuple[Any, ...]


def _forward(
    flat: np.ndarray, arrays: Schema, inputs: np.ndarray, drops: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[list[Trace]]]:
    """Outputs [B, O], the last layer's outputs after dropout [T, B, U], and all layers' values by row."""
    weights = arrays.unflatten(flat.astype(np.float64))
    values, batch = inputs.astype(np.float64).transpose(1, 0, 2), len(inputs)
    traces = []
    for layer, mask in enumerate(drops):
        kernel, recurrent, bias = weights[3 * layer : 3 * layer + 3]
        h = c = np.zeros((batch, len(recurrent)))
        trace: list[Trace] = []
        for x in values:
            i, f, n, o = np.split(x @ kernel + h @ recurrent + bias, 4, 1)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            n = np.tanh(n)
            before = c, h
            c = f * c + i * n
            h = o * np.tanh(c)
            trace.append((x, before, i, f, n, o, c, h))
        values = np.stack([step[-1] for step in trace]) * mask
        traces.append(trace)
    return values[-1] @ weights[-2] + weights[-1], values, traces
