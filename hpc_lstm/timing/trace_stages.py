"""The start-up in a trace: on each rank a thread whose spans are the stages before the first step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpc_lstm.timing.alignment import unix_ns
from hpc_lstm.timing.spans import Timing
from hpc_lstm.timing.timeline import PHASES
from hpc_lstm.timing.trace_lines import name_line, span_line

# The thread of rank processes after those of merged spans, epochs and steps.
THREAD = len(PHASES) + 3


def stage_lines(timing: Timing, part: int, pid: int, shift_ns: int) -> Iterator[str]:
    """The trace's lines for the stages of one part of a run's timing; none where none were recorded.

    Args:
        pid: the part's process in the trace.
        shift_ns: added to its unix times to get times of the trace.
    """
    stages = [stage for stage in timing.stages if stage.part == part]
    if not stages:
        return
    yield name_line("thread_name", pid, THREAD, {"name": "start-up"})
    times = np.array([(stage.start_ns, stage.end_ns) for stage in stages], np.int64)
    starts, ends = (unix_ns(timing, part, column) + shift_ns for column in times.T)
    for stage, start, end in zip(stages, starts.tolist(), ends.tolist(), strict=True):
        yield span_line("start-up", pid, THREAD, stage.name, start, end)
