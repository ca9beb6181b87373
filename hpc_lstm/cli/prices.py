"""Prices into a market store: ``fetch``, ``import``, ``synth``."""

from __future__ import annotations

from typing import Any

import click

from hpc_lstm.cli.options import Number, OutputFile, json_option
from hpc_lstm.cli.ranks import connected_world
from hpc_lstm.console.output import show, show_json
from hpc_lstm.errors import InputError
from hpc_lstm.parallel.streams import tell


@click.command(short_help="Fetch prices from Yahoo.")
@click.argument("symbols", nargs=-1)
@click.option(
    "--symbols-file",
    default=None,
    type=click.Path(),
    help="File with one symbol per line; # begins a comment.",
)
@click.option("--start", required=True, metavar="DATE", help="First day, YYYY-MM-DD.")
@click.option("--end", default=None, metavar="DATE", help="Day after the last one; default: today.")
@click.option(
    "--interval",
    default="1d",
    show_default=True,
    help="Time between rows: 1d, 1wk, 1mo; 1m (Yahoo keeps 30 days); 2m, 5m, 15m, 30m, 90m (60 days); 60m, 1h (730 "
    "days).",
)
@click.option("--strict", is_flag=True, help="Write nothing unless all symbols were fetched.")
@click.option("--allow-negative", is_flag=True, help="Keep prices that are zero or negative.")
@click.option("--rate", default=8.0, show_default=True, type=Number(0.01, 1000), help="Requests per second.")
@click.option("-o", "--output", required=True, type=OutputFile(), help="Market store to write or to add to.")
@json_option
def fetch(
    symbols: tuple[str, ...],
    symbols_file: str | None,
    start: str,
    end: str | None,
    interval: str,
    strict: bool,
    allow_negative: bool,
    rate: float,
    output: str,
    as_json: bool,
) -> None:
    """Fetch prices of SYMBOLS from Yahoo into a market store.

    The same command resumes an interrupted call, and later adds new rows and symbols.
    Symbols that cannot be fetched are listed; the others are written.
    """
    from hpc_lstm.market.fetching.passes import Pace
    from hpc_lstm.market.fetching.symbols import read_symbols
    from hpc_lstm.market.yahoo import fetch_prices

    names = [*symbols, *(read_symbols(symbols_file) if symbols_file else ())]
    pace = Pace(rate=rate, burst=2 * rate)
    try:
        summary = fetch_prices(
            names,
            start,
            end,
            output,
            interval=interval,
            strict=strict,
            allow_negative=allow_negative,
            pace=pace,
        )
    except KeyboardInterrupt:
        raise click.Abort("run the same command again to continue") from None
    show_json(summary) if as_json else show(summary.table())
    if warning := summary.warning():
        tell(f"hpc-lstm: warning: {warning}")


@click.command("import", short_help="Import prices from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", type=OutputFile(), help="Market store to write.")
@click.option("--append", is_flag=True, help="Add newer rows and new symbols to the store.")
@click.option("--check", is_flag=True, help="Show how the files are read, check every row, write nothing.")
@click.option(
    "--columns",
    metavar="NAMES",
    help="Names of all columns in order, replacing the header, such as date,open,high,low,close,_; _ leaves one out.",
)
@click.option(
    "--symbol-column",
    metavar="NAME",
    help="Column of the symbol; NAME,NAME joins two; none: the file has none.",
)
@click.option(
    "--date-column", metavar="NAME", help="Column of the date or time; file-name: it is in the file's name."
)
@click.option(
    "--date-format",
    metavar="FORM",
    help="day-first, month-first, epoch-s, epoch-ms, epoch-us, epoch-ns, epoch-days, excel, matlab, or a pattern such "
    "as %d/%m/%y.",
)
@click.option(
    "--layout",
    metavar="NAME",
    help="long: a symbol column; single: one symbol, named by the file; wide: a column per symbol; "
    "multi: a column per symbol and field.",
)
@click.option("--decimal", metavar="MARK", help='Decimal mark of the numbers, "." or ",".')
@click.option(
    "--timezone",
    metavar="ZONE",
    help="Time zone of times without an offset and of daily prices' dates, such as Europe/Berlin.",
)
@click.option("--allow-negative", is_flag=True, help="Keep prices that are zero or negative.")
@click.option(
    "--keep-last", is_flag=True, help="Where rows of one symbol and time differ, keep the last one."
)
@click.option(
    "--symbol-case",
    metavar="HOW",
    help="Symbols that differ only in case are one symbol (upper) or several (keep).",
)
@json_option
def import_(
    files: tuple[str, ...], output: str | None, append: bool, check: bool, as_json: bool, **options: Any
) -> None:
    """Import prices from FILES into a market store: CSV, Excel, Parquet, Feather, plain, gzipped or in a ZIP.

    Layout, symbols, dates and numbers are detected from the files, and shown; options settle what is ambiguous.
    """
    from hpc_lstm.market.appending import append_prices
    from hpc_lstm.market.importing import check_prices, import_prices
    from hpc_lstm.market.options import ImportOptions

    chosen, paths = ImportOptions(**options), list(files)
    if output is None and (append or not check):
        raise InputError("import: name the market store with -o, or give --check alone")
    summary: Any
    if append and output is not None:
        summary = append_prices(output, paths, chosen, check=check)
    elif check or output is None:
        summary = check_prices(paths, chosen)
    else:
        summary = import_prices(paths, output, chosen)
    show_json(summary) if as_json else show(summary.table())


@click.command(short_help="Generate prices with a known best possible forecast.")
@click.option("--symbols", default=100, show_default=True, type=click.IntRange(1), help="Number of symbols.")
@click.option(
    "--days", default=2500, show_default=True, type=click.IntRange(2), help="Trading days per symbol."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the generator.")
@click.option(
    "--kind",
    default="ar",
    show_default=True,
    metavar="NAME",
    help="ar: momentum under noise; regimes: momentum and reversal in turn; heavy-tails: rare large moves.",
)
@click.option("-o", "--output", required=True, type=OutputFile(), help="Market store to write.")
def synth(symbols: int, days: int, seed: int, kind: str, output: str) -> None:
    """Generate prices with known structure and a known best possible forecast error."""
    with connected_world() as world:

        def work() -> None:
            if world.rank == 0:
                from hpc_lstm.market.synthetic import synthesize

                show(synthesize(output, symbols=symbols, days=days, seed=seed, kind=kind))

        world.raise_on_all(work)
