"""Measures some runs of a sweep, one after the other, in one set of MPI processes.

    mpiexec -n 2 python -m hpc_lstm.sweep.worker TASKS.json

TASKS.json lists the runs and names the sweep's folder. A run that has a record is skipped, so that the same tasks may
be started again after an interruption. A run whose settings are refused does not stop the others: the reason is
written to the sweep's folder, and the exit code is 2 at the end.
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
from hpc_lstm.errors import HpcLstmError, InputError, StopRequested
from hpc_lstm.files import write_text
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.starter import follow_starter
from hpc_lstm.parallel.streams import prepare_streams, tell
from hpc_lstm.parallel.world import World
from hpc_lstm.runs import directory
from hpc_lstm.sweep import environment, records
from hpc_lstm.sweep import plan as planning
from hpc_lstm.sweep.measure import measure


def run_tasks(world: World, tasks: dict[str, Any]) -> None:
    """Measure the runs of ``tasks`` in turn; collective.

    Args:
        tasks: ``folder``, the sweep's; ``deadline``, Unix time in seconds after which no run is started, or None;
            ``runs``, see ``runner.make_task``.

    Raises:
        InputError: runs whose settings were refused: the first one's error.
        StopRequested: a signal asked to stop; a further start goes on with the runs that are left.
        HpcLstmError: the time was up before a single run was measured.
    """
    folder = records.SweepFolder(Path(tasks["folder"]))
    refused: list[str] = []
    measured = 0
    for number, task in enumerate(tasks["runs"]):
        if _skip(world, folder, task, tasks["deadline"] if number else None):
            continue
        try:
            _measure_run(world, folder, task)
            measured += 1
        except StopRequested as stop:
            raise stop if measured else _out_of_time(world, folder, task, stop) from None
        except InputError as error:
            # Raised by one rank alone, it leaves the others in a collective: all must be ended.
            if world.size > 1 and not error.on_all_ranks:
                raise
            refused.append(f"{task['name']}: {error}")
            if world.rank == 0:
                folder.write_failure(task["name"], str(error))
    if refused:
        others = f" (and {len(refused) - 1} more runs)" if len(refused) > 1 else ""
        raise world.on_all_ranks(InputError(refused[0] + others))


def _skip(world: World, folder: records.SweepFolder, task: dict[str, Any], deadline: float | None) -> bool:
    """Whether to leave a run out; rank 0 decides, since all ranks must measure the same runs."""
    late = deadline is not None and time.time() > deadline
    return world.bcast(late or folder.record_file(task["name"]).exists())


def _out_of_time(
    world: World, folder: records.SweepFolder, task: dict[str, Any], stop: StopRequested
) -> HpcLstmError:
    """What ends a start without time for a single run, as the next one would be; else ``stop``; collective."""
    from hpc_lstm.training.log import stop_signals

    if "SIGUSR1" not in stop_signals(world):  # which Slurm sends before the time limit
        return stop
    error = HpcLstmError("the job's time was up before this run was measured; take a longer slurm.time")
    if world.rank == 0:
        folder.write_failure(task["name"], str(error))
    return world.on_all_ranks(error)


def _measure_run(world: World, folder: records.SweepFolder, task: dict[str, Any]) -> None:
    from hpc_lstm.training.loop import train

    run = directory.at(folder.path / "runs" / task["name"])
    if world.rank == 0:
        shutil.rmtree(run.path, ignore_errors=True)  # of an earlier start that was interrupted
    world.barrier()
    config = configuration.parse(task["config"], task["name"])
    load = environment.OtherLoad(world)
    begin = task["warmup"]
    train(config, run, world, meetings=(begin, begin + task["steps"]))
    other_load = load.share()
    where = environment.describe_environment(world, config.train.threads)

    def write_record() -> None:
        if world.rank == 0:
            measured = measure(
                run.path,
                task["warmup"],
                task["steps"],
                planning.averaging_interval(config),
                averages=planning.averages_every_cycle(config),
            )
            metrics = json.loads(run.metrics.read_text())
            record = records.make_record(
                task,
                measured,
                where,
                parameters=_parameter_count(config),
                engine=metrics["engine"],
                other_load=other_load,
            )
            write_text(folder.record_file(task["name"]), json.dumps(record) + "\n")
            shutil.rmtree(run.path, ignore_errors=True)

    world.raise_on_all(write_record)
    gc.collect()  # this run's network and data, before the next run allocates its own


def _parameter_count(config: configuration.RunConfig) -> int:
    from hpc_lstm.model.engines.head import Head
    from hpc_lstm.model.parameters import network_schema

    return network_schema(config.model, len(config.data.features), Head.of(config).outputs).length


def main() -> None:
    """The work of one rank; ends like ``hpc-lstm``: one line on stderr and an exit code."""
    prepare_streams()
    follow_starter()
    world = connect()
    try:
        with world.abort_on_error():
            run_tasks(world, world.raise_on_all(lambda: json.loads(Path(sys.argv[1]).read_text())))
    except HpcLstmError as error:
        if not error.quiet:
            tell(f"hpc-lstm: error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
