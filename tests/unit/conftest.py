"""What all unit tests share.

The same examples at every start of the tests: whether a test passes must not depend on luck.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No deadline for an example: on a busy machine it takes what it takes.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
# `make fuzz` and `make soak` look for new examples.
settings.register_profile("explore", derandomize=False, max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# What imports TensorFlow, which takes seconds and half a gigabyte, or scikit-learn, which takes seconds: one process of
# those side by side does all of it. Their modules import them within tests, since every process imports all modules.
TOGETHER = {
    "tensorflow": (
        "model/test_engines.py",
        "clusters/test_outer_step.py",
        "cuda/test_dlpack.py",
        "model/test_keras_engine.py",
        "model/test_keras_file.py",
        "model/test_native_engine.py",
        "model/test_network.py",
        "model/test_optimizers.py",
        "parallel/test_device_allreduce.py",
        "test_bad_input.py",
        "training/test_resume.py",
    ),
    "scikit-learn": (
        "evaluation/test_baselines.py",
        "evaluation/test_gradient_boosting.py",
        "evaluation/test_metrics.py",
        "evaluation/test_multiple_tests.py",
        "evaluation/test_outputs.py",
        "evaluation/test_significance.py",
        "evaluation/test_student_t.py",
        "model/test_losses.py",
        "preprocess/test_folds.py",
        "preprocess/test_prepare.py",
        "preprocess/test_scaler.py",
        "sweep/test_fit.py",
    ),
}
# What takes longest begins first, lest one process waits for it at the end.
LONGEST = (
    "market/test_yahoo.py",
    "market/test_price_forms.py",
    "test_notebook.py",
    *TOGETHER["tensorflow"],
    "clusters/test_rounds.py",
    *TOGETHER["scikit-learn"],
    "storage/test_object_stores.py",
    "api/test_api.py",
    "training/test_walk_forward.py",
    "test_packaging.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, as with ``--dist loadfile``, and those of files that belong together, too."""
    from xdist.scheduler import LoadFileScheduling

    groups = {f"tests/unit/{name}": group for group, names in TOGETHER.items() for name in names}

    class FileScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return groups.get(file, file)

    config.option.loadscopereorder = False
    return FileScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _first_handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}


@pytest.fixture(autouse=True)
def _signals_are_put_back(_first_handlers: dict[signal.Signals, Any]) -> None:
    """`train` ignores signals from its end on, as would every process that a later test starts here."""
    for number, handler in _first_handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
