"""The MPI library that this process has loaded."""

from __future__ import annotations

from pathlib import Path

# MPICH, Open MPI and Intel MPI; MPICH on Debian; Cray MPICH, which has one library for each compiler.
_NAMES = (
    *("libmpi.", "libmpich."),
    *("libmpi_cray", "libmpi_gnu", "libmpi_nvidia", "libmpi_intel", "libmpi_amd", "libmpi_aocc"),
)


def loaded_mpi_library() -> Path | None:
    """Path of the MPI library among the files that this process has mapped; None if there is none."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    mapped = (line.split(None, 5) for line in lines)  # address, rights, offset, device, inode, path
    paths = (Path(fields[5]) for fields in mapped if len(fields) == 6)
    return next((path for path in paths if path.name.startswith(_NAMES)), None)
