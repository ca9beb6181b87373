"""Training from Python: the ranks are processes of their own, as ``mpiexec -n N hpc-lstm train`` starts them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from itertools import count
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from hpc_lstm import config as configuration
from hpc_lstm.api.prices import Store
from hpc_lstm.api.run import Run, load
from hpc_lstm.config import RunConfig
from hpc_lstm.errors import HpcLstmError, InputError, StopRequested
from hpc_lstm.files import checked_path, expanded, make_parent, whole_file
from hpc_lstm.parallel.launch import launched
from hpc_lstm.parallel.starter import named_starter
from hpc_lstm.processes import PYTHON
from hpc_lstm.runs import directory
from hpc_lstm.runs.directory import RunDirectory

# What a rank's message to the user begins with on stderr.
MESSAGE = "hpc-lstm: "
ERRORS = {error.exit_code: error for error in (HpcLstmError, InputError, StopRequested)}


def train(
    config: RunConfig | Mapping[str, Any] | str | os.PathLike[str],
    *,
    ranks: int = 1,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    init_from: Run | str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Train a model, as ``hpc-lstm train`` does, and open the run.

    The ranks are processes of their own: whatever becomes of them, this one goes on. An interrupt (Ctrl-C, or the
    notebook's button) asks them to stop with a checkpoint, from which ``resume=True`` continues. If this
    process is killed, they are asked as well; a launcher that finds out first may kill them before they have it.

    Args:
        config: settings (docs/configuration.md) as a dictionary of sections, in which ``data.store`` may be a
            ``Store``, and values those of NumPy and pandas; or the path of a TOML file; or a ``RunConfig``.
        ranks: MPI ranks to start on this machine; more than one needs ``mpiexec``.
        run_dir: folder of the run; None: ``runs/`` and the name of the file, or the time.
        resume: continue from the newest checkpoint in the folder, if there is one.
        init_from: begin with the model of this run.
        overrides: settings by ``section.key`` that replace those of ``config``: ``{"train.epochs": 3}``.
        progress: print what the run logs.

    Raises:
        InputError: settings, prices or folder are wrong; the message says what and where.
        StopRequested: the run was interrupted; its state is in a checkpoint.
        HpcLstmError: the ranks failed.

    >>> import hpc_lstm as hl, tempfile
    >>> hl.train({"data": {"stores": "market.h5"}})
    Traceback (most recent call last):
        ...
    hpc_lstm.errors.ConfigError: train: data.stores: no such key; did you mean "store"?
    """
    if launched():
        raise InputError(
            "train: this process is itself one of several ranks, which mpiexec or srun has started; start it without "
            "them, or call `hpc-lstm train` there"
        )
    if not isinstance(ranks, Integral) or ranks < 1:
        raise InputError(f"train: ranks must be a whole number of at least 1, got {ranks!r}")
    settings, store = _settings(config, overrides or {})
    if run_dir is None and isinstance(config, (str, os.PathLike)):
        run_dir = Path("runs") / Path(config).stem
    with (
        _new_folder() if run_dir is None else nullcontext(run_dir) as own,
        tempfile.TemporaryDirectory(prefix="hpc-lstm-") as folder,
    ):
        run = directory.at(os.fspath(own))
        if store is not None:
            settings = _keep_store(settings, store, run)
        file = Path(folder) / f"{run.name}.toml"
        file.write_text(configuration.dump(settings), encoding="utf-8")
        options = ["--run-dir", str(run.path), *(["--resume"] if resume else [])]
        if init_from is not None:
            source = init_from.path if isinstance(init_from, Run) else checked_path(os.fspath(init_from))
            options += ["--init-from", str(source)]
        _run_ranks([*_launcher(int(ranks)), "train", str(file), *options], progress)
    return load(run.path)


def _launcher(ranks: int) -> list[str]:
    """The command that starts this program on so many ranks."""
    program = [*PYTHON, "-m", "hpc_lstm"]
    if ranks == 1:
        return program
    from hpc_lstm.jobs.mpiexec import mpiexec_command

    return [*mpiexec_command(), "-n", str(ranks), *program]


def _settings(
    config: RunConfig | Mapping[str, Any] | str | os.PathLike[str], overrides: Mapping[str, Any]
) -> tuple[RunConfig, Store | None]:
    """Checked settings, in which ``data.store`` is absolute, and the ``Store`` that was given for it, if one was.

    A relative path of a store counts from the file, or from the working directory.
    """
    if isinstance(config, (str, os.PathLike)):
        file = Path(config)
        tables = configuration.read_toml(file, "config", "examples/quickstart.toml")
        where, folder = str(file), file.parent
    else:
        tables = config.model_dump() if isinstance(config, RunConfig) else _plain(config)
        where, folder = "train", Path()
    for key, value in overrides.items():
        section, dot, name = key.partition(".")
        if not (dot and name and isinstance(tables.setdefault(section, {}), dict)):
            raise InputError(f'train: overrides: must be "section.key", such as "train.epochs", got "{key}"')
        tables[section][name] = _plain(value)
        if key == "data.store":
            folder = Path()
    data = tables.get("data")
    given = data.get("store") if isinstance(data, dict) else None
    if isinstance(given, Store):
        tables["data"]["store"] = str(given.path)
    elif isinstance(given, (str, os.PathLike)):
        tables["data"]["store"] = str(checked_path(folder / expanded(os.fspath(given))).resolve())
    return configuration.parse(tables, where), given if isinstance(given, Store) else None


def _plain(value: Any) -> Any:
    """A value of NumPy or pandas, a tuple, a range or a path as what TOML has: numbers, texts, dates and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        return value if value.hour or value.minute or value.second or value.microsecond else value.date()
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


@contextmanager
def _new_folder() -> Iterator[Path]:
    """A folder in ``runs/`` that is named by the time and is of this call alone; removed if it stays empty."""
    name = datetime.now().strftime("run-%Y-%m-%d-%H%M%S")
    folder = make_parent(Path("runs") / name)
    for number in count(2):
        try:
            folder.mkdir()
            break
        except FileExistsError:
            folder = folder.with_name(f"{name}-{number}")
        except OSError as error:
            raise InputError(f"{folder}: the folder cannot be made: {error.strerror}") from None
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def _keep_store(settings: RunConfig, store: Store, run: RunDirectory) -> RunConfig:
    """Settings with a copy of a temporary store in the run directory, so that the run can be used later."""
    if not store.temporary:
        return settings
    kept = make_parent(run.path / "prices.h5")
    if not run.holds_run or not kept.exists():
        with whole_file(kept) as temporary:
            shutil.copyfile(store.path, temporary)
    elif _contents(kept) != _contents(store.path):
        raise InputError(f"{kept}: the run was begun with other prices; name another run_dir")
    return settings.model_copy(update={"data": settings.data.model_copy(update={"store": str(kept)})})


def _contents(path: Path) -> str:
    """A digest of all rows of a market store."""
    from hpc_lstm.market.known_rows import know_rows
    from hpc_lstm.market.store import MarketStore
    from hpc_lstm.parallel.world import World

    with MarketStore(path) as store:
        return know_rows(store, range(len(store.columns)), range(len(store.symbols)), World()).digest


def _run_ranks(command: list[str], progress: bool) -> None:
    """Run the ranks to their end; what they say on stdout is shown as it comes.

    Raises:
        HpcLstmError: of the kind that their exit code names, with the message that they ended with.
    """
    messages: list[str] = []
    # In a session of its own, the terminal's Ctrl-C reaches this process alone, which then asks the ranks to stop.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **named_starter()},
    )
    listener = threading.Thread(target=_collect, args=(process.stderr, messages), daemon=True)
    listener.start()
    try:
        while True:
            try:
                for line in process.stdout or ():
                    if progress:
                        print(line, end="", flush=True)
                code = process.wait()
                break
            except KeyboardInterrupt:
                process.send_signal(signal.SIGUSR1)  # a second one would end the program at once
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        listener.join()
    if code:
        raise _error(code, messages)


def _collect(stream: Any, messages: list[str]) -> None:
    messages += (line.rstrip("\n") for line in stream)


def _error(code: int, messages: list[str]) -> HpcLstmError:
    own = [
        line.removeprefix(MESSAGE).removeprefix("error: ") for line in messages if line.startswith(MESSAGE)
    ]
    if own:
        return ERRORS.get(code, HpcLstmError)(own[-1])
    last = " | ".join(line.strip() for line in messages[-3:] if line.strip())
    return HpcLstmError(f"the ranks ended with exit code {code}{': ' + last if last else ''}")
