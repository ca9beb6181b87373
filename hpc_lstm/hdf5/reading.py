"""HDF5 files of whoever has written them: inspected in a process of its own before they are opened here."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hpc_lstm.hdf5.known_files import is_known, remember
from hpc_lstm.processes import ISOLATED, run_helper

# What h5py raises on a damaged file, and what ``sound_hdf5`` and ``own_dataset`` raise.
UNREADABLE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    MemoryError,
)
# Seconds that an inspection may take on the processor, and in all: the file system may be slow.
CPU_S, WALL_S = 5, 120
# Seconds after which a file that changes has another time.
SETTLED_S = 2.0
# How the names of variables of launchers and MPI libraries begin. The inspection gets none of them: it is no rank, even
# where h5py itself was built with MPI.
OF_LAUNCHERS = ("PMI", "OMPI_", "MPI", "SLURM_", "HYDRA_", "HYDI_", "PRTE_", "PALS_", "I_MPI_")

_START = """
import sys
import time
sys.path[:] = sys.argv[3:]
from hpc_lstm.hdf5.inspection import main
sys.exit(main(sys.argv[1], int(sys.argv[2])))
"""


@contextmanager
def sound_hdf5(path: str | Path) -> Iterator[Any]:
    """An ``h5py.File`` to read from, inspected before.

    Raises:
        ValueError: see ``require_sound``; and whatever else of ``UNREADABLE`` a damaged file makes h5py raise.
    """
    import h5py

    require_sound(path)
    with h5py.File(path, "r") as file:
        yield file


def require_sound(path: str | Path) -> None:
    """Refuse a file that would keep this process busy for ever, crash it, or fill its memory.

    The file is inspected by another process, once: until it is changed it is known.

    Raises:
        ValueError: the reason.
        OSError: there is no such file.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    if is_known(path):
        return
    # Of two versions of a file within a tick of the file system's clock, one may look like the other.
    settled = time.time() - path.stat().st_ctime > SETTLED_S
    if _is_sound(path) and settled:
        remember(path)


def require_sound_bytes(data: bytes) -> None:
    """As ``require_sound``, for the bytes of a file that are in memory.

    Raises:
        ValueError: the reason.
    """
    import tempfile  # which brings shutil along; a run that begins anew needs neither

    try:
        # By a name: HDF5 opens no file that has no place in the file system.
        handle, name = tempfile.mkstemp(prefix="hpc-lstm-")
    except OSError:
        return  # no room for it, which is not its doing: it is opened without an inspection
    try:
        with suppress(OSError), os.fdopen(handle, "wb") as file:
            file.write(data)
        if os.stat(name).st_size == len(data):
            _is_sound(Path(name))
    finally:
        os.unlink(name)


def _is_sound(path: Path) -> bool:
    """Inspect a file; False if h5py says what is wrong with it.

    Raises:
        ValueError: the reason why it is not to be opened here.
    """
    code, reason = _inspect(path)
    if code == 4:
        raise ValueError(reason)
    if code < 0:
        ended = code in (-signal.SIGXCPU, -signal.SIGKILL)
        raise ValueError(
            "HDF5 does not finish reading it"
            if ended
            else f"HDF5 crashes on it, {signal.Signals(-code).name}"
        )
    if code not in (0, 3):
        raise ValueError(f"it cannot be inspected: the process that does it ended with exit code {code}")
    return code == 0


def _inspect(path: Path) -> tuple[int, str]:
    """The exit code of the inspection, and what it printed."""
    from hpc_lstm import hdf5

    # Without looking for this environment's packages anew: they are where this process found them.
    folders = [folder for folder in sys.path if folder]
    folders.append(str(Path(hdf5.__file__).parents[2]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
    try:
        done = run_helper(
            [*ISOLATED, "-c", _START, os.fspath(path.absolute()), str(CPU_S), *folders],
            WALL_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, ""
    except OSError:  # no more processes, which is not the file's doing: it is opened without an inspection
        return 3, ""
    return done.returncode, done.stdout.decode(errors="replace").strip()


def own_dataset(file: Any, name: str) -> Any:
    """An ``h5py.Dataset`` to read, whose data lie in this file: HDF5 lets one be any bytes of any other file.

    Raises:
        ValueError: it is a link, or its data lie elsewhere.
        KeyError: there is none.
    """
    import h5py

    path, links = "", file.id.links
    for part in name.split("/"):
        path = f"{path}/{part}" if path else part
        place = path.encode()
        try:
            found = links.exists(place)
        except RuntimeError:  # damaged, or below what is no group
            above = path.rpartition("/")[0].encode()
            if not above or isinstance(h5py.h5o.open(file.id, above), h5py.h5g.GroupID):
                raise
            found = False
        if not found:
            raise KeyError(f"there is no {name}")
        # Known before it is followed: a link may lead to another file.
        if links.get_info(place).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{name} is a link")
    node = h5py.h5o.open(file.id, place)
    if not isinstance(node, h5py.h5d.DatasetID):
        raise ValueError(f"{name} is not a dataset")
    stored = node.get_create_plist()
    if stored.get_external_count() or stored.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"the data of {name} lie in another file")
    return h5py.Dataset(node, readonly=True)
