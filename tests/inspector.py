"""The inspection of HDF5 files without the start of a Python for each: one process inspects many files.

python tests/inspector.py SECONDS    answers each question on stdin, a line of JSON: its name and a path; by two
                                     lines: the name, and then exit code and reason

A child of it inspects one file after the other. A file that ends the child is answered for by the parent, and a fresh
child inspects the next one, so that no file is blamed for those before it.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

from hpc_lstm.hdf5 import inspection
from hpc_lstm.hdf5.reading import OF_LAUNCHERS


class Inspector:
    """Takes the place of ``hdf5.reading._inspect``, for any thread.

    Args:
        cpu_s: seconds of a processor after which an inspection is taken for endless.
        shared: it is started now, and the processes that are forked from this one use it, one of them at a time; or
            else each of those starts one of its own.
        forked: the inspecting process is a fork of this one as it is now, which must be before threads and MPI; it
            need not import what this one has imported.
    """

    def __init__(self, cpu_s: float, *, shared: bool = False, forked: bool = False) -> None:
        self._cpu_s, self._shared = cpu_s, shared
        self._questions = 0
        self._process: subprocess.Popen[str] | _Fork | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        if shared or forked:
            self._process = _Fork(cpu_s) if forked else _start(cpu_s)

    def __call__(self, path: Path) -> tuple[int, str]:
        """The exit code of the inspection, and what it printed."""
        if self._owner != os.getpid() and not self._shared:
            self._process, self._owner, self._lock = None, os.getpid(), threading.Lock()
        with self._lock:
            return self._inspect(path.absolute())

    def end(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.communicate()

    def _inspect(self, path: Path) -> tuple[int, str]:
        if self._process is None:
            self._process = _start(self._cpu_s)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        self._questions += 1
        question = f"{os.getpid()} {self._questions}"
        process.stdin.write(json.dumps([question, os.fspath(path)]) + "\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline()) != question:
            pass  # of a process that was killed while it waited for the answer
        code, reason = json.loads(process.stdout.readline())
        return code, reason


class _Fork:
    """An inspecting fork of this process, with as much of ``Popen`` as is needed."""

    def __init__(self, cpu_s: float) -> None:
        paths, answers = os.pipe(), os.pipe()
        self._number = os.fork()
        if self._number == 0:
            _serve(cpu_s, paths[0], answers[1])
        os.close(paths[0])
        os.close(answers[1])
        self.stdin, self.stdout = os.fdopen(paths[1], "w"), os.fdopen(answers[0])

    def communicate(self) -> None:
        """Let it end."""
        self.stdin.close()
        self.stdout.close()
        os.waitpid(self._number, 0)


def _serve(cpu_s: float, paths: int, answers: int) -> NoReturn:
    """Inspect what a pipe names, with nothing else in common with the process that this is a fork of."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        for number, handle in enumerate((paths, answers, nothing)):
            os.dup2(handle, number)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        for name in [name for name in os.environ if name.startswith(OF_LAUNCHERS)]:
            del os.environ[name]
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        main(cpu_s)
        code = 0
    finally:
        os._exit(code)


def _start(cpu_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(cpu_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # It is no rank, even where a rank starts it.
        env={name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
    )


def main(cpu_s: float) -> None:
    """Answer each question of stdin by the exit code and the reason of its inspection."""
    while True:
        child = os.fork()
        if child == 0:
            _answer(cpu_s)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        # A timer of fractions of a second stands for the system's limit, which has whole ones.
        print(json.dumps([-signal.SIGXCPU if code == -signal.SIGPROF else code, ""]), flush=True)


def _answer(cpu_s: float) -> None:
    for line in sys.stdin:
        question, path = json.loads(line)
        print(json.dumps(question), flush=True)  # before the inspection, which may end this process
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = inspection.main(path, math.ceil(cpu_s))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps([code, printed.getvalue().strip()]), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
