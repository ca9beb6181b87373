"""What a person looks at: ``plot``, ``report``, ``compare``, ``runs``, ``timing``."""

from __future__ import annotations

from typing import Any

import click

from hpc_lstm.cli.options import (
    OutputFile,
    complete,
    device_option,
    json_option,
    numbers_of_days,
    refuse_without,
)
from hpc_lstm.console.output import show, show_json
from hpc_lstm.parallel.streams import tell


@click.command(short_help="Plot prices.")
@click.argument("store", type=click.Path())
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    required=True,
    shell_complete=complete("symbols"),
    help="Symbol to plot; several are drawn as lines that start at 100.",
)
@click.option(
    "--column", default=None, metavar="NAME", help="Price column; default: adj_close, or else close."
)
@click.option("--from", "first", default=None, metavar="DATE", help="First day to draw.")
@click.option("--to", "last", default=None, metavar="DATE", help="Last day to draw.")
@click.option("--log", is_flag=True, help="A logarithmic price axis.")
@click.option("--candles", is_flag=True, help="Open, high, low and close, with the volume below.")
@click.option("--sma", default="", metavar="DAYS,...", help="Simple moving averages, such as 20,50,200.")
@click.option("--ema", default="", metavar="DAYS,...", help="Exponential moving averages.")
@click.option("--rsi", is_flag=True, help="The 14-day relative strength index, below the prices.")
@click.option(
    "--macd",
    is_flag=True,
    help="Moving average convergence/divergence of 12, 26 and 9 days, below the prices.",
)
@click.option(
    "-o", "--output", required=True, type=OutputFile(), help="Picture to write: .png, .svg or .pdf."
)
def plot(store: str, symbols: tuple[str, ...], sma: str, ema: str, output: str, **chosen: Any) -> None:
    """Plot prices of STORE, with moving averages and indicators."""
    from hpc_lstm.report.price_plot import PriceChart, plot_prices

    chart = PriceChart(sma=numbers_of_days("--sma", sma), ema=numbers_of_days("--ema", ema), **chosen)
    plot_prices(store, symbols, output, chart)
    show(f"wrote {output}")


@click.command(short_help="Write an HTML page about a run.")
@click.argument("run_dir", type=click.Path())
@click.option("-o", "--output", default=None, type=OutputFile(), help="Default: RUN_DIR/report.html.")
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    shell_complete=complete("symbols"),
    help="Symbol to chart; may be given several times; default: as many as fit.",
)
@click.option(
    "--figures", default=None, type=click.Path(), metavar="FOLDER", help="Also write the figures as files."
)
@click.option(
    "--format",
    "suffix",
    default="png",
    show_default=True,
    type=click.Choice(["png", "svg", "pdf"]),
    help="Format of the figures.",
)
@device_option
def report(
    run_dir: str,
    output: str | None,
    symbols: tuple[str, ...],
    figures: str | None,
    suffix: str,
    device: str,
) -> None:
    """Write one HTML page about a run: what the forecast is worth, charts, losses, timing, settings, environment."""
    refuse_without("--figures FOLDER", figures is not None, "suffix")
    from hpc_lstm.report.html import write_report

    if figures is not None:
        from hpc_lstm.report.plots import write_figures

        for path in write_figures(run_dir, figures, suffix, symbols):
            show(f"wrote {path}")
    show(f"wrote {write_report(run_dir, output, symbols=symbols, device=device)}")


@click.command(short_help="Compare runs.")
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(), metavar="RUN_DIR...")
@json_option
def compare(run_dirs: tuple[str, ...], as_json: bool) -> None:
    """Compare completed runs: their errors, speed, and the settings in which they differ."""
    from hpc_lstm.report.run_table import compare_runs, comparison_text

    comparison = compare_runs(run_dirs)
    show_json(comparison) if as_json else show(comparison_text(comparison))


@click.command(short_help="List the runs in a folder.")
@click.argument("folder", default="runs", type=click.Path())
@json_option
def runs(folder: str, as_json: bool) -> None:
    """List the runs in FOLDER and below, the newest first; default: runs."""
    from hpc_lstm.report.run_table import list_runs, runs_table

    found = list_runs(folder)
    show_json(found) if as_json else show(runs_table(found, folder))


@click.command(short_help="Show where each rank's time went.")
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(), metavar="RUN_DIR...")
@click.option(
    "--trace", default=None, type=OutputFile(), help="Write a trace for Perfetto or chrome://tracing."
)
@json_option
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
        (tell if as_json else show)(f"wrote {trace}; open it at https://ui.perfetto.dev")
