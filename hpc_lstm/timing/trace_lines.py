"""Lines of a trace: events of the Trace Event Format as JSON."""

from __future__ import annotations

import json
from typing import Any


def line(**event: Any) -> str:
    """An event."""
    return json.dumps(event)


def name_line(kind: str, pid: int, tid: int, arguments: dict[str, object]) -> str:
    """What a process or thread is called, or where it stands: ``kind`` is ``thread_name`` and the like."""
    return line(ph="M", name=kind, pid=pid, tid=tid, args=arguments)


def span_line(
    category: str, pid: int, tid: int, name: str, start_ns: int, end_ns: int, **arguments: Any
) -> str:
    """A stretch of time on a thread; times in ns since the trace's origin."""
    return line(
        ph="X",
        name=name,
        cat=category,
        pid=pid,
        tid=tid,
        ts=start_ns / 1e3,
        dur=(end_ns - start_ns) / 1e3,
        args=arguments,
    )
