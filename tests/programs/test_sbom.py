"""The bill of materials lists what is installed of the declared dependencies."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_bill_and_the_licences(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "tools" / "sbom.py"), "--extras", "mpich"]
    subprocess.run([*script, "-o", str(tmp_path / "sbom.json")], check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "hpc-lstm"
    versions = {one["name"]: one["version"] for one in bill["components"]}
    assert versions["numpy"] == metadata.version("numpy")
    assert "mpich" in versions
    assert "pytest" not in versions
    told = subprocess.run([*script, "--licences"], capture_output=True, text=True, check=True).stdout
    assert "NOT KNOWN" not in told
    assert len(told.splitlines()) == len(versions) + 1


def test_a_licence_that_the_metadata_do_not_name_is_known_by_its_text() -> None:
    script = [sys.executable, str(ROOT / "tools" / "sbom.py"), "--extras", "test"]
    done = subprocess.run([*script, "--licences"], capture_output=True, text=True, check=True)
    told = {line.split()[0]: line.split(maxsplit=2)[2] for line in done.stdout.splitlines()}
    metadata_of = metadata.metadata("axe-playwright-python")
    assert not {"License", "License-Expression"} & set(metadata_of)
    assert told["axe-playwright-python"] == "MIT"
    assert "NOT KNOWN" not in done.stdout
