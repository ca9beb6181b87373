"""Runs examples in a process that may hang, crash or take all memory, and tells what came of each."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from hpc_lstm.errors import InputError

# Seconds of a processor, or of waiting without one, after which an example hangs: a machine may be busy with others.
HANG_S, IDLE_S = 30, 240
# Seconds of a processor after which an inspection of a small HDF5 file is taken for endless.
INSPECTION_S = 0.25
# Bytes beyond those of the process that it may take.
MEMORY = 1 << 30

RIGHT, REFUSED = "right", "refused"


def outcomes(example: Callable[[int], Any], seeds: range) -> dict[int, str]:
    """What came of each seed: RIGHT, REFUSED in one line, or else what went wrong.

    Args:
        example: takes a seed; raises an ``InputError`` to refuse.
    """
    found: dict[int, str] = {}
    start = seeds.start
    while start < seeds.stop:
        for seed, outcome in _in_child(example, range(start, seeds.stop)):
            found[seed] = outcome
        start = max(found, default=start - 1) + 1
    return found


def _in_child(example: Callable[[int], Any], seeds: range) -> list[tuple[int, str]]:
    """Outcomes up to the first hang or crash, which is the last one."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _work(example, seeds, writable)
    os.close(writable)
    found: list[tuple[int, str]] = []
    rest = b""
    hangs = False
    with os.fdopen(readable, "rb", buffering=0) as pipe:
        while len(found) < len(seeds):
            if not _answers(child, pipe):
                hangs = True
                os.kill(child, signal.SIGKILL)
                break
            data = pipe.read(1 << 16)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\0")
            found += [(seeds.start + len(found) + number, line.decode()) for number, line in enumerate(lines)]
    _, status = os.waitpid(child, 0)
    if len(found) < len(seeds):
        code = os.waitstatus_to_exitcode(status)
        why = "hangs" if hangs else f"ends the process: {signal.Signals(-code).name if code < 0 else code}"
        found.append((seeds.start + len(found), why))
    return found


def _answers(child: int, pipe: Any) -> bool:
    """Wait until there is something to read; false if an example takes longer than it may."""
    begun, used = time.monotonic(), _processor_s(child)
    while not select.select([pipe], [], [], 1)[0]:
        waits = time.monotonic() - begun > IDLE_S and not _wants_processor(child)
        if waits or _processor_s(child) - used > HANG_S:
            return False
    return True


def _wants_processor(process: int) -> bool:
    """Whether a process, or one that it has started, would go on if it got a processor: others may have them all."""
    try:
        parent = psutil.Process(process)
        return any(
            one.status() == psutil.STATUS_RUNNING for one in (parent, *parent.children(recursive=True))
        )
    except psutil.Error:  # it ended
        return False


def _processor_s(child: int) -> float:
    """Seconds of a processor that a child of this process has taken, with its own children that have ended."""
    return sum(psutil.Process(child).cpu_times()[:4])


def _work(example: Callable[[int], Any], seeds: range, writable: int) -> None:
    """Run examples, and write what comes of each; does not return."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(1, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for seed in seeds:
            os.write(
                writable, outcome(example, seed).encode(errors="backslashreplace").replace(b"\0", b"") + b"\0"
            )
    finally:
        os._exit(0)


def outcome(example: Callable[[int], Any], seed: int) -> str:
    """What comes of one example in this process."""
    try:
        example(seed)
    except InputError:
        return REFUSED
    except BaseException:
        return traceback.format_exc()
    return RIGHT
