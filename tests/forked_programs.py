"""The program in processes of their own, without the imports that each would begin with.

python tests/forked_programs.py MODULE...    imports them, and forks for each line of stdin, a request in JSON

A fork is a process like any other: it has its own signals, limits, streams, files and exit code. What is lost is how
it begins, which tests of starting look at: they start a Python.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

LIMIT_S = 120.0


class ForkedPrograms:
    """Runs ``hpc-lstm``, one process at a time; a context manager.

    Args:
        modules: to be imported once; none that starts threads.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> ForkedPrograms:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def run(self, *arguments: str, limit: int = 0, mpi: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the program to its end, in this process's folder and with its environment.

        Args:
            limit: bytes a file that it writes may have; 0: any number.
            mpi: with a limit, start MPI and load kernels before it holds.
        """
        with self.started(*arguments, limit=limit, mpi=mpi) as program:
            return program.end()

    @contextlib.contextmanager
    def started(self, *arguments: str, limit: int = 0, mpi: bool = False) -> Iterator[StartedProgram]:
        """As ``run``, without waiting for the end; it is killed when the context ends before it."""
        request = {
            "arguments": arguments,
            "limit": limit,
            "mpi": mpi,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "streams": [self._stream(name) for name in ("stdout", "stderr")],
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        program = StartedProgram(self, arguments, self.answer("process"))
        try:
            yield program
        finally:
            if not program.ended:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(program.process, signal.SIGKILL)
                program.end()

    def outputs(self) -> tuple[str, str]:
        """What the last program has written to its streams."""
        out, error = (Path(self._stream(name)).read_text() for name in ("stdout", "stderr"))
        return out, error

    def answer(self, what: str) -> int:
        """The next number that the forking process tells, which is that of ``what``."""
        assert self._process.stdout is not None
        told, number = self._process.stdout.readline().split()
        assert told == what
        return int(number)

    def _stream(self, name: str) -> str:
        return os.path.join(self._folder.name, name)


@dataclass
class StartedProgram:
    """A program that runs, or has ended.

    Attributes:
        process: its number.
    """

    _programs: ForkedPrograms
    _arguments: tuple[str, ...]
    process: int
    ended: bool = False

    def end(self) -> subprocess.CompletedProcess[str]:
        """What came of it, at its end, which comes after two minutes at the latest."""
        late = threading.Timer(LIMIT_S, os.kill, (self.process, signal.SIGKILL))
        late.start()
        code = self._programs.answer("code")
        late.cancel()
        self.ended = True
        return subprocess.CompletedProcess(self._arguments, code, *self._programs.outputs())


def serve() -> None:
    """Fork for each request; returns in each fork, as what the request asks for."""
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        print("process", child, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("code", code, flush=True)
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    handles = [os.open(os.devnull, os.O_RDONLY)]
    handles += [
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND) for path in request["streams"]
    ]
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    sys.argv[1:] = request["arguments"]
    if request["limit"]:
        _limit(request["limit"], mpi=request["mpi"])


def _limit(limit: int, *, mpi: bool) -> None:
    if mpi:
        # MPI makes large files of its own in shared memory when it starts, and kernels are loaded from files in memory,
        # so the limit is set after that.
        from hpc_lstm.model.engines.native_kernels import load_kernels

        with contextlib.suppress(ImportError):
            importlib.import_module("mpi4py.MPI")
        load_kernels()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


if __name__ == "__main__":
    # Bytecode that is cut off at a limit would stay behind.
    sys.dont_write_bytecode = True
    # As from a terminal, whoever started the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    from hpc_lstm.cli import main

    serve()
    main()
