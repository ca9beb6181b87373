"""Records of sweeps whose runs were simulated: what was put in is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpc_lstm.sweep.model import collectives
from hpc_lstm.sweep.model.simulation import Compute, Network
from hpc_lstm.sweep.records import busy_summary

ENVIRONMENT = {
    "versions": {"python": "3.11.0", "hpc-lstm": "0.1.0"},
    "system": "test",
    "mpi": "MPI 1; built for tests",
    "transport": "within one node",
    "threads": 1,
    "nodes": [{"node": "n1", "processor": "P", "cpus": 64, "cores": 64, "interfaces": []}],
    "ranks": [],
}


def record(
    ranks: int,
    repeat: int = 0,
    *,
    point: int = 0,
    axes: dict[str, Any] | None = None,
    rate: float = 100.0,
    shared: bool = False,
    cores: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A record with a speed given in samples a second."""
    seconds, batch, cycles = 8.0, 10, 16
    phases = {"preprocess": 0.5, "compute": 6.0, "average": 0.5, "wait": 1.0, "sync": 0.0}
    return {
        "name": f"p{point:04d}-r{repeat:02d}",
        "point": point,
        "repeat": repeat,
        "scaling": "weak",
        "ranks": ranks,
        "axes": axes or {},
        "batch_size": batch,
        "steps": cycles,
        "cycles": cycles,
        "interval": 1,
        "averaged_bytes": 4000,
        "samples": int(rate * seconds),
        "seconds": seconds,
        "samples_per_second": rate,
        "phase_seconds": phases,
        "place": {"kind": "cores", "used": cores or ranks, "shared": shared, "nodes": 1},
        "other_load": 0.0,
        "meeting_s": 0.0,
        "average_s": 0.0,
        "busy": busy_summary(np.full((ranks, cycles), seconds / cycles), np.ones(cycles, np.int64)),
        "config": {"average": {"every": 1, "transport": "host"}},
        "environment": ENVIRONMENT | {"ranks": [{"node": "n1", "gpu": "", "gpu_uuid": ""}] * ranks},
        **more,
    }


def simulated(
    compute: Compute,
    network: Network,
    averaged_bytes: int,
    ranks: int,
    generator: np.random.Generator,
    cycles: int = 200,
    **more: Any,
) -> dict[str, Any]:
    """A record of a run that was simulated message by message, as a measured one would be."""
    (one,) = simulated_repeats(compute, network, averaged_bytes, ranks, generator, cycles, [more])
    return one


def simulated_repeats(
    compute: Compute,
    network: Network,
    averaged_bytes: int,
    ranks: int,
    generator: np.random.Generator,
    cycles: int,
    repeats: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The same of several repeats, simulated side by side; each has the fields of its own."""
    busy = np.stack([compute.draw(generator, ranks, cycles) for _ in repeats])
    now, waits, averages = np.zeros((len(repeats), ranks)), np.zeros_like(busy), np.zeros_like(busy)
    for cycle in range(cycles):
        come = now + busy[..., cycle]
        met = collectives.arrivals("recursive-doubling", come, network.barrier_alpha_s, 0.0)
        now = collectives.arrivals(network.algorithm, met, network.alpha_s, averaged_bytes * network.byte_s)
        waits[..., cycle] = met - come
        averages[..., cycle] = now - met
    found = []
    for number, more in enumerate(repeats):
        one, seconds = record(ranks, **more), float(now[number].mean())
        found.append(
            one
            | {
                "cycles": cycles,
                "steps": cycles,
                "averaged_bytes": averaged_bytes,
                "seconds": seconds,
                "samples": cycles * one["batch_size"] * ranks,
                "samples_per_second": cycles * one["batch_size"] * ranks / seconds,
                "phase_seconds": one["phase_seconds"]
                | {
                    "preprocess": 0.0,
                    "compute": float(busy[number].mean()) * cycles,
                    "wait": float(waits[number].sum()) / ranks,
                    "average": float(averages[number].sum()) / ranks,
                },
                "meeting_s": float(waits[number].min(axis=0).mean()),
                "average_s": float(averages[number].mean()),
                "busy": busy_summary(busy[number], np.ones(busy[number].shape[1], np.int64)),
            }
        )
    return found
