"""These tests need a GPU: without one they fail at once and say what is missing, rather than pass by skipping."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Where a test starts programs itself, they find the package, too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def pytest_configure(config: pytest.Config) -> None:
    from visible_gpus import keep_one_gpu

    from hpc_lstm.cuda.availability import cuda_problem

    keep_one_gpu()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    problem = cuda_problem()
    if problem is not None:
        raise pytest.UsageError(f"the GPU tests cannot run here: {problem}")
