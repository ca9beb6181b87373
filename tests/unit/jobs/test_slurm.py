"""Batch scripts as text, and what they are refused for; ``tests/services`` submits them to a real Slurm."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm import cli
from hpc_lstm.errors import InputError
from hpc_lstm.jobs import slurm
from hpc_lstm.parallel import job

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = sorted((ROOT / "slurm").iterdir())
RUN = ROOT / "slurm" / "run.sh"


def said_by_bash(script: str) -> list[str]:
    """The words that a script would have its ranks run, as bash sees them."""
    lines = [line for line in script.splitlines() if not line.startswith(". ")]
    show = "run_ranks() { printf '%s\\0' \"$@\"; }"
    done = subprocess.run(
        ["bash", "-c", "\n".join([show, *lines])], capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.split("\0")[:-1]


def bash(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run bash in a folder, with this environment's programs and no Slurm job around it."""
    return subprocess.run(
        ["bash", *arguments],
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_a_command_comes_through_the_shell_as_it_is(words: list[str]) -> None:
    rendered = slurm.batch_script(slurm.Job(words, nodes=1, ranks_per_node=1))
    assert shlex.split(rendered.partition("\nrun_ranks ")[2]) == words


@pytest.mark.parametrize("word", ["two words", "$HOME `id` $(id)", "it's", 'a"b', "a\nb", "#", "*", "ä"])
def test_bash_gives_the_ranks_what_was_asked_for(word: str) -> None:
    assert said_by_bash(slurm.batch_script(slurm.Job(["echo", word], 1, 1))) == ["echo", word]


def test_a_job_asks_for_what_it_is_given_and_nothing_else() -> None:
    job = slurm.Job(["true"], 3, 4, gpus_per_node=4, time="1-0", account="physics", options=("--qos=low",))
    asked = {line for line in slurm.batch_script(job).splitlines() if line.startswith("#SBATCH")}
    assert asked == {
        f"#SBATCH --{option}"
        for option in (
            *("job-name=hpc-lstm", "nodes=3", "ntasks-per-node=4", "gpus-per-node=4", "time=1-0"),
            *("account=physics", "output=%x-%j.log", "signal=B:USR1@120", "qos=low", "requeue"),
            "open-mode=append",
        )
    }


@pytest.mark.parametrize(
    ("time", "length"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("04:00:00", 14400),
        ("1-12", 129600),
        ("1-1:1", 90060),
        ("2-0:0:9", 172809),
    ],
)
def test_times_are_read_as_slurm_reads_them(time: str, length: int) -> None:
    assert slurm.time_limit_seconds(time) == length


@pytest.mark.parametrize(
    "time", ["", "soon", "0", "1h", "-5", "1:2:3:4", "1-", "0-0:0", "5\n", "9" * 5000, "1-" + "9" * 10, "٣"]
)
def test_what_is_no_time_is_refused(time: str) -> None:
    with pytest.raises(InputError, match="time: must have a format of Slurm"):
        slurm.time_limit_seconds(time)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 0}, "nodes: must be at least 1, got 0"),
        ({"ranks_per_node": 0}, "ranks_per_node: must be at least 1, got 0"),
        ({"gpus_per_node": -1}, "gpus_per_node: must be at least 0, got -1"),
        ({"time": "2"}, "time: 2 is not longer than the 120 s before its end"),
        ({"account": "a\n#SBATCH --uid=0"}, "account: must be on one line and without quotes"),
        ({"name": "a'b"}, "name: must be on one line and without quotes"),
        ({"name": "a/b"}, 'name: must have no "/", got "a/b"'),
        ({"options": ("rm",)}, 'options: must be options of sbatch such as "--qos=low"'),
        ({"command": []}, "command: must be a program"),
        ({"command": ["a\0b"]}, "command: must be a program"),
    ],
)
def test_what_slurm_could_not_take_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        slurm.Job(**{"command": ["true"], "nodes": 1, "ranks_per_node": 1, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interpreter", "program", "added"),
    [
        ("venv/bin", "venv/bin", "{folder}/venv/bin:/usr/bin:/bin"),
        ("venv/bin", "home/bin", "{folder}/home/bin:/usr/bin:/bin"),  # pip install --user
        ("venv/bin", "", "{folder}/venv/bin:/usr/bin:/bin"),
        ("/usr/bin", "", "/usr/bin:/bin:/usr/bin"),  # behind modules that are loaded
    ],
)
def test_a_job_finds_the_programs_of_the_environment_that_submits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interpreter: str, program: str, added: str
) -> None:
    if program:
        (tmp_path / program).mkdir(parents=True)
        (tmp_path / program / "hpc-lstm").touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / interpreter / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "home/bin"))
    script = slurm.batch_script(slurm.Job(["true"], 1, 1))
    (line,) = [line for line in script.splitlines() if line.startswith("export PATH=")]
    shown = subprocess.run(
        ["/bin/bash", "-c", f"{line}; echo $PATH"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == added.format(folder=tmp_path)


def test_a_line_whose_quote_is_not_closed_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text('model.units=32 data.features=\'["close"] train.seed=1\n')
    done = bash(tmp_path, str(ROOT / "slurm/array.sbatch"), "lines.txt", "run.toml", SLURM_ARRAY_TASK_ID="1")
    assert done.returncode == 2
    assert "error: lines.txt: line 1: a quote is not closed" in done.stderr


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("srun: unrecognized option '--overlap'", True),
        ("srun: invalid option -- 'x'", True),
        ("srun: error: Invalid --distribution specification", True),
        ('srun: error: Invalid numeric value "x" for --ntasks-per-node.', True),
        ("srun: error: Invalid MPI type 'none', --mpi=list for acceptable types", True),
        ("srun: fatal: SLURM_MEM_PER_CPU, and SLURM_MEM_PER_NODE are mutually exclusive.", True),
        (
            "srun: error: Task launch for StepId=1.2 failed on node n2: Communication connection failure",
            False,
        ),
        ("", False),
    ],
)
def test_only_nodes_that_do_not_answer_are_dead(tmp_path: Path, said: str, answer: bool) -> None:
    """As srun 22.05 was seen to say it."""
    (tmp_path / "said").write_text(said)
    script = f"stop=; . {RUN}; timeout() {{ cat said >&2; return 1; }}; nodes_answer"
    done = bash(tmp_path, "-c", script, SLURM_JOB_NUM_NODES="2")
    assert (done.returncode == 0) == answer
    assert f"srun says: {said or 'nothing'}" in done.stderr, "it stands in the job's output"


@pytest.mark.parametrize("limit", ["many", "-1", "1.5", "9" * 30])
def test_a_limit_of_restarts_that_is_no_number_is_refused(tmp_path: Path, limit: str) -> None:
    done = bash(tmp_path, "-c", f"stop=; . {RUN}; run_ranks true", HPC_LSTM_MAX_REQUEUES=limit)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"error: HPC_LSTM_MAX_REQUEUES={limit}: must be a whole number" in line


@pytest.mark.parametrize(
    ("environment", "arguments", "limit"),
    [(None, [], "100"), ("3", [], "3"), ("3", ["--max-requeues", "5"], "5")],
)
def test_the_environment_limits_restarts_unless_the_option_does(
    tmp_path: Path, environment: str | None, arguments: list[str], limit: str
) -> None:
    command = ["submit", str(config(tmp_path)), "--dry-run", *arguments]
    done = CliRunner().invoke(cli.cli, command, env={"HPC_LSTM_MAX_REQUEUES": environment})
    assert f" HPC_LSTM_MAX_REQUEUES={limit}\n" in done.stdout


def test_a_job_of_a_sweep_leaves_the_limit_of_restarts_to_the_environment() -> None:
    assert "HPC_LSTM_MAX_REQUEUES" not in slurm.batch_script(slurm.Job(["true"], 1, 1))


def config(folder: Path) -> Path:
    path = folder / "my run.toml"
    path.write_text('[data]\nstore = "market.h5"\n')
    return path


def test_a_dry_run_prints_the_script_with_paths_that_hold_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["submit", "my run.toml", "--nodes", "2", "--gpus-per-node", "4", "--dry-run"]
    done = CliRunner().invoke(cli.cli, [*arguments, "--set", "data.features=['close', 'volume']"])
    assert said_by_bash(done.stdout) == [
        *("hpc-lstm", "train", f"{tmp_path}/my run.toml", "--run-dir", f"{tmp_path}/runs/my run", "--resume"),
        *("--set", "data.features=['close', 'volume']"),
    ]
    assert "#SBATCH --ntasks-per-node=4\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "model.unit=3"], 'did you mean "units"?'),
        (["--time", "tomorrow"], 'got "tomorrow"'),
        (["--nodes", "0"], "0 is not in the range"),
        ([], "sbatch: not found"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hpc_lstm", "submit", str(config(tmp_path)), *arguments],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_config_of_any_name_is_submitted_under_a_name_that_slurm_takes(tmp_path: Path) -> None:
    path = config(tmp_path).rename(tmp_path / "it's\tq.toml")
    done = CliRunner().invoke(cli.cli, ["submit", str(path), "--dry-run"])
    assert "#SBATCH --job-name=it_s_q\n" in done.output
    assert str(path) in said_by_bash(done.stdout)
    refused = CliRunner().invoke(cli.cli, ["submit", str(path), "--dry-run", "--name", "it's"])
    assert "name: must be on one line and without quotes" in str(refused.exception)


def test_a_process_says_which_job_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert job.own_job() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    assert job.own_job() == "Slurm job 12, on n[1-2], restart 0"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert job.own_job() == "Slurm job 12, task 2 of array 10, on n[1-2], restart 3"


def test_a_slurm_that_does_not_answer_says_nothing_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As squeue 22.05 was seen to say it."""
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for reason in ("Unable to contact slurm controller (connect failure)", "Invalid job id specified"):
        squeue.write_text(f"#!/bin/sh\necho 'slurm_load_jobs error: {reason}' >&2\nexit 1\n")
        squeue.chmod(0o755)
        if reason.startswith("Invalid"):
            assert slurm.job_state("1") == ""
        else:
            with pytest.raises(InputError, match="connect failure"):
                slurm.job_state("1")


@pytest.mark.parametrize(
    ("squeue", "least", "most"),
    [
        ("date -d '-100 seconds' +%FT%T", 99, 160),
        ("date -d '+100 seconds' +%FT%T", 0, 0),  # by the controller's clock
        ("echo N/A", 0, 0),
        ("echo Invalid job id specified >&2; exit 1", math.inf, math.inf),
    ],
)
def test_slurm_says_how_long_ago_a_job_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squeue: str, least: float, most: float
) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{squeue}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert least <= slurm.seconds_since_end("1") <= most


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_the_scripts(script: Path) -> None:
    assert (
        subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False).stderr == ""
    )


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.suffix == ".sbatch"], ids=lambda path: path.name)
def test_every_script_asks_for_the_signal_and_to_be_queued_again(script: Path) -> None:
    text = script.read_text()
    for line in ("#SBATCH --signal=B:USR1@120", "#SBATCH --requeue", "#SBATCH --open-mode=append"):
        assert f"\n{line}" in text
    assert '\n. "$(hpc-lstm slurm-path)" || exit 2' in text


def test_a_job_starts_with_another_runs_model_each_time_it_is_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(config(tmp_path))
    plain = slurm.train_command(path, "runs/june", [])
    warm = slurm.train_command(path, "runs/june", [], init_from="runs/may", keep_scaling=True)
    assert [word for word in warm if word not in plain] == [
        "--init-from",
        str(tmp_path / "runs/may"),
        "--keep-scaling",
    ]
    assert "--resume" in warm
