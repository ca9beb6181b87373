"""What a config names: the market store, and the storage of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_lstm.config import RunConfig
from hpc_lstm.errors import InputError, from_os_error
from hpc_lstm.jobs.checks.result import Check
from hpc_lstm.text.counts import counted

# Seconds that a bucket may take to answer here, whatever the run allows it.
STORAGE_TIMEOUT_S = 15.0


def store_problem(config: RunConfig) -> str | None:
    """Why this rank cannot read the market store; None if it can."""
    from hpc_lstm.market.store import MarketStore

    def open_and_close() -> None:
        with MarketStore(config.data.store):
            pass

    return _problem(open_and_close)


def check_store(config: RunConfig, problems: list[str | None]) -> Check:
    """The market store.

    Args:
        problems: ``store_problem`` of each rank.
    """
    from hpc_lstm.market.store import MarketStore

    broken = [rank for rank, problem in enumerate(problems) if problem is not None]
    if broken:
        where = (
            ""
            if len(broken) == len(problems)
            else f" (on {counted(len(broken), 'rank')}, the first is rank {broken[0]})"
        )
        advice = "give a store that every node can read; `hpc-lstm import` makes one"
        return Check("market store", "failed", f"{problems[broken[0]]}{where}", advice)
    with MarketStore(config.data.store) as store:
        rows = int(store.offsets[-1])
        size = f"{counted(len(store.symbols), 'symbol')}, {counted(rows, 'row')}"
        text = f"{config.data.store}: {size}, {', '.join(store.columns)}"
    return Check("market store", "ok", text)


def check_storage(config: RunConfig) -> Check:
    """The object store that checkpoints go to."""
    if not config.storage.url:
        return Check("storage", "ok", "checkpoints go to the run directory")
    from hpc_lstm.storage.stores import open_store

    short = min(STORAGE_TIMEOUT_S, config.storage.timeout_s)
    settings = config.storage.model_copy(update={"timeout_s": short})
    problem = _problem(lambda: open_store(settings, Path.cwd()).check())
    if problem is not None:
        return Check("storage", "failed", problem, "see [storage] in docs/configuration.md")
    return Check("storage", "ok", f"{config.storage.url} can be reached")


def _problem(attempt: Callable[[], object]) -> str | None:
    """The user's error that ``attempt`` raises, as one line; None if it raises none."""
    try:
        attempt()
    except InputError as error:
        return " ".join(str(error).split())
    except OSError as error:
        return str(from_os_error(error) or error)
    return None
