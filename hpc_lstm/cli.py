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


def _check_warm_start(init_from: str | None, keep_scaling: bool) -> None:
    if keep_scaling and init_from is None:
        raise click.UsageError("--keep-scaling needs --init-from RUN_DIR")


class _OutputFile(click.Path):
    """A file to write; where it is a symbolic link, the file that it leads to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        return os.path.realpath(path) if os.path.islink(path) else path


@click.group(
    no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="hpc-lstm")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train LSTMs on market data across MPI ranks, and know what the forecast is worth.

    Exit codes: 0 done; 2 the input is wrong; 75 stopped on request with a checkpoint, run again with --resume;
    1 anything else.
    """


@cli.command()
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
    _show(summary.table())
    if warning := summary.warning():
        click.echo(f"hpc-lstm: warning: {printable(warning)}", err=True)


@cli.command("import")
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
def import_(files: tuple[str, ...], output: str | None, append: bool, check: bool, **options: Any) -> None:
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
    if append and output is not None:
        _show(append_prices(output, paths, chosen, check=check).table())
    elif check or output is None:
        _show(check_prices(paths, chosen).table())
    else:
        _show(import_prices(paths, output, chosen).table())


@cli.command()
@click.option("--symbols", default=100, show_default=True, type=click.IntRange(1), help="Number of symbols.")
@click.option(
    "--days", default=2500, show_default=True, type=click.IntRange(2), help="Trading days per symbol."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the generator.")
@click.option("-o", "--output", required=True, type=_OutputFile(), help="Market store to write.")
def synth(symbols: int, days: int, seed: int, output: str) -> None:
    """Make a universe of prices with known structure, and its best possible forecast error."""
    with connected_world() as world:

        def work() -> None:
            if world.rank == 0:
                from hpc_lstm.market.synthetic import synthesize

                _show(synthesize(output, symbols=symbols, days=days, seed=seed))

        world.raise_on_all(work)


@cli.command()
@click.argument("config", type=click.Path())
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting.")
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
    with connected_world() as world:
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
            settings, run, world, resume=resume, warm_start=warm_start, accept_unsigned=accept_unsigned
        )


@cli.command()
@click.argument("run_dir", type=click.Path())
@click.option("--store", default=None, type=click.Path(), help="Another market store than the run's own.")
def evaluate(run_dir: str, store: str | None) -> None:
    """Measure a trained model against simple forecasts on validation and test.

    Rows of the store that were added after the training are measured as a part of their own, "new".
    """
    with connected_world() as world:
        from hpc_lstm.evaluation.comparison_table import comparison_table
        from hpc_lstm.evaluation.evaluate_run import evaluate_run
        from hpc_lstm.evaluation.metrics_file import write_metrics

        metrics = evaluate_run(run_dir, store, world)
        if world.rank == 0:
            if store is None and "store" not in metrics:  # the store is still that of the run
                write_metrics(run_dir, metrics)
            _show(comparison_table(metrics))


@cli.command()
@click.argument("run_dir", type=click.Path())
@click.option("--symbol", required=True, help="Symbol to forecast.")
@click.option(
    "--steps", default=1, show_default=True, type=click.IntRange(1), help="Steps of the run's horizon."
)
@click.option("--store", default=None, type=click.Path(), help="Another market store than the run's own.")
def predict(run_dir: str, symbol: str, steps: int, store: str | None) -> None:
    """Forecast the next prices of a symbol, with the error to expect."""
    from hpc_lstm.evaluation.forecast import predict_symbol

    _show(predict_symbol(run_dir, symbol, steps, store).table())


@cli.command()
@click.argument("store", type=click.Path())
@click.option("--symbol", required=True, help="Symbol to plot.")
@click.option("--sma", default="", metavar="DAYS,...", help="Simple moving averages, such as 20,50,200.")
@click.option("--ema", default="", metavar="DAYS,...", help="Exponential moving averages.")
@click.option(
    "-o", "--output", required=True, type=_OutputFile(), help="Picture to write: .png, .svg or .pdf."
)
def plot(store: str, symbol: str, sma: str, ema: str, output: str) -> None:
    """Plot a symbol's prices in STORE with moving averages."""
    from hpc_lstm.report.plots import plot_prices

    plot_prices(store, symbol, output, sma=_days("--sma", sma), ema=_days("--ema", ema))
    _show(f"wrote {output}")


@cli.command()
@click.argument("run_dir", type=click.Path())
@click.option("-o", "--output", default=None, type=_OutputFile(), help="Default: RUN_DIR/report.html.")
def report(run_dir: str, output: str | None) -> None:
    """Write one HTML page about a run: settings, losses, forecast, metrics, timing."""
    from hpc_lstm.report.html import write_report

    _show(f"wrote {write_report(run_dir, output)}")


@cli.command()
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(), metavar="RUN_DIR...")
@click.option(
    "--trace", default=None, type=click.Path(), help="Write a trace for Perfetto or chrome://tracing."
)
def timing(run_dirs: tuple[str, ...], trace: str | None) -> None:
    """Show where each rank's time went, the bottleneck, and the rank or node that others wait for.

    Several clusters that train one model: the RUN_DIR of each; a trace shows them on one time axis.
    """
    from hpc_lstm.timing.table import timing_table

    _show(timing_table(*run_dirs))
    if trace is not None:
        from hpc_lstm.timing.trace import write_trace

        write_trace(run_dirs, trace)
        _show(f"wrote {trace}; open it at https://ui.perfetto.dev")


@cli.command()
@click.argument("url")
@click.option(
    "--run", default="", help="Only the run of this name; that of clusters without sync.run is _shared."
)
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
@click.option("--gc", is_flag=True, help="Delete vectors of closed rounds that no cluster reads any more.")
def rounds(url: str, run: str, endpoint_url: str, gc: bool) -> None:
    """Show the rounds of clusters that meet at URL: who took part, with how much, and who waits for whom."""
    from hpc_lstm.report.rounds_table import rounds_table, storage_at

    _show(rounds_table(storage_at(url, endpoint_url), run, gc=gc))


@cli.command()
@click.argument("url")
@click.option("--run", default="", help="Only the run of this name.")
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
def checkpoints(url: str, run: str, endpoint_url: str) -> None:
    """List the checkpoints of all runs and clusters at URL."""
    from hpc_lstm.report.rounds_table import checkpoints_table, storage_at

    _show(checkpoints_table(storage_at(url, endpoint_url), run))


@cli.command()
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
    run_command(sweep, output or os.path.join("sweeps", name), _show, wait=wait, dry_run=dry_run)


@cli.command()
@click.argument("config", required=False, type=click.Path())
def doctor(config: str | None) -> None:
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
            _show(diagnosis.text())
        if diagnosis.failed:
            sys.exit(2)


@cli.command()
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
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one setting.")
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


def _show(text: str) -> None:
    """Print a text that may hold names from files: none of them commands the terminal."""
    click.echo(printable(text))


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
