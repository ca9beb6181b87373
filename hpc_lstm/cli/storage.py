"""What an object store holds: ``rounds``, ``checkpoints``."""

from __future__ import annotations

import click

from hpc_lstm.cli.options import json_option
from hpc_lstm.console.output import show, show_json


@click.command(short_help="Show the rounds of clusters that train one model.")
@click.argument("url", metavar="URL|FOLDER")
@click.option(
    "--run", default="", help="Only the run with this name; it is _shared for clusters without sync.run."
)
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
@click.option("--gc", is_flag=True, help="Delete vectors of closed rounds that no cluster reads any more.")
@json_option
def rounds(url: str, run: str, endpoint_url: str, gc: bool, as_json: bool) -> None:
    """Show the rounds of clusters that meet at URL: who took part, with how much, and who waits for whom."""
    from hpc_lstm.report.rounds_table import rounds_table, storage_at, stored_rounds

    storage = storage_at(url, endpoint_url)
    if as_json:
        show_json(stored_rounds(storage, run, gc=gc))
    else:
        show(rounds_table(storage, run, gc=gc))


@click.command(short_help="List the checkpoints in an object store.")
@click.argument("url", metavar="URL|FOLDER")
@click.option("--run", default="", help="Only the run with this name.")
@click.option("--endpoint-url", default="", help="Address of an S3 server other than AWS.")
@json_option
def checkpoints(url: str, run: str, endpoint_url: str, as_json: bool) -> None:
    """List the checkpoints of all runs and clusters at URL, or of one run if URL is its folder."""
    from hpc_lstm.report.rounds_table import checkpoints_table, storage_at, stored_checkpoints

    storage = storage_at(url, endpoint_url)
    show_json(stored_checkpoints(storage, run)) if as_json else show(checkpoints_table(storage, run))
