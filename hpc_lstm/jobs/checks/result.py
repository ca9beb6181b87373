"""The result of a check, and what checks need to look at packages and other programs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

Status = Literal["ok", "missing", "failed", "info"]
# Seconds that importing TensorFlow from a cold network file system can take.
PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was looked at.
        status: "ok"; "missing": not installed, and needed only for what ``advice`` says; "failed": configured, but
            does not work; "info".
        found: what was found, one line.
        advice: what to do about it, or "".
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def package_version(package: str) -> str | None:
    """Version of an installed package, by its metadata alone; None: not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def run_probe(command: list[str], timeout_s: float = PROBE_TIMEOUT_S) -> tuple[str, str | None]:
    """A command's output, and the reason for its failure or None."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment)
    except subprocess.TimeoutExpired:
        return "", f"no answer in {timeout_s:g} s"
    except OSError as error:
        return "", str(error.strerror or error)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return done.stdout, lines[-1] if lines else f"exit code {done.returncode}"
    return done.stdout, None


def last_number(output: str) -> int | None:
    """The number that a probe prints last, whatever its libraries print before."""
    words = output.split()
    return int(words[-1]) if words and words[-1].isdigit() else None
