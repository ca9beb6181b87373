"""What spares every process of the program time and files before a command begins, and after it has ended."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import platform
import sys
import threading
from contextlib import suppress
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from hpc_lstm.processes import LEFT_BEHIND

METADATA = "importlib.metadata"
# New containers between two collections. By default the garbage collector looks at all classes and functions dozens of
# times while they are imported, which takes a tenth of that time and finds nothing. Commands import 50,000 to 70,000,
# and a single collection of these takes another twentieth.
COLLECT_EVERY = 100_000
# How long threads of OpenBLAS, which NumPy starts, look for more work before they sleep: 2 to this power of the
# processor's cycles, less than a millisecond. By default it is about a tenth of a second.
BLAS_WAIT = "20"


def prepare_imports() -> None:
    """Let modules be imported with fewer files and less work; to be called before pydantic and NumPy are imported."""
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    # Each rank has one of these threads for every core that it may use. They would keep other ranks from starting.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", BLAS_WAIT)
    # Plug-ins of pydantic that happen to be installed are none of ours; to look for them opens a file of each package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__" and METADATA not in sys.modules:
        # As an import would: among the modules, and as an attribute of its package.
        sys.modules[METADATA] = vars(importlib)["metadata"] = _LateMetadata()
    # h5py asks which system this is, and Python starts `uname -p` to answer, unless it knows the processor. On Linux
    # that is the machine or unknown, neither of which Python shows beside the machine.
    system = platform.uname()
    vars(system).setdefault("processor", system.machine)


def end_without_collection() -> None:
    """Let the process end without a search for garbage: the system takes back its memory faster than Python does.

    As Python ends, the collector walks all that was imported, several times. It then finds nothing to walk; objects
    whose last reference goes are freed as ever. To be called before anything else is registered to be run at exit,
    which still sees a collector at work.
    """
    atexit.unregister(gc.freeze)  # once, however often commands are run
    atexit.register(gc.freeze)


def end_despite_threads(code: int, last_words: str = "") -> None:
    """End the process here if threads are in the code of a library: Python's own end would crash in them.

    Returns where there are none.

    Args:
        last_words: for stderr, if the process ends here.
    """
    if any(thread.name == LEFT_BEHIND for thread in threading.enumerate()):
        with suppress(OSError):
            sys.stderr.write(last_words)
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # full, or read by nobody
                stream.flush()
        os._exit(code)


class _LateMetadata(ModuleType):
    """Stands for ``importlib.metadata`` until something of it is used.

    pydantic imports its ``entry_points`` to look for plug-ins, also where they are disabled; with it come the packages
    email, csv and zipfile, 40 files in all. ``importlib.util.LazyLoader`` does not help: a ``from`` import loads.
    """

    def __init__(self) -> None:
        super().__init__(METADATA)
        # ``importlib.util.find_spec`` refuses a module among those that are imported without one.
        self.__spec__ = PathFinder.find_spec(METADATA, importlib.__path__)
        self.__path__ = [os.path.join(folder, "metadata") for folder in importlib.__path__]

    def entry_points(self, **selection: Any) -> Any:
        """See ``importlib.metadata.entry_points``."""
        return _metadata().entry_points(**selection)

    def __getattr__(self, name: str) -> Any:
        return getattr(_metadata(), name)


def _metadata() -> ModuleType:
    """The module itself, which takes its place from now on."""
    if isinstance(sys.modules.get(METADATA), _LateMetadata):
        sys.modules.pop(METADATA, None)  # another thread may be here, too
    return importlib.import_module(METADATA)
