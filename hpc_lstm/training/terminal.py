"""Where a progress bar can be drawn: on this process's terminal, or on that of the launcher that started it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hpc_lstm.parallel.launch import LAUNCHER_SIZES

LAUNCHERS = ("mpiexec", "mpirun", "mpiexec.hydra", "orterun", "prterun", "srun")


@dataclass(frozen=True)
class Terminal:
    """A terminal.

    Attributes:
        stream: this process's stream that leads to it.
        width: its columns; None: the stream knows.
        forwarded: a launcher forwards the stream, which itself is no terminal.
    """

    stream: TextIO
    width: int | None = None
    forwarded: bool = False


def find_terminal() -> Terminal | None:
    """The terminal that a person looks at: stdout's if it is one, else stderr's; None: nobody looks at one.

    Under a launcher its own streams count. Open MPI gives rank 0 a terminal of its own even where the output goes to a
    file, and other launchers forward the output of ranks to a terminal by pipes.
    """
    if not any(name in os.environ for name in LAUNCHER_SIZES):
        return next((Terminal(stream) for stream in (sys.stdout, sys.stderr) if stream.isatty()), None)
    launcher = next(_launchers(), None)
    if launcher is None:  # on another node
        return None
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if (width := _terminal_width(Path(f"/proc/{launcher}/fd/{number}"))) is not None:
            return Terminal(stream, width, forwarded=True)
    return None


def _launchers() -> Iterator[int]:
    """Processes of launchers on this node that this process descends from, the nearest first."""
    process = os.getppid()
    with suppress(OSError, ValueError, IndexError):
        while process > 1:
            name, _, fields = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
            if name in LAUNCHERS:
                yield process
            process = int(fields.split()[1])


def _terminal_width(stream: Path) -> int | None:
    """Columns of the terminal that a process's stream is; None if it is none."""
    try:
        handle = os.open(stream, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return (os.get_terminal_size(handle).columns or 80) if os.isatty(handle) else None
    except OSError:
        return None
    finally:
        os.close(handle)
