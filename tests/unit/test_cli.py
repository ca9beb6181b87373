"""The program around its commands: help, codes, messages, what each command is given."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from rank_files import one_by_one, write_part

from hpc_lstm import __version__, cli
from hpc_lstm.cli.options import numbers_of_days
from hpc_lstm.errors import HpcLstmError, InputError, StopRequested
from hpc_lstm.training import loop

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "fetch", "import", "synth", "train", "evaluate", "predict", "plot", "report",
    "compare", "init", "tune", "runs", "rounds",
    "checkpoints", "timing", "doctor", "submit", "sweep",
}  # fmt: skip
HEAVY = {"tensorflow", "keras", "mpi4py", "numpy", "h5py", "boto3", "matplotlib", "pydantic", "rich"}


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """A line for a shell, with ``program`` for this program."""
    return subprocess.run(
        ["bash", "-c", command.replace("program", f"{sys.executable} -m hpc_lstm")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command, ``broken``, that raises what it is told to."""
    told: list[BaseException] = []

    @click.command("broken")
    def command() -> None:
        raise told[0]

    monkeypatch.setitem(cli.cli.commands, "broken", command)

    def raising(error: BaseException, *before: str) -> Any:
        told[:] = [error]
        return run(*before, "broken")

    return raising


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, command in cli.cli.commands.items() if not command.hidden} == COMMANDS
    for command in COMMANDS:
        assert run(command, "--help") == 0
        said = capsys.readouterr().out
        assert f"hpc-lstm {command}" in said
        assert len(said.splitlines()) > 4
        assert cli.cli.commands[command].help


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"hpc-lstm, version {__version__}\n"


def imported_by(*arguments: str) -> set[str]:
    """The modules that a call imports."""
    code = (
        f"import sys\nfrom hpc_lstm.cli import main\ntry:\n    main({list(arguments)})\nexcept SystemExit:\n    pass\n"
        "print('imported:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.rpartition("imported:")[2].split())


def test_help_imports_nothing_heavy() -> None:
    imported = imported_by("--help")
    assert "click" in imported
    assert not HEAVY & {name.partition(".")[0] for name in imported}


def test_a_command_imports_no_other_family() -> None:
    imported = imported_by("train", "--help")
    assert "hpc_lstm.cli.training" in imported
    assert not {"hpc_lstm.cli.jobs", "hpc_lstm.cli.prices", "hpc_lstm.cli.report"} & imported
    assert not HEAVY & {name.partition(".")[0] for name in imported}


def test_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 2
    said = capsys.readouterr().err
    assert "No such command 'trian'" in said
    if hasattr(click.exceptions, "NoSuchCommand"):  # this version of click looks for near names
        assert "'train'" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("it is\n  wrong"), 2, "hpc-lstm: error: it is wrong"),
        (HpcLstmError("it broke"), 1, "hpc-lstm: error: it broke"),
        (StopRequested("stopped by SIGTERM"), 75, "hpc-lstm: stopped by SIGTERM"),
        (
            OSError(28, "No space left on device", "/full/x"),
            2,
            "hpc-lstm: error: /full/x: No space left on device;",
        ),
        (click.UsageError("what?"), 2, "hpc-lstm broken: error: what?; see `hpc-lstm broken --help`"),
        (KeyboardInterrupt(), 130, "hpc-lstm: interrupted"),
    ],
)
def test_errors_are_one_line_and_a_code(
    broken: Any, error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(error) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(said)


def test_only_one_rank_speaks(broken: Any, capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("said by rank 0")
    error.quiet = True
    assert broken(error) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), OSError(9, "Bad file descriptor")])
def test_faults_of_ours_keep_their_traceback(broken: Any, error: Exception) -> None:
    with pytest.raises(type(error), match=r"fault|descriptor"):
        broken(error)


def test_debug_shows_the_log_of_a_command_that_keeps_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from hpc_lstm.report import run_table

    def list_runs(folder: str) -> list[Any]:
        logging.getLogger("hpc_lstm.report").info("looked into %s", folder)
        return []

    monkeypatch.setattr(run_table, "list_runs", list_runs)
    for words, shown in ((("--debug",), f"hpc-lstm: looked into {tmp_path}\n"), ((), "")):
        assert run(*words, "runs", str(tmp_path)) == 0
        assert capsys.readouterr().err == shown


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("wrong"), 2), (HpcLstmError("wrong"), 1), (OSError(28, "wrong", "/x"), 2)]
)
def test_debug_shows_the_traceback_and_keeps_the_code(
    broken: Any, error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert broken(error, "--debug") == code
    first, *_, raised, last = capsys.readouterr().err.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "wrong" in raised
    assert last.startswith("hpc-lstm: error: ")


def test_debug_shows_no_traceback_of_a_stop(broken: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert broken(StopRequested("no fault at all"), "--debug") == 75
    assert capsys.readouterr().err == "hpc-lstm: no fault at all\n"


def test_train_is_given_settings_and_a_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(loop, "train", lambda *args, **more: given.append((*args, more)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.toml").write_text('[data]\nstore = "m.h5"\n')
    assert run("train", "night.toml", "--set", "train.epochs=3", "--set", 'data.target="open"') == 0
    assert run("train", "night.toml", "--run-dir", "elsewhere/x", "--resume") == 0
    (first, where, world, how), (_, elsewhere, _, other) = given
    assert (first.train.epochs, first.data.target) == (3, "open")
    assert first.data.store == str(tmp_path / "m.h5")
    assert where.path == tmp_path / "runs" / "night"
    assert elsewhere.path == tmp_path / "elsewhere" / "x"
    for options in (how, other):
        del options["stages"]
    assert how == {"resume": False, "warm_start": None, "accept_unsigned": False}
    assert other == {"resume": True, "warm_start": None, "accept_unsigned": False}
    assert world.size == 1


@pytest.mark.parametrize(("text", "days"), [("", []), ("20", [20]), ("20, 50,200,", [20, 50, 200])])
def test_days(text: str, days: list[int]) -> None:
    assert numbers_of_days("--sma", text) == days


@pytest.mark.parametrize("text", ["x", "0", "-3", "5,1.5"])
def test_wrong_days(text: str) -> None:
    with pytest.raises(InputError, match=r"--sma: .* such as 20,50,200"):
        numbers_of_days("--sma", text)


def test_reader_that_has_had_enough() -> None:
    done = shell("program --help | true; echo ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1"), "0: it had written all before the reader left"


def test_output_to_a_full_disk() -> None:
    done = shell("program --help > /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    for name in COMMANDS:
        summary = cli.cli.commands[name].short_help
        assert f"{name:<13}{summary}" in said, "whole, not cut off"
        assert summary.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--walk-forward", "2", "--backtest"], "--backtest cannot be used with --walk-forward"),
        (["--walk-forward", "2", "--json"], "walk_forward.json; leave --json out"),
        (
            ["--walk-forward", "2", "--refit", "none", "--warm-start"],
            "--warm-start has no effect with --refit none",
        ),
    ],
)
def test_options_of_evaluate_that_exclude_each_other(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run("evaluate", "runs/none", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize(
    ("command", "option", "needed"),
    [
        ("evaluate", "--embargo 0", "--walk-forward N"),
        ("evaluate", "--expanding", "--walk-forward N"),
        ("evaluate", "--boosting-limit 60", "--gradient-boosting"),
        ("evaluate", "--trade-on sign", "--backtest"),
        ("evaluate", "--cost-bps 10", "--backtest"),
        ("evaluate", "--long-only", "--backtest"),
        ("report", "--format png", "--figures FOLDER"),
        ("submit", "--keep-scaling", "--init-from RUN_DIR"),
    ],
)
def test_options_without_effect_are_refused_also_where_they_say_the_default(
    capsys: pytest.CaptureFixture[str], command: str, option: str, needed: str
) -> None:
    assert run(command, "none", *option.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{command}: error: {option.split()[0]} needs {needed};" in line


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate none --backtest --cost-bps",
        "evaluate none --gradient-boosting --boosting-limit",
        "fetch A --start 2020-01-01 -o x.h5 --rate",
    ],
)
def test_an_option_that_takes_a_number_takes_no_nan(
    capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert run(*arguments.split(), "nan") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"Invalid value for '{arguments.split()[-1]}': 'nan' is not a number" in line


def test_a_link_that_is_named_as_output_is_written_through(tmp_path: Path) -> None:
    write_part(tmp_path, one_by_one(("startup", 1000)))
    for name, *words in (("a.toml", "init", "-o"), ("t.json", "timing", str(tmp_path), "--trace")):
        link = tmp_path / f"link-{name}"
        link.symlink_to(tmp_path / name)
        assert run(*words, str(link)) == 0
        assert link.is_symlink()
        assert (tmp_path / name).is_file()


def test_tables_are_also_json() -> None:
    with_json = {
        name
        for name, command in cli.cli.commands.items()
        if any("--json" in option.opts for option in command.params)
    }
    assert with_json == {
        "fetch", "import", "evaluate", "predict", "timing", "rounds", "checkpoints", "doctor",
        "compare", "runs", "sweep", "tune",
    }  # fmt: skip
