"""What a user installs: the wheel's content, the declared dependencies, the Makefile's targets."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hpc_lstm

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hpc_lstm"
# Distribution names of modules whose names differ from them; modules that a declared dependency brings along.
DISTRIBUTIONS = {"tomllib": "tomli", "tomli_w": "tomli-w", "botocore": "boto3", "keras": "tensorflow"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built, without network, from a copy of what belongs to it."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(PACKAGE, folder / "hpc_lstm", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", "from setuptools import build_meta as b; print(b.build_wheel('.'))"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.splitlines()[-1]


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    modules = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.py")}
    inside = {n for n in names if ".dist-info/" not in n}
    kernels = {f"hpc_lstm/kernels/{p.name}" for p in (ROOT / "kernels").iterdir()}
    scripts = {f"hpc_lstm/slurm/{p.name}" for p in (ROOT / "slurm").iterdir()}
    assert kernels
    assert "hpc_lstm/slurm/run.sh" in scripts
    assert inside == modules | kernels | scripts | {"hpc_lstm/py.typed"}
    assert any(n.endswith("/LICENSE") for n in names)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    read = {n.rsplit("/", 1)[-1]: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    assert f"Version: {hpc_lstm.__version__}\n" in read["METADATA"]
    assert "License-Expression: MIT\n" in read["METADATA"] or "License: MIT\n" in read["METADATA"]
    assert "hpc-lstm = hpc_lstm.cli:main" in read["entry_points.txt"]


def test_the_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-m", "hpc_lstm", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip().endswith(hpc_lstm.__version__), done.stderr


def declared() -> set[str]:
    """Names of all distributions that setup.cfg asks for, in the core and in extras other than test."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = setup["options.extras_require"]
    lines = [setup["options"]["install_requires"], *(extras[name] for name in extras if name != "test")]
    return {re.split(r"[\[<>=;!~ ]", line)[0] for text in lines for line in text.split("\n") if line}


def test_every_imported_package_is_declared() -> None:
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"hpc_lstm", "__future__", "tomllib"}
    assert {DISTRIBUTIONS.get(name, name) for name in foreign} <= declared()


def test_every_dependency_has_its_licence_told() -> None:
    told = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert {name for name in declared() if f"| {name} |" not in told} == set()


def test_the_changelog_knows_this_version() -> None:
    assert f"## {hpc_lstm.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert targets is not None
    said = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert {t for t in targets[1].split() if f"make {t} " not in said} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("mpich", "x", "/nowhere/python3.12"),
            "/nowhere/python3.12 does not run or is not Python 3.10 to 3.13",
        ),
        (("lam", "x", sys.executable), "MPI=lam: must be mpich (the wheel) or system"),
    ],
)
def test_make_venv_refuses_in_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    script = ROOT / "tools" / "make_venv.sh"
    done = subprocess.run([str(script), str(tmp_path / "venv"), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "venv").exists()


def readme_links() -> list[tuple[str, str]]:
    """Page and relative target of every link in the pages that a reader opens first."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return [
        (str(page.relative_to(ROOT)), target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]


@pytest.mark.parametrize(("page", "target"), readme_links())
def test_links_lead_somewhere(page: str, target: str) -> None:
    assert (ROOT / page).parent.joinpath(target).exists()
