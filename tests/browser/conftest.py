"""A headless Chromium for the tests in this folder: the machine's own, or installed by apt-get as root on Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Held while something is installed, also by the tests of services; apt-get update waits for no other.
APT_LOCK = "/tmp/hpc-lstm-apt.lock"
# Beside other tests, a browser takes its time.
LIMIT_MS = 120_000
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Path of the browser; it is installed if it can be."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        apt_get = ["flock", "--close", APT_LOCK, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=600"]
        subprocess.run([*apt_get, "update"], check=True, capture_output=True, timeout=600)
        install = [*apt_get, "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
        subprocess.run(install, check=True, capture_output=True, timeout=600)
        found = shutil.which("chromium")
    if found is None:
        pytest.fail("these tests need Chromium: install the package chromium", pytrace=False)
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser, of playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # In containers root has no user namespaces for Chromium's sandbox; the pages are our own.
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox"], timeout=LIMIT_MS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small run on synthetic prices."""
    import hpc_lstm as hl

    folder = tmp_path_factory.mktemp("run")
    run = hl.train(
        {
            "data": {"store": hl.synthesize(symbols=4, days=900, seed=1), "window": 10},
            "model": {"units": 8, "layers": 1},
            "train": {"epochs": 3, "batch_size": 64},
        },
        run_dir=folder / "synthetic",
        progress=False,
    )
    return run.report()
