"""What the program does before a command begins, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm.cli.startup import BLAS_WAIT

ROOT = Path(__file__).parents[2]
PREPARED = """
import sys
from hpc_lstm.cli.startup import prepare_imports
prepare_imports()
import hpc_lstm.config
assert "email" not in sys.modules
"""


# Each request is run as the rest of the program by a fork of the process, which ends as any other does.
FORKED = """
import json, os
for line in sys.stdin:
    code, *files = json.loads(line)
    child = os.fork()
    if not child:
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
exec(code)
"""
AfterPreparation = Callable[[str], str]


def alone_after_preparation(code: str) -> str:
    """What code prints in a process whose imports are prepared in this environment."""
    done = subprocess.run([sys.executable, "-c", PREPARED + code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared() -> Iterator[subprocess.Popen[str]]:
    """A process whose imports are prepared."""
    command = [sys.executable, "-c", PREPARED + FORKED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def after_preparation(prepared: subprocess.Popen[str], tmp_path: Path) -> AfterPreparation:
    """What code prints in such a process, in a copy of its own."""

    def run(code: str) -> str:
        assert prepared.stdin is not None
        assert prepared.stdout is not None
        out, errors = tmp_path / "stdout", tmp_path / "stderr"
        print(json.dumps([code, str(out), str(errors)]), file=prepared.stdin, flush=True)
        assert prepared.stdout.readline() == "0\n", errors.read_text() if errors.exists() else "it has ended"
        return out.read_text()

    return run


def test_settings_are_checked_without_package_metadata(
    after_preparation: AfterPreparation, tmp_path: Path
) -> None:
    config = tmp_path / "job.toml"
    config.write_text('[data]\nstore = "market.h5"\n')
    code = f"print(hpc_lstm.config.load({str(config)!r}).train.epochs > 0, 'email' in sys.modules)"
    assert after_preparation(code) == "True False\n"


def test_nothing_is_collected_while_a_command_is_imported(after_preparation: AfterPreparation) -> None:
    code = """
import gc
before = gc.get_stats()
import hpc_lstm.cli.training, hpc_lstm.report.html, hpc_lstm.training.loop
print(gc.get_stats() == before)
"""
    assert after_preparation(code) == "True\n"


@pytest.mark.parametrize(("given", "found"), [(None, BLAS_WAIT), ("28", "28")])
def test_threads_of_blas_wait_briefly_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, found: str
) -> None:
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", given)
    code = "import os\nprint(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    assert alone_after_preparation(code) == f"{found}\n"


@pytest.mark.parametrize(
    "code",
    [
        "import importlib.metadata\nprint(importlib.metadata.version('numpy'))",
        "import importlib.metadata as metadata\nprint(metadata.version('numpy'))",
        "from importlib import metadata\nprint(metadata.version('numpy'))",
        "from importlib.metadata import version\nprint(version('numpy'))",
        "import importlib.metadata._meta, importlib.metadata\nprint(importlib.metadata.version('numpy'))",
    ],
)
def test_package_metadata_is_there_for_whoever_asks(after_preparation: AfterPreparation, code: str) -> None:
    assert after_preparation(code) == f"{np.__version__}\n"


def test_no_program_is_asked_what_system_this_is(after_preparation: AfterPreparation) -> None:
    code = """
import platform
started = []
sys.addaudithook(lambda event, about: started.append(about[1]) if event == "subprocess.Popen" else None)
import h5py
print(started, platform.platform())
"""
    known = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.platform())"], capture_output=True, text=True
    ).stdout
    assert after_preparation(code) == f"[] {known}"


def test_what_was_imported_before_stays_right(after_preparation: AfterPreparation) -> None:
    code = """
from importlib.metadata import entry_points
import importlib.metadata as first
first.PackageNotFoundError
import importlib.metadata as second
assert sys.modules["importlib.metadata"] is second is not first
try:
    second.version("no such package")
except first.PackageNotFoundError:
    print(len(entry_points(group="console_scripts")) == len(second.entry_points(group="console_scripts")) > 0)
assert not hasattr(first, "no_such_name")
"""
    assert after_preparation(code) == "True\n"


def test_package_metadata_is_found(after_preparation: AfterPreparation) -> None:
    code = """
import importlib.util
print(importlib.util.find_spec("importlib.metadata").origin)
assert "email" not in sys.modules
import importlib.metadata
print(importlib.metadata.__file__)
"""
    found, imported = after_preparation(code).splitlines()
    assert found == imported


def test_the_program_ends_without_a_search_for_garbage(after_preparation: AfterPreparation) -> None:
    code = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))  # runs last: what is registered later runs before
from hpc_lstm.cli import main
main(["--version"])
"""
    assert after_preparation(code).splitlines()[1:] == ["True"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "no such file"], 2, "hpc-lstm: error: no such file"),
        (["broken"], 1, "ValueError: a fault of ours"),
    ],
)
def test_threads_that_are_left_behind_do_not_meet_the_end_of_python(
    words: list[str], code: int, said: str
) -> None:
    program = f"""
import atexit, threading, time
from hpc_lstm.processes import LEFT_BEHIND

class Ends:
    def __del__(self):
        print("Python has ended")

sys.ends = Ends()
atexit.register(print, "cleaned up")
threading.Thread(target=time.sleep, args=(60,), daemon=True, name=LEFT_BEHIND).start()
from hpc_lstm.cli.program import cli, main

@cli.command()
def broken():
    raise ValueError("a fault of ours")

main({words})
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, "cleaned up")
    assert said in done.stderr.splitlines()[-1]
