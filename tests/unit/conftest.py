"""What all unit tests share: examples, signal handlers, and which process runs what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis_profiles
import pytest
import scheduling
from power import no_power_is_lost
from signal_handlers import first_handlers, signals_are_put_back

__all__ = ["first_handlers", "no_power_is_lost", "signals_are_put_back"]

hypothesis_profiles.load_profile()

# What imports scikit-learn, which takes seconds: one process of those side by side does all of it. The modules import
# it within tests, since every process imports all modules.
TOGETHER = {
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
    ),
}
LONGEST = (
    *TOGETHER["scikit-learn"],
    "market/test_price_forms.py",
    "market/test_importing.py",
    "market/test_mutated_prices.py",
    "cuda/test_compiler.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scheduling.longest_first(items, Path(__file__).parent, LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduling.files_together(config, log, "tests/unit", TOGETHER)
