"""The README's commands and lines of Python do what it says, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_job import train_briefly

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", README, flags=re.MULTILINE)
# A test of the Makefile's targets is not for here: they make environments.
OUTSIDE = ("make ", ". .venv/bin/activate")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands find in a fresh clone."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def run(command: list[str], folder: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(checkout: Path) -> str:
    """The output of all commands of the README, in their order."""
    lines = [line.strip() for block in BLOCKS for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("hpc-lstm ", "mpiexec "))]
    assert len(commands) == 4
    assert sum(line.startswith(OUTSIDE) for line in lines) == 3
    return "".join(run(["bash", "-c", command], checkout) for command in commands)


def masked(text: str) -> list[str]:
    """Lines without their numbers, places and marks of the best epoch, which differ between machines."""
    lines = (re.sub(r"-?\d[\d.,]*", "0", line) for line in text.splitlines())
    return [" ".join(re.sub(r"(best so far|in \S+)$", "", line).split()) for line in lines if line.strip()]


def test_the_commands_end_in_what_is_shown(said: str, checkout: Path) -> None:
    (shown,) = [block for block in BLOCKS if "train loss" in block]
    told = masked(said)
    missing = [line for line in masked(shown) if line not in told and "verdict" not in line]
    # Whether the model beats persistence, and by how much, is up to the numbers.
    assert all(line.startswith("On test the model") for line in missing), missing
    assert (checkout / "runs" / "first" / "report.html").exists()


def test_the_lines_of_python_do_it_too(said: str, checkout: Path) -> None:
    train_briefly(checkout / "examples" / "quickstart.toml")  # the commands have trained with it as it stands
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert "persistence" in run([sys.executable, "-c", code], checkout)
    assert (checkout / "runs" / "AAPL.png").exists()


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert len(targets) > 20
    assert [target for target in targets if not (ROOT / target).exists()] == []
