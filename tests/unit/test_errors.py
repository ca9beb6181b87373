"""Errors that are the user's to put right, and those that are not."""

from __future__ import annotations

import errno
import inspect

import pytest

from hpc_lstm import errors
from hpc_lstm.errors import HpcLstmError, InputError, from_os_error

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, HpcLstmError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_codes(kind: type[HpcLstmError]) -> None:
    expected = 2 if issubclass(kind, InputError) else {"StopRequested": 75}.get(kind.__name__, 1)
    assert kind("x").exit_code == expected
    assert kind.__doc__


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENAMETOOLONG]
)
def test_disk_errors_name_the_file_and_the_way_out(number: int) -> None:
    found = from_os_error(OSError(number, "whatever", "/data/x.h5"))
    assert isinstance(found, InputError)
    assert str(found).startswith("/data/x.h5: ")
    assert "make room or choose a folder" in str(found)
    assert "\n" not in str(found)


def test_file_that_is_not_known() -> None:
    assert str(from_os_error(OSError(errno.ENOSPC, "full"))).startswith("No space left on device;")
    assert str(from_os_error(OSError(errno.ENOSPC, "full", 7))).startswith("No space left on device;")


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOENT, None])
def test_other_errors_are_not_the_users(number: int | None) -> None:
    assert from_os_error(OSError(number, "x") if number else OSError("x")) is None
