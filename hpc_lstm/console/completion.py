"""What a shell completes: settings after ``--set``, and symbols. Whatever is wrong completes to nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

# Symbols that are offered at most.
OFFERED = 200


def settings(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of the configuration, up to the ``=``."""
    from hpc_lstm.config import keys

    return [CompletionItem(f"{key}=") for key in keys() if key.startswith(incomplete)]


def symbols(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Symbols of the market store of a command, or of its run."""
    found: list[str] = []
    with suppress(Exception):
        found = _symbols_of(ctx)
    names = [name for name in found if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names[:OFFERED]]


def _symbols_of(ctx: Context) -> list[str]:
    from hpc_lstm.market.store import MarketStore

    # Arguments before an option that lacks its value stay unparsed.
    place = ctx.params.get("store") or ctx.params.get("run_dir") or ctx.args[0]
    if Path(place).is_dir():
        from hpc_lstm.runs import directory

        place = directory.at(place).load_config().data.store
    with MarketStore(place) as market:
        return market.symbols
