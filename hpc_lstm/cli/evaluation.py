"""What a trained model is worth and forecasts: ``evaluate``, ``predict``."""

from __future__ import annotations

from typing import Any

import click

from hpc_lstm.cli.options import (
    Command,
    Number,
    OutputFile,
    complete,
    device_option,
    json_option,
    refuse_without,
)
from hpc_lstm.cli.ranks import connected_world
from hpc_lstm.console.output import show, show_json
from hpc_lstm.errors import InputError
from hpc_lstm.parallel.streams import tell


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
            help="Retrain on every K-th fold, or only on the first; default: on every fold.",
        ),
        click.option(
            "--rolling",
            default=None,
            type=click.IntRange(1),
            metavar="DAYS",
            help="Train on the last DAYS days before validation, not on all.",
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
    if warm_start and every == "none":
        raise click.UsageError("--warm-start has no effect with --refit none; leave one of them out")
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


@click.command(short_help="Compare a model with simple forecasts.")
@click.argument("run_dir", type=click.Path())
@click.option("--store", default=None, type=click.Path(), help="A market store other than the run's own.")
@click.option(
    "--gradient-boosting", is_flag=True, help="Also compare with boosted trees on the same windows."
)
@click.option(
    "--boosting-limit",
    default=60.0,
    show_default=True,
    type=Number(0),
    metavar="SECONDS",
    help="Time limit for training the trees.",
)
@click.option(
    "--forecasts",
    default=None,
    type=OutputFile(),
    help="Write every forecast with the actual value, as CSV: symbol, dates, last price, forecast, interval.",
)
@click.option("--backtest", is_flag=True, help="Show what trading on the forecasts would have earned.")
@click.option(
    "--trade-on",
    default="sign",
    show_default=True,
    type=click.Choice(["sign", "interval", "scaled"]),
    help="With --backtest: trade on every forecast (sign), only where the entire interval lies beyond the cost "
    "(interval), or in proportion to how sure the forecast is (scaled).",
)
@click.option(
    "--cost-bps",
    default=10.0,
    show_default=True,
    type=Number(0, 10_000),
    help="Cost of a change of position in basis points, for --backtest.",
)
@click.option("--long-only", is_flag=True, help="With --backtest: never sell short.")
@_walk_forward_options
@device_option
@json_option
def evaluate(
    run_dir: str,
    store: str | None,
    gradient_boosting: bool,
    boosting_limit: float,
    forecasts: str | None,
    backtest: bool,
    trade_on: str,
    cost_bps: float,
    long_only: bool,
    walk_forward: int | None,
    device: str,
    as_json: bool,
    **how: Any,
) -> None:
    """Measure a trained model against simple forecasts on validation and test.

    Rows of the store that were added after the training are measured as a separate part, "new".

    With --walk-forward the run's settings are trained again on the days before each of N test blocks, on all ranks;
    the same command continues an interrupted call.
    """
    refuse_without("--gradient-boosting", gradient_boosting, "boosting_limit")
    refuse_without("--backtest", backtest, "trade_on", "cost_bps", "long_only")
    refuse_without("--walk-forward N", walk_forward is not None, *how)
    if walk_forward is not None:
        if gradient_boosting or backtest or forecasts:
            raise click.UsageError(
                "--gradient-boosting, --forecasts and --backtest cannot be used with --walk-forward"
            )
        if as_json:  # stdout has what the folds' training says
            raise click.UsageError(
                "--json cannot be used with --walk-forward, which writes RUN_DIR/walk_forward.json; leave --json out"
            )
        if device != "auto":
            raise click.UsageError(
                "--device cannot be used with --walk-forward, which trains as the run's settings say"
            )
        _walk_forward(run_dir, store, walk_forward, **how)
        return
    with connected_world(if_launched=True) as world:
        from hpc_lstm.evaluation.backtest import BacktestSettings
        from hpc_lstm.evaluation.comparison_table import comparison_table
        from hpc_lstm.evaluation.evaluate_run import measure_run
        from hpc_lstm.evaluation.metrics_file import write_metrics

        if forecasts is not None:
            from hpc_lstm.evaluation.past_forecasts import CSV_BEGINNING, past_forecasts, past_forecasts_csv
            from hpc_lstm.files import make_parent, require_replaceable_text, write_text

            path = forecasts
            world.raise_on_all(
                lambda: require_replaceable_text(path, CSV_BEGINNING, "a table of past forecasts")
            )
        trading = BacktestSettings(cost_bps / 1e4, not long_only, trade_on) if backtest else None
        boosting_s = boosting_limit if gradient_boosting else None
        evaluation = measure_run(run_dir, store, world, boosting_s=boosting_s, trading=trading, device=device)
        if world.rank == 0:
            refused: InputError | None = None
            if store is None and "store" not in evaluation.metrics:  # the store is still that of the run
                try:
                    write_metrics(run_dir, evaluation.metrics, evaluation.symbols_csv())
                except InputError as error:  # of somebody else's run: what was measured is shown all the same
                    refused = error
            show_json(evaluation.metrics) if as_json else show(comparison_table(evaluation.metrics))
            if forecasts is not None:
                text = past_forecasts_csv(past_forecasts(run_dir, store, device=device))
                write_text(make_parent(forecasts), text)
                (tell if as_json else show)(f"wrote {forecasts}")
            if refused is not None:
                raise refused


@click.command(short_help="Forecast the next prices.")
@click.argument("run_dir", type=click.Path())
@click.option(
    "--symbol",
    "symbols",
    multiple=True,
    shell_complete=complete("symbols"),
    help="Symbol to forecast; may be given several times.",
)
@click.option("--all", "every", is_flag=True, help="Forecast all symbols of the store that can be forecast.")
@click.option(
    "--steps", default=1, show_default=True, type=click.IntRange(1), help="Steps of the run's horizon."
)
@click.option("--store", default=None, type=click.Path(), help="A market store other than the run's own.")
@click.option("-o", "--output", default=None, type=OutputFile(), help="Write a CSV file instead of a table.")
@device_option
@json_option
def predict(
    run_dir: str,
    symbols: tuple[str, ...],
    every: bool,
    steps: int,
    store: str | None,
    output: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Forecast the next prices of one, several or all symbols, with the error to expect."""
    if bool(symbols) == every:
        raise click.UsageError("name symbols with --symbol, or give --all")
    from hpc_lstm.evaluation.forecast_table import CSV_BEGINNING, forecast_csv, forecast_table
    from hpc_lstm.evaluation.predict import predict_symbols
    from hpc_lstm.files import make_parent, require_replaceable_text, write_text

    if output is not None:
        require_replaceable_text(output, CSV_BEGINNING, "a table of forecasts")
    found, left_out = predict_symbols(*(run_dir, None if every else symbols, steps, store), device=device)
    if output is not None:
        write_text(make_parent(output), forecast_csv(found))
        (tell if as_json else show)(f"wrote {output}")
    if as_json:
        show_json([{**one.columns(), "notes": one.notes} for one in found])
    elif output is None:
        show(forecast_table(found))
    if left_out:
        tell(f"hpc-lstm: warning: {len(left_out):,} left out: {left_out[0]}")
