"""The commands. Each imports what it needs when it is called, so that ``--help`` answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hpc_lstm import __version__
from hpc_lstm.console.output import show, show_json, terminal_width
from hpc_lstm.errors import HpcLstmError, InputError, from_os_error, printable

if TYPE_CHECKING:
    from hpc_lstm.parallel.world import World


Command = TypeVar("Command", bound=Callable[..., None])


def _warm_start_options(command: Command) -> Command:
    """The options of the commands that may start with another run's model."""
    start = click.option(
        "--init-from",
        default=None,
        type=click.Path(),
        metavar="RUN_DIR",
        help="Start with the weights of this completed run's model, and a fresh optimizer.",
    )
    keep = click.option(
        "--keep-scaling",
        is_flag=True,
        help="With --init-from: scale prices as that run did, not by the train rows of this one.",
    )
    return start(keep(command))


def _walk_forward_options(command: Command) -> Command:
    """The options of ``evaluate --walk-forward``."""
    for option in (
        click.option(
            "--warm-start", is_flag=True, help="Begin each fold with the weights of the one before."
        ),
        click.option(
            "--embargo",
            default=0,
            type=click.IntRange(0),
            metavar="DAYS",
            help="Days left out between train and validation, and validation and test.",
        ),
        click.option(
            "--refit",
            default=None,
            metavar="K|none",
            help="Train anew on every K-th fold, or only on the first; default: on every fold.",
        ),
        click.option(
            "--rolling",
            default=None,
            type=click.IntRange(1),
            metavar="DAYS",
            help="Train on so many days before validation; without it on all.",
        ),
        click.option("--expanding", is_flag=True, help="Train on all days before validation: the default."),
        click.option(
            "--walk-forward",
            default=None,
            type=click.IntRange(1),
            metavar="N",
            help="Train and test on N consecutive folds.",
        ),
    ):
        command = option(command)
    return command


def _walk_forward(
    run_dir: str,
    store: str | None,
    folds: int,
    *,
    expanding: bool,
    rolling: int | None,
    refit: str | None,
    embargo: int,
    warm_start: bool,
) -> None:
    if expanding and rolling:
        raise click.UsageError("--expanding and --rolling exclude each other")
    every = (refit or "1").removeprefix("every").strip()
    if every != "none" and not (every.isdecimal() and int(every) >= 1):
        raise click.UsageError(f'--refit: must be a number of folds, such as 2, or none, got "{refit}"')
    with connected_world() as world:
        from hpc_lstm.evaluation.walk_forward_table import walk_forward_table
        from hpc_lstm.training.walk_forward import WalkForward, walk_forward

        how = WalkForward(
            folds=folds,
            rolling=rolling or 0,
            refit_every=0 if every == "none" else int(every),
            embargo=embargo,
            warm_start=warm_start,
        )
        results = walk_forward(run_dir, how, world, store)
        if world.rank == 0:
            show(walk_forward_table(results))


def _check_warm_start(init_from: str | None, keep_scaling: bool) -> None:
    if keep_scaling and init_from is None:
        raise click.UsageError("--keep-scaling needs --init-from RUN_DIR")


def _json_option(command: Command) -> Command:
    """The option of every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")(command)


def _set_option(command: Command) -> Command:
    """The option that overrides settings of a config."""
    option = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        shell_complete=_complete("settings"),
        help="Override one setting.",
    )
    return option(command)


def _complete(what: str) -> Callable[..., Any]:
    """A function of ``console.completion``, which is imported when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from hpc_lstm.console import completion

        return getattr(completion, what)(ctx, param, incomplete)

    return complete


class _OutputFile(click.Path):
    """A file to write; where it is a symbolic link, the file that it leads to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        return os.path.realpath(path) if os.path.islink(path) else path


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hpc-lstm")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Train LSTMs on market data across MPI ranks, and know what the forecast is worth.

    Exit codes: 0 done; 2 the input is wrong; 75 stopped on request with a checkpoint, run again with --resume;
    1 anything else.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(short_help="Fetch prices from Yahoo.")
@click.argument("symbols", nargs=-1)
@click.option(
    "--symbols-file", default=None, type=click.Path(), help="File with a symbol a line; # begins a comment."
)
@click.option("--start", required=True, metavar="DATE", help="First day, YYYY-MM-DD.")
@click.option("--end", default=None, metavar="DATE", help="Day after the last one; default: today.")
@click.option(
    "--interval",
    default="1d",
    show_default=True,
    help="Of the rows: 1d, 1wk, 1mo; 1m (Yahoo keeps 30 days); 2m, 5m, 15m, 30m, 90m (60 days); 60m, 1h (730 days).",
)
@click.option("--strict", is_flag=True, help="Write nothing unless all symbols came.")
@click.option("--allow-negative", is_flag=True, help="Keep prices that are zero or negative.")
@click.option(
    "--rate", default=8.0, show_default=True, type=click.FloatRange(0.01, 1000), help="Requests a second."
)
@click.option("-o", "--output", required=True, type=_OutputFile(), help="Market store to write or to add to.")
@_json_option
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

    The same command takes up an interrupted call where it was, and later adds what is new since: rows and symbols.
    Symbols that do not come are listed, and the others are written.
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
        raise click.Abort("the same command goes on from here") from None
    show_json(summary) if as_json else show(summary.table())
    if warning := summary.warning():
        click.echo(f"hpc-lstm: warning: {printable(warning)}", err=True)


@cli.command("import", short_help="Import prices from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", type=_OutputFile(), help="Market store to write.")
@click.option("--append", is_flag=True, help="Add newer rows and new symbols to the store.")
@click.option("--check", is_flag=True, help="Show what is understood, check every row, write nothing.")
@click.option(
    "--symbol-column", metavar="NAME", help="Column of the symbol; NAME,NAME joins two; none: there is none."
)
@click.option("--date-column", metavar="NAME", help="Column of the date or time.")
@click.option(
    "--date-format",
    metavar="FORM",
    help="day-first, month-first, epoch-s, epoch-ms, epoch-us, epoch-ns, excel, or a pattern such as %d/%m/%y.",
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
    help="Of times without an offset, and of daily prices' dates: Europe/Berlin.",
)
@click.option("--allow-negative", is_flag=True, help="Keep prices that are zero or negative.")
@click.option(
    "--keep-last", is_flag=True, help="Of rows of one symbol and time that differ keep the last one."
)
@click.option(
    "--symbol-case",
    metavar="HOW",
    help="Of symbols that differ in case alone. upper: they are one; keep: they are several.",
)
@_json_option
def import_(
    files: tuple[str, ...], output: str | None, append: bool, check: bool, as_json: bool, **options: Any
) -> None:
    """Import prices from FILES into a market store: CSV, Excel, Parquet, Feather, plain, gzipped or in a ZIP.

    Layout, symbols, dates and numbers are found by the files themselves, and shown; an option settles what they leave
    open.
    """
    from hpc_lstm.market.appending import append_prices
    from hpc_lstm.market.importing import check_prices, import_prices
    from hpc_lstm.market.options import ImportOptions

    chosen, paths = ImportOptions(**options), list(files)
    if output is None and (append or not check):
        raise InputError("import: name the market store by -o, or give --check alone")
    summary: Any
    if append and output is not None:
        summary = append_prices(output, paths, chosen, check=check)
    elif check or output is None:
        summary = check_prices(paths, chosen)
    else:
        summary = import_prices(paths, output, chosen)
    show_json(summary) if as_json else show(summary.table())


@cli.command(short_help="Make prices with a known best possible forecast.")
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
    help="ar: momentum under noise; regimes: momentum and reversal by turns; heavy-tails: rare large moves.",
)
@click.option("-o", "--output", required=True, type=_OutputFile(), help="Market store to write.")
def synth(symbols: int, days: int, seed: int, kind: str, output: str) -> None:
    """Make a universe of prices with known structure, and its best possible forecast error."""
    with connected_world() as world:

        def work() -> None:
            if world.rank == 0:
                from hpc_lstm.market.synthetic import synthesize

                show(synthesize(output, symbols=symbols, days=days, seed=seed, kind=kind))

        world.raise_on_all(work)


@cli.command(short_help="Write a config to start from.")
@click.option("--for", "store", default=None, type=click.Path(), help="Market store that it is for.")
@click.option(
    "-o", "--output", default="run.toml", show_default=True, type=click.Path(), help="Config to write."
)
def init(store: str | None, output: str) -> None:
    """Write a commented config to start from, with settings that suit daily prices."""
    from hpc_lstm.jobs.starter_config import write_starter_config

    show(write_starter_config(output, store))


@cli.command(short_help="Train a model.")
@click.argument("config", type=click.Path())
@_set_option
@click.option(
    "--run-dir", default=None, type=click.Path(), help="Folder of the run; default: runs/<config's name>."
)
@click.option(
    "--resume", is_flag=True, help="Resume from the newest complete checkpoint, or start if there is none."
)
@click.option(
    "--accept-unsigned",
    is_flag=True,
    help="With HPC_LSTM_SYNC_KEY: resume from a checkpoint, or join a run, that is not signed for this run and place.",
)
@_warm_start_options
def train(
    config: str,
    overrides: tuple[str, ...],
    run_dir: str | None,
    resume: bool,
    accept_unsigned: bool,
    init_from: str | None,
    keep_scaling: bool,
) -> None:
    """Train as CONFIG says, on all ranks that mpiexec or srun started, or on one.

    A run may be resumed on a market store to which newer rows were added; one whose old rows have changed is refused.
    """
    _check_warm_start(init_from, keep_scaling)
    from hpc_lstm.training.stages import telling_stages

    with telling_stages(_is_first_rank(), "importing") as stages, connected_world() as world:
        from hpc_lstm import config as configuration
        from hpc_lstm.runs import directory
        from hpc_lstm.storage.stores import check_storage_config
        from hpc_lstm.training.loop import train as train_model
        from hpc_lstm.training.warm_start import WarmStart

        settings = world.raise_on_all(lambda: configuration.load(config, overrides))
        world.raise_on_all(lambda: check_storage_config(settings.storage, config))
        name = os.path.splitext(os.path.basename(config))[0]
        run = world.raise_on_all(lambda: directory.at(run_dir or os.path.join("runs", name)))
        warm_start = WarmStart(init_from, keep_scaling) if init_from is not None else None
        train_model(
            settings,
            run,
            world,
            resume=resume,
            warm_start=warm_start,
            accept_unsigned=accept_unsigned,
            stages=stages,
        )


@cli.command(short_help="Measure a model beside simple forecasts.")
@click.argument("run_dir", type=click.Path())
@click.option("--store", default=None, type=click.Path(), help="Another market store than the run's own.")
@click.option(
    "--gradient-boosting", is_flag=True, help="Compare with boosted trees on the same windows, too."
)
@click.option(
    "--boosting-limit",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Time that the trees may grow.",
)
@click.option("--backtest", is_flag=True, help="What trading on the sign of the forecasts would have earned.")
@click.option(
    "--cost-bps",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 10_000),
    help="Cost of a change of position in basis points, for --backtest.",
)
@click.option("--long-only", is_flag=True, help="With --backtest: never sell short.")
@_walk_forward_options
@_json_option
def evaluate(
    run_dir: str,
    store: str | None,
    gradient_boosting: bool,
    boosting_limit: float,
    backtest: bool,
    cost_bps: float,
    long_only: bool,
    walk_forward: int | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Measure a trained model against simple forecasts on validation and test.

    Rows of the store that were added after the training are measured as a part of their own, "new".

    With --walk-forward the run's settings are trained anew on the days before each of N test blocks, on all ranks; a
    stopped call goes on where it was.
    """
    if walk_forward is not None:
        if gradient_boosting or backtest:
            raise click.UsageError("--gradient-boosting and --backtest are not for --walk-forward")
        _walk_forward(run_dir, store, walk_forward, **how)
        return
    if given := [name for name, value in how.items() if value]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} needs --walk-forward N")
    with connected_world() as world:
        from hpc_lstm.evaluation.backtest import BacktestSettings
        from hpc_lstm.evaluation.comparison_table import comparison_table
        from hpc_lstm.evaluation.evaluate_run import measure_run
        from hpc_lstm.evaluation.metrics_file import write_metrics

        trading = BacktestSettings(cost_bps / 1e4, not long_only) if backtest else None
        boosting_s = boosting_limit if gradient_boosting else None
        evaluation = measure_run(run_dir, store, world, boosting_s=boosting_s, trading=trading)
        if world.rank == 0:
            if store is None and "store" not in evaluation.metrics:  # the store is still that of the run
                write_metrics(run_dir, evaluation.metrics, evaluation.symbols_csv())
            show_json(evaluation.metrics) if as_json else show(comparison_table(evaluation.metrics))


@cli.command(short_help="Forecast the next prices.")
@click.argument("run_dir", type=click.Path())
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    shell_complete=_complete("symbols"),
    help="Symbol to forecast; may be given several times.",
)
@click.option("--all", "every", is_flag=True, help="Forecast all symbols of the store that can be forecast.")
@click.option(
    "--steps", default=1, show_default=True, type=click.IntRange(1), help="Steps of the run's horizon."
)
@click.option("--store", default=None, type=click.Path(), help="Another market store than the run's own.")
@click.option("-o", "--output", default=None, type=_OutputFile(), help="Write a CSV file instead.")
@_json_option
def predict(
    run_dir: str,
    symbols: tuple[str, ...],
    every: bool,
    steps: int,
    store: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Forecast the next prices of one, several or all symbols, with the error to expect."""
    if bool(symbols) == every:
        raise click.UsageError("name symbols by --symbol, or give --all")
    from hpc_lstm.evaluation.forecast import predict_symbols
    from hpc_lstm.evaluation.forecast_table import forecast_csv, forecast_table

    found, left_out = predict_symbols(run_dir, None if every else symbols, steps, store)
    if output is not None:
        from hpc_lstm.files import make_parent, write_text

        write_text(make_parent(output), forecast_csv(found))
        show(f"wrote {output}")
    elif as_json:
        show_json([{**one.columns(), "notes": one.notes} for one in found])
    else:
        show(forecast_table(found))
    if left_out:
        click.echo(f"hpc-lstm: warning: {len(left_out):,} left out: {printable(left_out[0])}", err=True)


@cli.command(short_help="Plot prices.")
@click.argument("store", type=click.Path())
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    required=True,
    shell_complete=_complete("symbols"),
    help="Symbol to plot; several are drawn as lines that begin at 100.",
)
@click.option(
    "--column", default=None, metavar="NAME", help="Of the price; default: adj_close, or else close."
)
@click.option("--from", "first", default=None, metavar="DATE", help="First day that is drawn.")
@click.option("--to", "last", default=None, metavar="DATE", help="Last day that is drawn.")
@click.option("--log", is_flag=True, help="A logarithmic price axis.")
@click.option("--candles", is_flag=True, help="Open, high, low and close, with the volume below.")
@click.option("--sma", default="", metavar="DAYS,...", help="Simple moving averages, such as 20,50,200.")
@click.option("--ema", default="", metavar="DAYS,...", help="Exponential moving averages.")
@click.option("--rsi", is_flag=True, help="The relative strength index below, of 14 days.")
@click.option(
    "--macd", is_flag=True, help="Moving average convergence/divergence below, of 12, 26 and 9 days."
)
@click.option(
    "-o", "--output", required=True, type=_OutputFile(), help="Picture to write: .png, .svg or .pdf."
)
def plot(store: str, symbols: tuple[str, ...], sma: str, ema: str, output: str, **chosen: Any) -> None:
    """Plot prices of STORE, with moving averages and indicators."""
    from hpc_lstm.report.price_plot import PriceChart, plot_prices

    chart = PriceChart(sma=_days("--sma", sma), ema=_days("--ema", ema), **chosen)
    plot_prices(store, symbols, output, chart)
    show(f"wrote {output}")


@cli.command(short_help="Write an HTML page about a run.")
@click.argument("run_dir", type=click.Path())
@click.option("-o", "--output", default=None, type=_OutputFile(), help="Default: RUN_DIR/report.html.")
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    shell_complete=_complete("symbols"),
    help="Symbol to chart; may be given several times; default: all, as far as they fit.",
)
@click.option(
    "--figures", default=None, type=click.Path(), metavar="FOLDER", help="Write the figures as files, too."
)
@click.option(
    "--format",
    "suffix",
    default="png",
    show_default=True,
    type=click.Choice(["png", "svg", "pdf"]),
    help="Of the figures.",
)
def report(
    run_dir: str, output: str | None, symbols: tuple[str, ...], figures: str | None, suffix: str
) -> None:
    """Write one HTML page about a run: what the forecast is worth, charts, losses, timing, settings, environment."""
    from hpc_lstm.report.html import write_report

    if figures is not None:
        from hpc_lstm.report.plots import write_figures

        for path in write_figures(run_dir, figures, suffix, symbols):
            show(f"wrote {path}")
    show(f"wrote {write_report(run_dir, output, symbols=symbols)}")


@cli.command(short_help="Put runs side by side.")
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(), metavar="RUN_DIR...")
@_json_option
def compare(run_dirs: tuple[str, ...], as_json: bool) -> None:
    """Put completed runs side by side: their errors, speed, and the settings in which they differ."""
    from hpc_lstm.report.run_table import compare_runs, comparison_text

    comparison = compare_runs(run_dirs)
    show_json(comparison) if as_json else show(comparison_text(comparison))


@cli.command(short_help="List the runs in a folder.")
@click.argument("folder", default="runs", type=click.Path())
@_json_option
def runs(folder: str, as_json: bool) -> None:
    """List the runs in FOLDER and below, the newest first; default: runs."""
    from hpc_lstm.report.run_table import list_runs, runs_table

    found = list_runs(folder)
    show_json(found) if as_json else show(runs_table(found, folder))


@cli.command(short_help="Show where each rank's time went.")
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(), metavar="RUN_DIR...")
@click.option(
    "--trace", default=None, type=click.Path(), help="Write a trace for Perfetto or chrome://tracing."
)
@_json_option
def timing(run_dirs: tuple[str, ...], trace: str | None, as_json: bool) -> None:
    """Show where each rank's time went, the bottleneck, and the rank or node that others wait for.

    Several clusters that train one model: the RUN_DIR of each; a trace shows them on one time axis.
    """
    from hpc_lstm.timing.table import timing_summary, timing_table

    show_json(timing_summary(*run_dirs)) if as_json else show(timing_table(*run_dirs))
    if trace is not None:
        from hpc_lstm.files import make_parent
        from hpc_lstm.timing.trace import write_trace

        write_trace(run_dirs, make_parent(trace))
        click.echo(printable(f"wrote {trace}; open it at https://ui.perfetto.dev"), err=as_json)


@cli.command(short_help="Show the rounds of clusters that train one model.")
@click.argument("url", metavar="URL|FOLDER")
@click.option(
    "--run", default="", help="Only the run of this name; that of clusters without sync.run is _shared."
)
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
@click.option("--gc", is_flag=True, help="Delete vectors of closed rounds that no cluster reads any more.")
@_json_option
def rounds(url: str, run: str, endpoint_url: str, gc: bool, as_json: bool) -> None:
    """Show the rounds of clusters that meet at URL: who took part, with how much, and who waits for whom."""
    from hpc_lstm.report.rounds_table import rounds_table, storage_at, stored_rounds

    storage = storage_at(url, endpoint_url)
    if as_json:
        show_json(stored_rounds(storage, run, gc=gc))
    else:
        show(rounds_table(storage, run, gc=gc))


@cli.command(short_help="List the checkpoints in an object store.")
@click.argument("url", metavar="URL|FOLDER")
@click.option("--run", default="", help="Only the run of this name.")
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
@_json_option
def checkpoints(url: str, run: str, endpoint_url: str, as_json: bool) -> None:
    """List the checkpoints of all runs and clusters at URL."""
    from hpc_lstm.report.rounds_table import checkpoints_table, storage_at, stored_checkpoints

    storage = storage_at(url, endpoint_url)
    show_json(stored_checkpoints(storage, run)) if as_json else show(checkpoints_table(storage, run))


@cli.command(short_help="Measure how training scales.")
@click.argument("sweep", type=click.Path())
@click.option(
    "-o", "--output", default=None, type=click.Path(), help="Folder; default: sweeps/<file's name>."
)
@click.option("--wait", is_flag=True, help="With Slurm, stay until the jobs are done.")
@click.option("--dry-run", is_flag=True, help="Show the runs and their order, and start none.")
def sweep(sweep: str, output: str | None, wait: bool, dry_run: bool) -> None:
    """Measure how training scales, as the file SWEEP says; a repeated call measures what is missing."""
    from hpc_lstm.sweep.command import run_command

    name = os.path.splitext(os.path.basename(sweep))[0]
    run_command(sweep, output or os.path.join("sweeps", name), show, wait=wait, dry_run=dry_run)


@cli.command(short_help="Search for good settings.")
@click.argument("tune", type=click.Path())
@click.option(
    "-o", "--output", default=None, type=click.Path(), help="Folder; default: tuning/<file's name>."
)
def tune(tune: str, output: str | None) -> None:
    """Search for good settings, as the file TUNE says: trials side by side on the ranks, judged on validation alone.

    A repeated call goes on where the last one was, and takes more trials if the file asks for more.
    """
    with connected_world() as world:
        from hpc_lstm.tuning.command import run_command

        name = os.path.splitext(os.path.basename(tune))[0]
        run_command(tune, output or os.path.join("tuning", name), world, show)


@cli.command(short_help="Show what this machine offers.")
@click.argument("config", required=False, type=click.Path())
@_json_option
def doctor(config: str | None, as_json: bool) -> None:
    """Show what this machine offers and what is missing, and whether CONFIG's store and storage can be reached."""
    with connected_world() as world:
        from hpc_lstm import config as configuration
        from hpc_lstm.jobs.doctor import diagnose
        from hpc_lstm.storage.stores import check_storage_config

        settings = None
        if config:
            settings = world.raise_on_all(lambda: configuration.load(config))
            world.raise_on_all(lambda: check_storage_config(settings.storage, config))
        diagnosis = diagnose(settings, world)
        if world.rank == 0:
            show_json(diagnosis) if as_json else show(diagnosis.text(terminal_width()))
        if diagnosis.failed:
            sys.exit(2)


@cli.command(short_help="Submit training to Slurm.")
@click.argument("config", type=click.Path())
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1), help="Nodes of the job.")
@click.option(
    "--gpus-per-node", default=0, show_default=True, type=click.IntRange(0), help="GPUs of a node; 0: none."
)
@click.option(
    "--ranks-per-node", default=0, type=click.IntRange(0), help="Ranks on a node; default: one a GPU, or one."
)
@click.option(
    "--cpus-per-task", default=0, type=click.IntRange(0), help="Cores of a rank; default: as the site has it."
)
@click.option("--time", default="", help='Time limit, such as "04:00:00"; default: the partition\'s.')
@click.option("--account", default="", help="Account to charge.")
@click.option("--partition", default="", help="Partition to run in.")
@click.option("--name", default="", help="Name of the job; default: the config's.")
@click.option(
    "--run-dir", default=None, type=click.Path(), help="Folder of the run; default: runs/<config's name>."
)
@_set_option
@click.option(
    "--signal-before",
    default=120,
    show_default=True,
    type=click.IntRange(0),
    help="Seconds before the time limit at which the run is signalled to write a checkpoint; 0: never.",
)
@click.option(
    "--max-requeues",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Times that the job may be started again.",
)
@click.option("--dry-run", is_flag=True, help="Print the batch script and submit nothing.")
@_warm_start_options
def submit(
    config: str,
    nodes: int,
    gpus_per_node: int,
    ranks_per_node: int,
    cpus_per_task: int,
    time: str,
    account: str,
    partition: str,
    name: str,
    run_dir: str | None,
    overrides: tuple[str, ...],
    signal_before: int,
    max_requeues: int,
    dry_run: bool,
    init_from: str | None,
    keep_scaling: bool,
) -> None:
    """Submit training as CONFIG says to Slurm, as a job that requeues itself until the run is done."""
    _check_warm_start(init_from, keep_scaling)
    from hpc_lstm.jobs import slurm

    title = os.path.splitext(os.path.basename(config))[0]
    script = slurm.batch_script(
        slurm.Job(
            slurm.train_command(
                config,
                run_dir or os.path.join("runs", title),
                overrides,
                init_from=init_from,
                keep_scaling=keep_scaling,
            ),
            nodes=nodes,
            ranks_per_node=ranks_per_node or gpus_per_node or 1,
            gpus_per_node=gpus_per_node,
            cpus_per_task=cpus_per_task,
            time=time,
            account=account,
            partition=partition,
            name=name or title,
            signal_before=signal_before,
            max_requeues=max_requeues,
        )
    )
    click.echo(script if dry_run else slurm.submit_job(script), nl=not dry_run)


@cli.command("slurm-path", hidden=True)
def slurm_path() -> None:
    """Print the path of the part that all batch scripts source."""
    from hpc_lstm.jobs.slurm import scripts_folder

    click.echo(scripts_folder() / "run.sh")


@cli.command(hidden=True)
def launcher() -> None:
    """Print the command that starts the ranks of a Slurm job here, one word per line, for the batch scripts."""
    from hpc_lstm.jobs.launcher import find_launcher

    click.echo("\n".join(find_launcher(verify=True)))


def _is_first_rank() -> bool:
    """Whether this process is rank 0, by what the launcher says before MPI is there; true without a launcher."""
    names = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


@contextmanager
def connected_world() -> Iterator[World]:
    """The MPI world around a command's body; an exception on one rank ends all ranks."""
    from hpc_lstm.parallel.world import connect

    world = connect()
    with world.abort_on_error(debug=_debug()):
        yield world


def main(arguments: list[str] | None = None) -> None:
    """The program ``hpc-lstm``: run one command and exit with its code."""
    _prepare_streams()
    # Plug-ins of pydantic that happen to be installed are none of ours; to look for them opens a file of each package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        _run(arguments)
    finally:
        _release_stdout()


def _run(arguments: list[str] | None) -> None:
    try:
        code = cli(arguments, prog_name="hpc-lstm", standalone_mode=False)
    except click.UsageError as error:
        context = error.ctx.command_path if error.ctx else "hpc-lstm"
        _fail(f"{context}: error: {_one_line(error.format_message()).rstrip('.')}; see `{context} --help`", 2)
    except click.Abort as abort:
        _fail(f"hpc-lstm: interrupted{''.join(f'; {hint}' for hint in abort.args)}", 130)
    except HpcLstmError as error:
        _end(error, arguments)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        sys.exit(1)
    except OSError as error:
        known = from_os_error(error)
        if known is None:
            raise
        _end(known, arguments)
    sys.exit(code if isinstance(code, int) else 0)


def _end(error: HpcLstmError, arguments: list[str] | None) -> None:
    # Click has discarded the command's context, which knows the option.
    if "--debug" in (sys.argv if arguments is None else arguments) and error.exit_code != 75:
        raise error
    _fail(
        f"hpc-lstm: {'' if error.exit_code == 75 else 'error: '}{_one_line(str(error))}",
        error.exit_code,
        error.quiet,
    )


def _fail(text: str, code: int, quiet: bool = False) -> None:
    if not quiet:
        sys.stderr.write(printable(text) + "\n")
    sys.exit(code)


def _prepare_streams() -> None:
    """Let output go nowhere where its stream is closed, and print what its encoding lacks as an escape.

    Otherwise the next file to be opened would get the closed stream's number, and the output of libraries.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.fstat(number)
            except OSError:
                os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _release_stdout() -> None:
    """Flush stdout, or discard what is left: otherwise Python reports a closed pipe or a full disk at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _debug() -> bool:
    return bool(click.get_current_context().find_root().params["debug"])


def _days(option: str, text: str) -> list[int]:
    try:
        days = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        days = [0]
    if any(d < 1 for d in days):
        raise InputError(f"{option}: must be numbers of days such as 20,50,200, got {json.dumps(text)}")
    return days
