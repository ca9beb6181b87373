"""The doctor: names what is missing and how to get it; fails only where a configured thing does not work."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from hpc_lstm import config as configuration
from hpc_lstm.jobs.checks import computing, result
from hpc_lstm.jobs.checks.result import Check, run_probe
from hpc_lstm.jobs.doctor import Diagnosis, diagnose
from hpc_lstm.parallel import gpu
from hpc_lstm.parallel.world import World


def by_name(diagnosis):
    return {check.name: check for check in diagnosis.checks}


def config_of(store, **storage):
    return configuration.parse({"data": {"store": str(store)}, "storage": storage}, "test")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with no package and no program."""

    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(result.metadata, "version", nothing)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def store(tmp_path):
    from hpc_lstm.market.store_writer import StoreWriter

    path = tmp_path / "market.h5"
    with StoreWriter(path, ["close"], "test") as writer:
        writer.append("AAPL", np.arange(5), np.ones((5, 1)))
    return path


def test_a_bare_machine_is_no_error_and_every_gap_has_its_remedy(bare):
    diagnosis = diagnose(None, World())
    assert not diagnosis.failed
    checks = by_name(diagnosis)
    for name, remedy in {
        "MPI": 'pip install "hpc-lstm[mpich]"',
        "launcher": "hpc-lstm[mpich]",
        "[s3]": 'pip install "hpc-lstm[s3]"',
        "[yahoo]": 'pip install "hpc-lstm[yahoo]"',
        "[report]": 'pip install "hpc-lstm[report]"',
    }.items():
        assert checks[name].status == "missing", name
        assert remedy in checks[name].advice, name
    # A laptop without a GPU lacks nothing that it needs.
    for name, found in {
        "TensorFlow": 'pip install "hpc-lstm[keras]"',
        "GPU": "none; training runs on the CPUs",
        "PyCUDA": "only GPUs need it",
    }.items():
        assert checks[name].status == "info", name
        assert found in checks[name].found, name
    assert checks["backend"].status == "ok"


def test_this_machine(tmp_path):
    checks = by_name(diagnose(None, World(node="here", threads=3)))
    assert sys.executable in checks["Python"].found
    assert metadata.version("tensorflow") in checks["TensorFlow"].found
    assert "1 rank on 1 node (here), CPU threads per rank: 3" in checks["ranks"].found


def test_it_does_not_import_tensorflow_where_there_is_no_gpu():
    code = (
        "import os, sys; os.environ['PATH'] = '/nonexistent'\n"
        "from hpc_lstm.jobs.doctor import diagnose; from hpc_lstm.parallel.world import World\n"
        "diagnose(None, World()).text()\n"
        "assert 'tensorflow' not in sys.modules and 'boto3' not in sys.modules"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - start < 5


def test_gpus_are_those_of_the_driver_and_each_library_says_what_it_sees(bare, monkeypatch):
    program(bare, "nvidia-smi", "echo 'NVIDIA H100, 80000 MiB, 550.1'; echo 'NVIDIA H100, 80000 MiB, 550.1'")
    versions = {"tensorflow": "2.20", "keras": "3.9", "pycuda": "2025.1"}
    monkeypatch.setattr(computing, "package_version", versions.get)
    monkeypatch.setattr(computing, "_TENSORFLOW_PROBE", "print('noise'); print(2)")
    monkeypatch.setattr(computing, "_PYCUDA_PROBE", "raise ImportError('libcuda.so.1: no such file')")
    checks = by_name(diagnose(None, World()))
    assert checks["GPU"].found.startswith("2: NVIDIA H100")
    assert checks["TensorFlow"] == Check("TensorFlow", "ok", "2.20, Keras 3.9; sees 2 GPUs")
    assert "libcuda.so.1: no such file" in checks["PyCUDA"].found
    monkeypatch.setattr(computing, "_TENSORFLOW_PROBE", "print(0)")
    check = by_name(diagnose(None, World()))["TensorFlow"]
    assert "sees none of the 2 GPUs" in check.found
    assert "and-cuda" in check.advice


def test_a_program_that_hangs_or_fails_is_reported_not_waited_for(bare, monkeypatch):
    program(bare, "nvidia-smi", "echo 'NVML: driver mismatch' >&2; exit 9")
    diagnosis = diagnose(None, World())
    assert "driver mismatch" in by_name(diagnosis)["GPU"].found
    assert not diagnosis.failed
    assert run_probe([sys.executable, "-c", "import time; time.sleep(9)"], 0.2) == (
        "",
        "no answer in 0.2 s",
    )


def test_a_readable_store_and_a_folder_that_can_be_reached(store, tmp_path):
    folder = tmp_path / "objects"
    folder.mkdir()
    diagnosis = diagnose(config_of(store, url=f"file://{folder}"), World())
    checks = by_name(diagnosis)
    assert not diagnosis.failed, diagnosis.text()
    assert "1 symbol, 5 rows, close" in checks["market store"].found
    assert str(folder) in checks["storage"].found


def test_a_missing_store_fails(tmp_path):
    diagnosis = diagnose(config_of(tmp_path / "none.h5"), World())
    assert diagnosis.failed
    check = by_name(diagnosis)["market store"]
    assert "none.h5" in check.found
    assert "import" in check.advice


def test_storage_below_a_file_fails(store, tmp_path):
    (tmp_path / "file").touch()
    diagnosis = diagnose(config_of(store, url=f"file://{tmp_path}/file/below"), World())
    assert by_name(diagnosis)["storage"].status == "failed"
    assert diagnosis.failed


def test_the_text_has_a_line_a_check_and_the_advice_below():
    text = Diagnosis([Check("a", "ok", "fine"), Check("long", "failed", "broken", "mend it")]).text()
    assert text.splitlines() == ["    ok  a     fine", "FAILED  long  broken", "              -> mend it"]


def test_on_a_narrow_terminal_the_text_is_broken_below_itself():
    text = Diagnosis([Check("GPU", "ok", "some words that do not fit", "and what to do about it")]).text(30)
    assert text.splitlines() == [
        "    ok  GPU  some words that",
        "             do not fit",
        "             -> and what to do",
        "                about it",
    ]


def test_each_ranks_gpu_and_what_auto_takes(bare, monkeypatch):
    node = [gpu.Gpu(str(number), "NVIDIA H100", f"GPU-{number}{number}", 0) for number in range(2)]
    monkeypatch.setattr(gpu, "installed_gpus", lambda: node)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    checks = by_name(diagnose(None, World(local_rank=1, local_size=2)))
    assert checks["GPU of a rank"].found == "rank 0: NVIDIA H100 (GPU-11)"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ, "looking must change nothing"
    program(bare, "nvidia-smi", "echo 'NVIDIA H100, 80000 MiB, 550.1'")
    monkeypatch.setattr(computing, "_BACKEND_PROBE", "print('PyCUDA is not installed')")
    found = by_name(diagnose(None, World()))["backend"].found
    assert found == 'train.backend = "auto" takes host: PyCUDA is not installed'
    assert "speeds" not in by_name(diagnose(None, World()))
    monkeypatch.setattr(computing, "_BACKEND_PROBE", "print('')")
    monkeypatch.setattr(computing, "_SPEEDS_PROBE", "print('56 sizes measured on NVIDIA H100')")
    checks = by_name(diagnose(None, World()))
    assert checks["backend"].found == 'train.backend = "auto" takes cuda'
    assert checks["speeds"].found == "56 sizes measured on NVIDIA H100"
    assert "hpc-lstm doctor --tune" in checks["speeds"].advice
    monkeypatch.setattr(computing, "_SPEEDS_PROBE", "print('56 sizes measured here')")
    assert by_name(diagnose(None, World()))["speeds"].advice == ""
    monkeypatch.setattr(computing, "_SPEEDS_PROBE", "raise SystemExit('no GPU')")
    assert by_name(diagnose(None, World()))["speeds"] == Check("speeds", "info", "not known: no GPU")
