"""Measures some runs of a sweep, one after the other, in one set of MPI processes.

    mpiexec -n 2 python -m hpc_lstm.sweep.worker TASKS.json

TASKS.json holds the runs and where their records go. A run whose record is there is left out, so that the same tasks
may be started again after an interruption. A run whose settings are refused leaves the others be: its error is told,
and the exit code is 2 at the end.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from hpc_lstm import config as configuration
from hpc_lstm.errors import HpcLstmError, InputError
from hpc_lstm.files import write_text
from hpc_lstm.parallel.world import World, connect
from hpc_lstm.runs import directory
from hpc_lstm.sweep import environment, records
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep.measure import measure


def work(world: World, tasks: dict[str, Any]) -> None:
    """Take the runs of ``tasks`` in turn; collective.

    Args:
        tasks: ``folder``, the sweep's; ``deadline``, seconds since 1970 after which no run is begun, or None;
            ``runs``, see ``runner.task``.

    Raises:
        InputError: runs whose settings were refused: the first one's error.
    """
    folder = records.SweepFolder(Path(tasks["folder"]))
    refused: list[str] = []
    for number, task in enumerate(tasks["runs"]):
        if _skip(world, folder, task, tasks["deadline"] if number else None):
            continue
        try:
            _measure(world, folder, task)
        except InputError as error:
            if world.size > 1 and not error.on_all_ranks:
                raise
            refused.append(f"{task['name']}: {error}")
    if refused:
        others = f" (and {len(refused) - 1} more runs)" if len(refused) > 1 else ""
        raise world.on_all_ranks(InputError(refused[0] + others))


def _skip(world: World, folder: records.SweepFolder, task: dict[str, Any], deadline: float | None) -> bool:
    """One rank looks for all: they must take the same runs."""
    late = deadline is not None and time.time() > deadline
    return world.bcast(late or folder.record(task["name"]).exists())


def _measure(world: World, folder: records.SweepFolder, task: dict[str, Any]) -> None:
    from hpc_lstm.training.loop import train

    run = directory.at(folder.path / "runs" / task["name"])
    if world.rank == 0:
        shutil.rmtree(run.path, ignore_errors=True)  # of a start that was cut off
    world.barrier()
    config = configuration.parse(task["config"], task["name"])
    load = environment.OtherLoad(world)
    train(config, run, world)
    others = load.share()
    place = environment.describe(world, config.train.threads)

    def keep() -> None:
        if world.rank == 0:
            measured = measure(
                run.path,
                task["warmup"],
                task["steps"],
                planning.averaging_interval(config),
                averages=planning.averages_throughout(config),
            )
            metrics = json.loads(run.metrics.read_text())
            record = records.record_of(
                task,
                measured,
                place,
                parameters=_parameters(config),
                engine=metrics["engine"],
                other_load=others,
            )
            write_text(folder.record(task["name"]), json.dumps(record) + "\n")
            shutil.rmtree(run.path, ignore_errors=True)

    world.raise_on_all(keep)
    gc.collect()  # the network and the data of this run, before the next ones come


def _parameters(config: configuration.RunConfig) -> int:
    from hpc_lstm.model.parameters import network_schema

    return network_schema(config.model, len(config.data.features)).length


def main() -> None:
    """The work of one rank; ends like ``hpc-lstm``: one line on stderr and an exit code."""
    world = connect()
    try:
        with world.abort_on_error():
            work(world, world.raise_on_all(lambda: json.loads(Path(sys.argv[1]).read_text())))
    except HpcLstmError as error:
        if not error.quiet:
            sys.stderr.write(f"hpc-lstm: error: {' '.join(str(error).split())}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
