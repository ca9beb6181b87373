"""``model.keras`` in other versions of Keras than the environment's, from the oldest that setup.cfg allows."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plain_keras import PlainKeras, check_model_opens

SETUP = Path(__file__).parents[2] / "setup.cfg"
OLDEST, *LATER = "3.5.0", "3.8.0", "3.12.0"


@pytest.mark.parametrize("version", [OLDEST, *LATER])
def test_another_version_of_keras_opens_a_model(version: str, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages)]
    done = subprocess.run([*install, f"keras=={version}"], capture_output=True, text=True)
    assert done.returncode == 0, f"pip did not install Keras {version}: {done.stderr}"
    with PlainKeras(packages) as keras:
        assert check_model_opens(keras, tmp_path, layers=2) == version


def test_the_oldest_is_that_of_the_extra() -> None:
    settings = configparser.ConfigParser()
    settings.read(SETUP)
    extra = settings["options.extras_require"]["keras"]
    found = re.search(r"^keras>=([0-9.]+)$", extra, re.MULTILINE)
    assert found is not None
    assert OLDEST.startswith(f"{found[1]}.")
