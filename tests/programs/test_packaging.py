"""What a user installs: the wheel's content, the declared dependencies, the Makefile's targets."""

from __future__ import annotations

import ast
import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import hpc_lstm
from hpc_lstm.native.builds import FOLDER, LEVELS, file_name
from hpc_lstm.native.source import whole_source

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hpc_lstm"
DOCUMENTS = ("README.md", "LICENSE", "THIRD_PARTY.md", "CHANGELOG.md", "CONTRIBUTING.md")
# Distribution names of modules whose names differ from them; modules that a declared dependency brings along.
DISTRIBUTIONS = {
    "tomllib": "tomli",
    "tomli_w": "tomli-w",
    "botocore": "boto3",
    "ml_dtypes": "ml-dtypes",
    "pydantic_core": "pydantic",
    "pynvml": "nvidia-ml-py",
    "sklearn": "scikit-learn",
    "mlflow": "mlflow-skinny",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a checkout has, as on a file system without symbolic links."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", *DOCUMENTS):
        shutil.copy(ROOT / name, folder)
    for name in ("hpc_lstm", "kernels", "slurm", "examples", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", FOLDER))
    return folder


def build(kind: str, folder: Path, target: Path, **environment: str) -> Path:
    """A wheel or an sdist of a source tree, built without network."""
    code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(target)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return target / built.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout, whose kernels are compiled in a twentieth of the time."""
    fast = tmp_path_factory.mktemp("compiler") / "cc"
    fast.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    fast.chmod(0o755)
    return build("wheel", source, tmp_path_factory.mktemp("wheel"), CC=str(fast))


def content(wheel: Path) -> set[str]:
    """The files of a wheel besides its metadata."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    modules = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("*.py")}
    kernels = {f"hpc_lstm/kernels/{p.name}" for p in (ROOT / "kernels").iterdir() if p.is_file()}
    scripts = {f"hpc_lstm/slurm/{p.name}" for p in (ROOT / "slurm").iterdir()}
    assert kernels
    assert "hpc_lstm/slurm/run.sh" in scripts
    templates = {f"hpc_lstm/report/templates/{p.name}" for p in (PACKAGE / "report" / "templates").iterdir()}
    assert "hpc_lstm/report/templates/uplot.LICENSE" in templates
    speeds = {str(p.relative_to(ROOT)) for p in PACKAGE.rglob("gpu_speeds/*.json")}
    data = {"hpc_lstm/py.typed"} | templates | speeds
    assert content(wheel) == modules | kernels | builds() | scripts | data
    assert any(n.endswith("/LICENSE") for n in zipfile.ZipFile(wheel).namelist())


def builds() -> set[str]:
    """The C kernels in a wheel that is made here: those for this kind of processors."""
    source = whole_source(ROOT / "kernels" / "lstm.c")
    levels = [level for level in LEVELS if level.machine == platform.machine()]
    return {f"hpc_lstm/kernels/builds/{file_name(source, 'lstm', level)}" for level in levels}


def test_a_wheel_made_from_the_sdist_without_a_compiler_lacks_the_builds_alone(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        # Python 3.10 and 3.11 have it since 3.10.12 and 3.11.4; Debian 12 has 3.11.2.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {path.name for path in unpacked.iterdir()} >= {*DOCUMENTS, "examples", "docs", "kernels", "slurm"}
    for name in ("examples/quickstart.toml", "examples/data", "docs/security.md"):
        assert (unpacked / name).exists()
    pure = build("wheel", unpacked, tmp_path, CC="/nowhere/cc")
    assert content(pure) == content(wheel) - builds()
    assert pure.name.endswith("-py3-none-any.whl")
    assert wheel.name.endswith(f"-py3-none-linux_{platform.machine()}.whl")


def test_the_builds_in_a_wheel_are_taken_where_there_is_no_compiler(wheel: Path, tmp_path: Path) -> None:
    code = (
        "from hpc_lstm import config; from hpc_lstm.model.engines.registry import create_engine\n"
        "print(create_engine(config.parse({'data': {'store': 'none'}}, 'test')).arithmetic)"
    )
    shutil.unpack_archive(wheel, tmp_path, "zip")
    nothing = {"PATH": "/nowhere", "HPC_LSTM_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=nothing, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("fused\n", "")


def test_kernels_and_scripts_are_found_in_a_checkout_and_in_a_wheel(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    code = "from hpc_lstm.files import data_folder as d; print(d('kernels')); print(d('slurm'))"
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    for place, inside in ((source, source), (tmp_path / "installed", tmp_path / "installed" / "hpc_lstm")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
            check=True,
        )
        kernels, scripts = map(Path, done.stdout.splitlines())
        assert (kernels, scripts) == (inside / "kernels", inside / "slurm")
        assert (kernels / "lstm.c").is_file()
        assert (scripts / "run.sh").is_file()


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


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    import jinja2
    import yaml
    from packaging.requirements import Requirement

    template = jinja2.Template((ROOT / "packaging/conda/meta.yaml").read_text(encoding="utf-8"))
    recipe = yaml.safe_load(
        template.render(PYTHON="python", compiler=lambda language: f"{language} compiler")
    )
    assert recipe["package"] == {"name": "hpc-lstm", "version": hpc_lstm.__version__}
    assert recipe["requirements"]["build"] == ["c compiler"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = {
        requirement.name: str(requirement.specifier)
        for line in setup["options"]["install_requires"].split("\n")
        if line and (requirement := Requirement(line))
    }
    asked = dict(
        line.replace("ml_dtypes", "ml-dtypes").split(" ", 1) for line in recipe["requirements"]["run"]
    )
    assert (
        Requirement(f"python{asked.pop('python')}").specifier
        == Requirement(f"python{setup['options']['python_requires']}").specifier
    )
    assert asked == wanted


def test_every_dependency_has_its_licence_told() -> None:
    told = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert {name for name in declared() if f"| {name} |" not in told} == set()


def test_the_changelog_and_the_citation_know_this_version() -> None:
    newest, *_ = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest == hpc_lstm.__version__
    assert f"\nversion: {newest}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


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


def test_no_folder_but_an_environment_is_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    make_venv = [str(ROOT / "tools" / "make_venv.sh"), str(tmp_path), "mpich", "x", sys.executable]
    make_clean = ["make", "-f", str(ROOT / "Makefile"), "clean", "VENV=."]
    for command in (make_venv, make_clean):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert "is not a virtual environment" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


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


def test_the_lock_has_every_declared_dependency_at_a_version_that_is_allowed() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "tests/lock-3.11.txt").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = [setup["options"]["install_requires"], *(dict(setup["options.extras_require"]).values())]
    for text in "\n".join(wanted).splitlines():
        requirement = Requirement(text) if text.strip() else None
        if requirement is None or requirement.name in ("pycuda", "tomli"):  # need a GPU; an older Python
            continue
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"}):
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            assert requirement.specifier.contains(versions[name]), text
