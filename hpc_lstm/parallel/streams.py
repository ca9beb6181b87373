"""What a process prints goes where its streams let it go, and does not decide how a command ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from hpc_lstm.errors import printable


def prepare_streams() -> None:
    """Let output go nowhere where its stream is closed, and print what its encoding lacks as an escape.

    Otherwise the next file to be opened would get the closed stream's number, and the output of libraries.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.fstat(number)
            except OSError:
                os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def release_streams() -> None:
    """Flush stdout and stderr, or discard what is left: otherwise Python reports a closed pipe or a full disk at exit.

    Its exit code would then be 120, whatever the command's was.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):  # there is none, or whoever called the program has closed it
            pass
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def tell(text: str) -> None:
    """Write lines to stderr; where it takes none, being full or read by nobody, they are lost, and nothing else is.

    Otherwise the end of a command, and its exit code, would depend on who reads what it says.
    """
    with suppress(OSError):
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
