"""The program: one command is run, and the process ends with its exit code and an error in one line."""

from __future__ import annotations

import atexit
import sys
import traceback
from collections.abc import Callable

import click

from hpc_lstm import __version__
from hpc_lstm.cli.commands import COMMANDS, LazyCommands
from hpc_lstm.cli.startup import end_despite_threads, end_without_collection, prepare_imports
from hpc_lstm.errors import HpcLstmError, from_os_error
from hpc_lstm.parallel.streams import prepare_streams, release_streams, tell


@click.group(
    commands=LazyCommands(COMMANDS),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hpc-lstm")
@click.option("--debug", is_flag=True, help="Show the log on stderr, and the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Train LSTMs on market data across MPI ranks, and know what the forecast is worth.

    Exit codes: 0 done; 2 the input is wrong; 75 stopped on request, run it again (train: with --resume) to
    continue; 130 interrupted; 1 anything else.
    """
    if debug:
        context.call_on_close(_show_log())
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """The program ``hpc-lstm``: run one command and exit with its code."""
    prepare_streams()
    prepare_imports()
    end_without_collection()
    atexit.unregister(release_streams)  # once, however often commands are run
    atexit.register(release_streams)  # after Python has shown the traceback of an error
    try:
        _run(arguments)
    except SystemExit as end:
        end_despite_threads(end.code if isinstance(end.code, int) else 1)
        raise
    except Exception:  # an error of the program itself
        end_despite_threads(1, traceback.format_exc())
        raise


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


def _show_log() -> Callable[[], None]:
    """Show what commands log that keep no log of their own; one that opens its own takes this one's place.

    Returns:
        What ends it.
    """
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("hpc-lstm: %(message)s"))
    logger = logging.getLogger("hpc_lstm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return end


def _end(error: HpcLstmError, arguments: list[str] | None) -> None:
    # Click has discarded the command's context, which knows the option.
    if "--debug" in (sys.argv if arguments is None else arguments) and error.exit_code != 75:
        tell(traceback.format_exc().rstrip())
    _fail(
        f"hpc-lstm: {'' if error.exit_code == 75 else 'error: '}{_one_line(str(error))}",
        error.exit_code,
        error.quiet,
    )


def _fail(text: str, code: int, quiet: bool = False) -> None:
    if not quiet:
        tell(text)
    sys.exit(code)


def _one_line(text: str) -> str:
    return " ".join(text.split())
