"""What runs in a process of its own on an HDF5 file that a stranger may have made: it reads all but the numbers.

Damaged or crafted metadata send libhdf5 into endless loops that no signal handler ends, crash it, or make it ask for
any amount of memory. Here that ends this process alone. What it comes through, the reader comes through, too: errors
that h5py raises are the reader's to report.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

# Exit codes.
SOUND, UNREADABLE, REFUSED = 0, 3, 4
# Bytes on top of what the process takes before it opens the file, and of what it reads as a whole.
LARGEST_MEMORY = 2 << 30
LARGEST_TEXTS = 256 << 20
LARGEST_OBJECTS = 10_000
LARGEST_DEPTH = 16
# zlib makes at most 1,032 bytes of one.
LARGEST_RATIO = 1100
TOO_MUCH = "it asks for more memory than such a file takes"


class _RefusedError(Exception):
    """The file is like none that the program has use for."""


def main(path: str, cpu_s: int) -> int:
    """Inspect a file within limits of time and memory; the reason for a refusal goes to stdout."""
    _limit(cpu_s)
    try:
        with h5py.File(path, "r", locking=False) as file:
            inspection = _Inspection(Path(path).stat().st_size)
            inspection.group(file)
            return UNREADABLE if inspection.found_errors else SOUND
    except _RefusedError as error:
        print(error)
        return REFUSED
    except Exception:  # of nearly any kind for a damaged file; whoever opens it next says what is wrong
        return UNREADABLE


def _limit(cpu_s: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for kind, most in (
        (resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + cpu_s),
        (resource.RLIMIT_AS, pages * resource.getpagesize() + LARGEST_MEMORY),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


class _Inspection:
    """One walk through a file; an object that several links lead to is visited once.

    What h5py refuses is passed over: a reader may come to the rest on another way.

    Attributes:
        found_errors: something was passed over.
    """

    def __init__(self, file_size: int) -> None:
        self.found_errors = False
        self._largest = LARGEST_RATIO * (file_size + 4096)
        self._seen: set[Any] = set()

    def group(self, group: h5py.Group, depth: int = 0) -> None:
        """Read all that is below a group."""
        if depth > LARGEST_DEPTH:
            raise _RefusedError(f"its groups are nested more than {LARGEST_DEPTH} deep")
        self._attributes(group)
        for name in self._names(group, "objects"):
            with self._errors_passed_over():
                self._member(group, name, depth)

    def _member(self, group: h5py.Group, name: str, depth: int) -> None:
        # Links to other files are not followed, and refused by who reads them.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return
        item = group[name]
        if self._is_new(item):
            if isinstance(item, h5py.Group):
                self.group(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._attributes(item)
                self._dataset(item)

    @contextmanager
    def _errors_passed_over(self) -> Iterator[None]:
        try:
            yield
        except _RefusedError:
            raise
        except MemoryError:
            raise _RefusedError(TOO_MUCH) from None
        except Exception:  # of any kind, as above: the rest of the file is looked at all the same
            self.found_errors = True

    def _is_new(self, item: Any) -> bool:
        info = h5py.h5o.get_info(item.id)
        known = len(self._seen)
        self._seen.add((info.fileno, info.addr))
        if len(self._seen) > LARGEST_OBJECTS:
            raise _RefusedError(f"it has more than {LARGEST_OBJECTS:,} objects")
        return len(self._seen) > known

    def _attributes(self, item: Any) -> None:
        for name in self._names(item.attrs, "attributes"):
            with self._errors_passed_over():
                self._check_size(item.attrs.get_id(name).get_storage_size())
                item.attrs[name]

    def _names(self, group: Any, what: str) -> list[str]:
        """All names in a group or of attributes.

        Where they cannot be listed, a reader who asks for one by its name may never come back.
        """
        try:
            count = len(group)
            names = list(group) if count <= LARGEST_OBJECTS else []
        except MemoryError:
            raise _RefusedError(TOO_MUCH) from None
        except Exception:  # of any kind, as above
            raise _RefusedError(f"its {what} cannot be listed") from None
        if count > LARGEST_OBJECTS:
            raise _RefusedError(f"it has more than {LARGEST_OBJECTS:,} {what}")
        return names

    def _dataset(self, dataset: h5py.Dataset) -> None:
        if dataset.external or dataset.is_virtual:
            return  # refused by who reads it
        self._check_size(dataset.nbytes)
        with self._errors_passed_over():
            if dataset.chunks:
                dataset.id.get_num_chunks()  # reads the index of all of them
        if dataset.dtype.hasobject and dataset.nbytes <= LARGEST_TEXTS:
            dataset[()]
        elif dataset.size and dataset.ndim:
            for row in (0, -1):
                with self._errors_passed_over():
                    dataset[row]

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            raise _RefusedError(f"it says that it holds {size:,} bytes, more than can be in it")
