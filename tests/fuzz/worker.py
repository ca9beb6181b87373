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

from hpc_lstm.errors import InputError

# Seconds of a processor without an end after which an example hangs, or of the clock: the machine may be busy.
HANG_S, DEADLOCK_S = 20, 300
# Bytes beyond those of the process that an example may take.
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
    since, used = time.monotonic(), _cpu_s(child)
    with os.fdopen(readable, "rb", buffering=0) as pipe:
        while len(found) < len(seeds):
            if not select.select([pipe], [], [], 1.0)[0]:
                hangs = _cpu_s(child) - used > HANG_S or time.monotonic() - since > DEADLOCK_S
                if hangs:
                    os.kill(child, signal.SIGKILL)
                    break
                continue
            data = pipe.read(1 << 16)
            since, used = time.monotonic(), _cpu_s(child)
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


def _cpu_s(process: int) -> float:
    """Seconds that a process and its ended children have used processors for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


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
