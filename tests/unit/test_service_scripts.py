"""The scripts that install the services of the tests, on a machine that lacks them: apt-get is a stand-in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[1] / "services"
SCRIPTS = {"ceph_rgw.sh": "Ceph", "slurm.sh": "Slurm"}
NEEDED = ("bash", "dirname", "wc", "tail", "rm", "flock", "touch", "chmod", "cat")
APT_GET = """#!/bin/sh
echo "$*" >> "$CALLS"
[ -z "$BROKEN" ] || { echo "E: no network"; exit 100; }
case "$*" in *install*) for name in $WANTED; do touch "$BIN/$name"; chmod 755 "$BIN/$name"; done ;; esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has next to no programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    for name, text in (("apt-get", APT_GET), ("id", "#!/bin/sh\necho ${USER_ID:-0}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "BIN": str(folder), "CALLS": str(tmp_path / "calls"), "BROKEN": ""}


def install(script: str, machine: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    programs = re.search(r"^PROGRAMS=\((.*)\)$", (SERVICES / script).read_text(), re.MULTILINE)
    assert programs is not None
    # From anywhere, and by itself: it finds beside itself what it shares.
    return subprocess.run(
        [shutil.which("bash") or "bash", str(SERVICES / script), "install"],
        cwd=folder,
        env={**machine, "WANTED": programs[1]},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_missing_is_installed_once(script: str, machine: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        done = install(script, machine, tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    update, packages = Path(machine["CALLS"]).read_text().splitlines()
    assert update == "update -q"
    assert packages.startswith("-o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_keeps_it_from_being_installed_is_said(
    script: str, machine: dict[str, str], tmp_path: Path
) -> None:
    done = install(script, {**machine, "USER_ID": "1000"}, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{script}: {SCRIPTS[script]} is not installed, and only root on Debian")
    done = install(script, {**machine, "BROKEN": "yes"}, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{script}: apt-get: E: no network; see /tmp/{script}-install.")
    os.unlink(done.stderr.split()[-1])
