"""TensorFlow, imported without its start-up messages and configured for one rank."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from hpc_lstm.parallel.gpu_discovery import installed_gpus

log = logging.getLogger(__name__)

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
SHOW_ALL, FATAL_ONLY = "0", "3"
# What Keras imports where it is installed, for wrappers and pictures; together nearly as much as all the rest.
NOT_NEEDED = ("matplotlib", "pandas", "sklearn")


def keras_installed() -> bool:
    """Whether the packages of the extra ``[keras]`` are there; nothing is imported."""
    return all(find_spec(name) for name in ("keras", "tensorflow"))


def keras_has_gpu(threads: int, deterministic: bool) -> bool:
    """Whether the Keras engine would compute on a GPU.

    Without a GPU on this node TensorFlow need not be asked. Its import takes seconds, and here some ranks wait for
    others; the engine's constructor imports it on all ranks side by side.
    """
    if not installed_gpus() or not keras_installed():
        return False
    return bool(start_tensorflow(threads, deterministic).config.list_physical_devices("GPU"))


def start_tensorflow(threads: int = 0, deterministic: bool = False) -> Any:
    """Import TensorFlow and set its threads, determinism and use of GPU memory.

    TensorFlow is configured once per process: threads can be set only before its first operation. A later call with
    another number of threads changes nothing and logs so; determinism, once on, stays on.

    Each operation runs on one thread, and ``threads`` operations run side by side. The matrices of an LSTM step are
    too small to be split among threads: cutting the batch into parts that run side by side is twice as fast
    (``benchmarks/engines.py``).

    Args:
        threads: CPU threads to use; 0: TensorFlow's own choice.
        deterministic: refuse or replace operations whose result depends on the order of threads.

    Returns:
        The module ``tensorflow``.
    """
    notes = []
    with _stderr_held_back():
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with _hidden(NOT_NEEDED):
            import tensorflow as tf

        if threads and not _set_threads(tf, threads):
            notes.append("TensorFlow keeps the number of threads it was started with in this process")
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                # Without this the first of several ranks or libraries on a GPU would take all of its memory.
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:
                log.debug("TensorFlow is already running on %s", gpu.name)
        tf.config.list_logical_devices()
    for note in notes:
        log.info(note)
    return tf


def threads_in_force(tf: Any) -> int:
    """Operations that TensorFlow runs side by side."""
    return tf.config.threading.get_inter_op_parallelism_threads() or len(os.sched_getaffinity(0))


def _set_threads(tf: Any, threads: int) -> bool:
    """Set the number of threads; False if TensorFlow already runs with another."""
    threading = tf.config.threading
    wanted = (1, threads)
    if (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()) == wanted:
        return True
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        return False
    return True


@contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Packages that nobody has imported yet are as if they were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Drop what TensorFlow and absl write on stderr as they start; if the start fails, print it.

    They write from C++ before any logging level applies, whatever $TF_CPP_MIN_LOG_LEVEL says, so the file descriptor
    itself is redirected. The variable silences TensorFlow afterwards, unless the user has set it; with "0" the user
    asks for all messages and gets them.
    """
    if os.environ.setdefault(LOG_LEVEL, FATAL_ONLY) == SHOW_ALL:
        yield
        return
    import tempfile

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                messages.seek(0)
                os.write(2, messages.read())
