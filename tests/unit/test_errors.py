"""Errors that are the user's to put right, and those that are not."""

from __future__ import annotations

import errno
import inspect
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_lstm import errors
from hpc_lstm.config import DataConfig, ForecastConfig, RunConfig
from hpc_lstm.errors import (
    HpcLstmError,
    InputError,
    damage_in,
    from_os_error,
    in_shell,
    printable,
    why_unreadable,
)
from hpc_lstm.evaluation.intervals import read_intervals
from hpc_lstm.evaluation.metrics_file import read_metrics
from hpc_lstm.model.engines.head import Head
from hpc_lstm.runs.directory import at
from hpc_lstm.runs.history import read_history
from hpc_lstm.runs.run_file import read_run_file

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


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_read_is_not_called_damaged(number: int) -> None:
    """Nobody is to train again, or to remove a file, because somebody else's may not be read."""
    text = why_unreadable(OSError(number, "Permission denied", "/a/model.keras"), "damaged; train again")
    assert text == "no permission to read it; ask its owner for it"
    for other in (
        OSError(errno.EIO, "I/O"),
        ValueError("x"),
        OSError(errno.EACCES, "unable to lock file, errno = 13"),
    ):
        assert why_unreadable(other, "damaged; train again") == "damaged; train again"


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: read_run_file(at(folder)),
        lambda folder: read_history(at(folder).history),
        lambda folder: read_metrics(at(folder)),
        lambda folder: read_intervals(
            at(folder), Head.of(RunConfig(data=DataConfig(store="x"))), ForecastConfig()
        ),
    ],
)
def test_files_of_somebody_elses_run_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    for name in ("config.toml", "run.json", "history.jsonl", "metrics.json", "intervals.json"):
        (tmp_path / name).write_text("{}")

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"(json|jsonl): no permission to read it; ask its owner for it$"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 株 🙂", "plain ü 株 🙂"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\x07\r", "\\x1b[31mred\\x07\\x0d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_damage_in_a_file_is_one_line() -> None:
    expected = r"\Am\.json: is damaged \(KeyError: 'x'\); remove it\Z"
    with pytest.raises(InputError, match=expected), damage_in("m.json", "remove it"):
        raise KeyError("x")
    with pytest.raises(InputError, match="another"), damage_in("m.json", "remove it"):
        raise InputError("another")


@pytest.mark.parametrize(
    "name", ["Symbol", "Venue X", 'a"b', "$HOME", "`id`", "it's $(id)", "back\\slash", "wow!"]
)
def test_a_name_in_a_message_can_be_pasted_into_a_shell(name: str) -> None:
    done = subprocess.run(["bash", "-c", f"printf %s {in_shell(name)}"], capture_output=True, text=True)
    assert done.stdout == name
