"""The program's streams and the files that it is told to write, as shells, services and file systems have them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.clusters.run_owner import require
from hpc_lstm.errors import InputError, StoreError
from hpc_lstm.files import write_text
from hpc_lstm.jobs.starter_config import write_starter_config
from hpc_lstm.market.store import MarketStore
from hpc_lstm.market.synthetic import synthesize
from hpc_lstm.runs import directory

ROOT = Path(__file__).resolve().parents[2]


def hpc_lstm(arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program by a shell; what it cannot write stays in its buffers."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hpc_lstm {arguments}"],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--version >&-", 0),
        ("train missing.toml 2>&-", 2),
        ("train missing.toml >&- 2>&-", 2),
        ("train missing.toml > /dev/full 2> /dev/full", 2),
        ("compare one 2> >(exit)", 2),
        ("--debug train missing.toml 2> /dev/full", 2),
    ],
)
def test_a_stream_that_is_closed_or_full_changes_no_exit_code(arguments: str, code: int) -> None:
    done = hpc_lstm(arguments)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("change", ["sys.stdout = None", "sys.stdout.close()"])
def test_a_caller_may_do_with_the_streams_what_it_wants(change: str) -> None:
    program = (
        f"import sys; from hpc_lstm.cli import main\ntry: main(['--version'])\nexcept SystemExit: {change}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_the_encoding_lacks_is_printed_as_an_escape(tmp_path: Path, encoding: str) -> None:
    done = hpc_lstm(f"synth --symbols 1 --days 30 -o '{tmp_path}/ж.h5'", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"\\u0436.h5: " in done.stdout


def test_a_link_that_is_named_as_output_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "latest.h5"
    link.symlink_to(tmp_path / "scratch" / "v1.h5")
    for symbols in (2, 3):
        done = hpc_lstm(f"synth --symbols {symbols} --days 30 -o {link}")
        assert done.returncode == 0, done.stderr
        assert link.is_symlink()
        with MarketStore(tmp_path / "scratch" / "v1.h5") as store:
            assert len(store.symbols) == symbols


def test_a_path_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    with pytest.raises(InputError, match="this path is not UTF-8"):
        directory.at(folder)
    folder.mkdir()
    (folder / "job.toml").write_text('[data]\nstore = "s.h5"\n')
    with pytest.raises(InputError, match="this path is not UTF-8") as caught:
        configuration.load(folder / "job.toml")
    str(caught.value).encode()


def test_a_config_with_spaces_in_its_path_is_named_by_a_command_that_can_be_pasted(tmp_path: Path) -> None:
    store, config = tmp_path / "s.h5", tmp_path / "it's a run.toml"
    synthesize(store, symbols=1, days=60, seed=0)
    text = write_starter_config(config, store)
    assert shlex.split(text.split("`")[1]) == ["hpc-lstm", "train", str(config)]


def test_a_command_in_a_message_can_be_pasted(tmp_path: Path) -> None:
    run = directory.at(tmp_path / "my runs")
    run.path.mkdir()
    write_text(run.config, "")
    with pytest.raises(InputError, match=r"train '.*my runs/config\.toml' --run-dir '.*my runs' --resume`"):
        require(run, run.scaler)


@pytest.mark.parametrize("number", [37, 95])
def test_a_store_on_a_file_system_without_locks_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    synthesize(tmp_path / "s.h5", symbols=2, days=30, seed=0)
    real, asked = h5py.File, []

    def without_locks(path: Path, mode: str, **options: object) -> h5py.File:
        asked.append(options.get("locking"))
        if options.get("locking") is not False:
            raise OSError(
                f"Unable to synchronously open file (unable to lock file, errno = {number}, error message)"
            )
        return real(path, mode, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    with MarketStore(tmp_path / "s.h5") as store:
        assert len(store.symbols) == 2
    assert asked == [None, False]


def test_a_store_that_is_open_for_writing_elsewhere_is_not_called_damaged(tmp_path: Path) -> None:
    synthesize(tmp_path / "s.h5", symbols=2, days=30, seed=0)
    writer = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", writer, str(tmp_path / "s.h5")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreError, match="another program has it open for writing"):
            MarketStore(tmp_path / "s.h5")
        process.communicate()
