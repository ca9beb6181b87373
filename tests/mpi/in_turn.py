"""Several commands of hpc-lstm one after the other in one process a rank: ``in_turn.py FOLDER``.

Each rank reads tasks from a pipe in FOLDER until that ends: a line of JSON with "commands", a list of lists of words as
``launcher.InTurn`` takes them, and with the "environment" and the current folder, "cwd", that they have. What a rank
says, and its exit code, go to files in the task's "folder"; that it has ended a task, into another pipe. HDF5 files are
inspected by one process for all commands of a rank, and boto3 reads its descriptions of services once.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc_lstm.cli import main
from hpc_lstm.hdf5 import reading
from hpc_lstm.hdf5.reading import OF_LAUNCHERS
from hpc_lstm.parallel.launch import connect
from hpc_lstm.parallel.world import World

sys.path.append(str(Path(__file__).resolve().parents[1]))
from aws_models import share_service_models
from inspector import Inspector

share_once = functools.cache(share_service_models)


@contextmanager
def said_into(path: Path) -> Iterator[None]:
    """Let this process's output and errors go to ``path.out`` and ``path.err``, also those of its libraries."""
    streams = {".out": sys.stdout, ".err": sys.stderr}
    kept = [os.dup(stream.fileno()) for stream in streams.values()]
    for suffix, stream in streams.items():
        with open(path.with_suffix(suffix), "wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    yield
    for descriptor, stream in zip(kept, streams.values(), strict=True):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def exit_code(words: list[str]) -> int:
    """Run a command as the program does."""
    variables = dict(word.split("=", 1) for word in itertools.takewhile(lambda word: "=" in word, words))
    kept = dict(os.environ)
    os.environ.update(variables)
    words = words[len(variables) :]
    try:
        if words[0].endswith(".py"):
            sys.argv[1:] = words[1:]
            runpy.run_path(words[0], run_name="__main__")
        else:
            sys.argv[1:] = words
            main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return 0


def perform(task: dict[str, Any], world: World) -> None:
    """Run the commands of a task."""
    # What the launcher has told this rank is its own.
    own = {name: value for name, value in os.environ.items() if name.startswith(OF_LAUNCHERS)}
    os.environ.clear()
    os.environ.update(task["environment"] | own)
    os.chdir(task["cwd"])
    for number, words in enumerate(task["commands"]):
        path = Path(task["folder"]) / f"{number}-{world.rank}"
        with said_into(path):
            code = exit_code(words)
        path.with_suffix(".code").write_text(str(code))
        if "botocore" in sys.modules:
            share_once()
        world.barrier()  # what the next command finds, all ranks have left


if __name__ == "__main__":
    # To start a process for each HDF5 file takes longer than most commands.
    reading._inspect = inspector = Inspector(reading.CPU_S, forked=True)
    folder, world = Path(sys.argv[1]), connect()
    with (
        open(folder / f"tasks-{world.rank}") as tasks,
        open(folder / "answers", "wb", buffering=0) as answers,
    ):
        for line in tasks:
            perform(json.loads(line), world)
            answers.write(b".")
    inspector.end()
