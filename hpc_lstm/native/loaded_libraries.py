"""Shared libraries that this process has loaded, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path

# Builds of one library for several compilers, such as Cray MPICH's libmpi_gnu_123.so.12, put it after a "_".
_AFTER_NAME = (".", "_")


def loaded_library(*names: str) -> Path | None:
    """Path of the first loaded library of one of these names.

    Args:
        names: without suffix, such as ``"libmpi"``; ``libmpi_gnu.so.12`` counts as one of its builds, ``libmpifort.so``
            does not.

    Returns:
        None if no such library is loaded, or the system does not list them (``/proc/self/maps`` is Linux's).
    """
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    starts = tuple(name + after for name in names for after in _AFTER_NAME)
    # address, permissions, offset, device, inode, path; the path may hold spaces, and anonymous memory has none
    fields_of_lines = (line.split(None, 5) for line in lines)
    paths = (Path(fields[5]) for fields in fields_of_lines if len(fields) == 6)
    return next((path for path in paths if path.name.startswith(starts)), None)


def loaded_mpi_library() -> Path | None:
    """The MPI library that mpi4py has loaded, whichever it is; opening it again gives the same one."""
    return loaded_library("libmpi", "libmpich")
