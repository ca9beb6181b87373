"""The demo runs from an installed wheel alone, on a machine without a compiler and without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from small_job import train_briefly

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
FOLDERS = ("hpc_lstm", "kernels", "slurm")


def run(command: list[str], folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_runs_from_the_wheel(tmp_path: Path) -> None:
    source, installed, work = (tmp_path / name for name in ("source", "installed", "work"))
    source.mkdir()
    for name in SOURCE:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Not optimized, which takes a fifth of the time and computes fast enough for an epoch of a tiny model.
    fast = tmp_path / "cc"
    fast.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    fast.chmod(0o755)
    code = f"from setuptools import build_meta as b; print(b.build_wheel({str(tmp_path)!r}))"
    wheel = tmp_path / run([sys.executable, "-c", code], source, CC=str(fast)).splitlines()[-1]
    shutil.rmtree(source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target"]
    run([*pip, str(installed), str(wheel)], tmp_path)

    work.mkdir()
    shutil.copytree(ROOT / "examples", work / "examples")
    train_briefly(work / "examples" / "quickstart.toml")
    shutil.copy(ROOT / "tools" / "demo.sh", work)
    places = {
        "PATH": os.pathsep.join(
            [str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "PYTHONPATH": str(installed),
        "HPC_LSTM_CACHE": str(tmp_path / "cache"),
        "CC": "/nowhere/cc",
    }
    where = run([sys.executable, "-c", "import hpc_lstm; print(hpc_lstm.__file__)"], work, **places)
    assert Path(where.strip()).is_relative_to(installed)
    said = run(["bash", "demo.sh", "2"], work, **places)
    assert "engine fused" in said
    assert "computed by NumPy" not in said
    assert "On test the model " in said
    for name in ("report.html", "AAPL.png", "trace.json", "market.h5", "run/model.keras"):
        assert (work / "demo" / name).stat().st_size > 1000
    assert not list((tmp_path / "cache").rglob("lstm*")), (
        "the wheel's own kernels were taken, and none compiled"
    )
