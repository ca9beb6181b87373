"""TensorFlow, imported quietly and set up for one rank."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)


def start(threads: int = 0, deterministic: bool = False) -> Any:
    """Import TensorFlow and set its threads, determinism and use of GPU memory.

    TensorFlow is configured once per process: threads can be set only before its first operation. A later
    call with another number of threads leaves the first one in force and says so in the log;
    ``deterministic`` once on stays on.

    Each operation runs on one thread, and ``threads`` operations run side by side. The matrices of an LSTM
    step are too small to be shared out among threads: cutting the batch into parts that run side by side is
    twice as fast (``benchmarks/engines.py``).

    Args:
        threads: CPU threads to use; 0: TensorFlow's own choice.
        deterministic: refuse or replace operations whose result depends on the order of threads.

    Returns:
        The module ``tensorflow``.
    """
    with _quiet():
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import tensorflow as tf

        if threads:
            _set_threads(tf, threads)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                # Without this the first of several ranks or libraries on a GPU would take all of its memory.
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:
                log.debug("TensorFlow is already running on %s", gpu.name)
        tf.config.list_logical_devices()
    return tf


def threads_in_force(tf: Any) -> int:
    """Operations that TensorFlow runs side by side."""
    return tf.config.threading.get_inter_op_parallelism_threads() or len(os.sched_getaffinity(0))


def _set_threads(tf: Any, threads: int) -> None:
    threading = tf.config.threading
    wanted = (1, threads)
    if (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()) == wanted:
        return
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        log.info("TensorFlow already runs with other threads in this process; they stay")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow's start-up notes off stderr, unless the user set a level or the start fails.

    They are written by C++ before any logging level applies, so the file descriptor itself is held back.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                notes.seek(0)
                os.write(2, notes.read())
