"""The inspection of HDF5 files without the start of a Python for each: one process inspects many files.

python tests/inspector.py SECONDS    answers each path on stdin by a line of JSON: exit code and reason
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from hpc_lstm.hdf5 import inspection
from hpc_lstm.hdf5.reading import OF_LAUNCHERS


class Inspector:
    """Takes the place of ``hdf5.reading._inspect``, for any thread; a process that is forked starts one of its own.

    A file that ends the process is inspected by a fresh one, so that no file is blamed for those before it.

    Args:
        cpu_s: seconds of a processor after which an inspection is taken for endless.
    """

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> tuple[int, str]:
        """The exit code of the inspection, and what it printed."""
        if self._owner != os.getpid():
            self._process, self._owner, self._lock = None, os.getpid(), threading.Lock()
        with self._lock:
            return self._inspect(path.absolute())

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._owner == os.getpid():
            self._end()

    def _inspect(self, path: Path) -> tuple[int, str]:
        if self._process is not None:
            found = self._ask(self._process, path)
            if found is not None:
                return found
            self._end()
        self._process = _start(self._cpu_s)
        found = self._ask(self._process, path)
        return (self._end(), "") if found is None else found

    def _ask(self, process: subprocess.Popen[str], path: Path) -> tuple[int, str] | None:
        """None if the process ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(os.fspath(path)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = process.stdout.readline()
        if not answer.endswith("\n"):
            return None
        code, reason = json.loads(answer)
        return code, reason

    def _end(self) -> int:
        """How the process ended."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]
        return process.wait()


def _start(cpu_s: int) -> subprocess.Popen[str]:
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


def main(cpu_s: int) -> None:
    """Answer each line of stdin, a path, by the exit code and the reason of its inspection."""
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = inspection.main(json.loads(line), cpu_s)
        print(json.dumps([code, printed.getvalue().strip()]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
