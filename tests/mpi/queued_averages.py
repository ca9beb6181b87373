"""Trains on CPUs as on GPUs with NCCL: ``queued_averages.py [--within] ARGUMENTS``, those of ``hpc-lstm``.

The C engine says that its steps are queued, and its weights are averaged by their address on a "stream", so that ranks
take further steps before they agree. ``--within``: the engine averages between the steps of a call.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from hpc_lstm import cli
from hpc_lstm.model.engines.native import NativeEngine
from hpc_lstm.parallel.averages_within import AveragesWithin
from hpc_lstm.parallel.world import World
from hpc_lstm.training import placement


class Copy:
    def __init__(self, values: np.ndarray) -> None:
        self.values, self.address, self.length = values, values.ctypes.data, len(values)

    def wait(self) -> None:
        raise AssertionError("what is queued is not waited for")


class Averaged:
    def wait(self) -> int:
        return 1000


class Vector:
    """The engine's weights."""

    stream = 7

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine

    def scaled(self, share: float) -> Copy:
        return Copy(self._engine.parameters() * np.float32(share))

    def assign(self, copy: Copy) -> Averaged:
        self._engine.set_parameters(copy.values)
        return Averaged()

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()


class Sum:
    """By MPI, of a vector at an address."""

    takes_stream = True

    def __init__(self, world: World, can_be_recorded: bool) -> None:
        self._world, self.can_be_recorded = world, can_be_recorded

    def allreduce_sum(self, address: int, length: int, stream: int | None = None) -> None:
        assert stream == Vector.stream
        start = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
        self._world.allreduce_sum(np.ctypeslib.as_array(start, (length,)))

    def close(self, *, failed: bool) -> None:
        pass


def vectors(engine: NativeEngine, *, moments: bool) -> list[Vector]:
    assert not moments
    return [Vector(engine)]


class Loss(float):
    """The loss of a call that has averaged ``averages`` times."""

    averages: int

    def wait(self) -> int:
        return 1000 * self.averages


own_step = NativeEngine.step


def step(
    engine: NativeEngine, inputs: Any, targets: Any, rates: Any, within: AveragesWithin | None = None
) -> Any:
    if within is None:
        return own_step(engine, inputs, targets, rates)
    assert len(inputs) % within.every == 0
    assert len(inputs) <= engine.steps_per_call
    losses = []
    for first in range(0, len(inputs), within.every):
        part = slice(first, first + within.every)
        losses.append(float(own_step(engine, inputs[part], targets[part], rates[part])))
        copy = Vector(engine).scaled(1 / within.ranks)
        within.allreduce_sum(copy.address, copy.length, Vector.stream)
        engine.set_parameters(copy.values)
    loss = Loss(np.mean(losses))
    loss.averages = len(losses)
    return loss


arguments = sys.argv[1:]
NativeEngine.averages_within_calls = arguments[0] == "--within"
NativeEngine.asynchronous = True
NativeEngine.step = step  # type: ignore[assignment, method-assign]
NativeEngine.device_vectors = vectors  # type: ignore[assignment, method-assign]
placement.create_device_allreduce = lambda _, world, *others: Sum(world, NativeEngine.averages_within_calls)
cli.main(arguments[NativeEngine.averages_within_calls :])
