"""What the tests share that take long.

They start programs or servers, train whole runs, compile, load TensorFlow, or try hundreds of cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis_profiles
import pytest
import scheduling
from plain_keras import PlainKeras
from power import no_power_is_lost
from signal_handlers import first_handlers, signals_are_put_back

__all__ = ["first_handlers", "no_power_is_lost", "signals_are_put_back"]

hypothesis_profiles.load_profile()

# TensorFlow takes seconds and half a gigabyte: one process of those side by side imports it. Their modules import it
# within tests, since every process imports all modules.
TOGETHER = {
    "tensorflow": (
        "test_engines.py",
        "test_outer_step.py",
        "test_dlpack.py",
        "test_keras_engine.py",
        "test_keras_file.py",
        "test_native_engine.py",
        "test_network.py",
        "test_optimizers.py",
        "test_device_allreduce.py",
        "test_bad_input.py",
        "test_resume.py",
    ),
}
# Prices from Yahoo come before TensorFlow, which breaks yfinance's requests once it is loaded.
LONGEST = (
    "test_yahoo.py",
    *TOGETHER["tensorflow"],
    "test_notebook.py",
    "test_fit.py",
    "test_writer.py",
    "test_provenance.py",
    "test_rounds.py",
    "test_object_stores.py",
    "test_api.py",
    "test_packaging.py",
    "test_walk_forward.py",
    "test_tuning.py",
    "test_ways_out.py",
    "test_reading_hdf5.py",
    "test_known_optimum.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scheduling.longest_first(items, Path(__file__).parent, LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduling.files_together(config, log, "tests/programs", TOGETHER)


@pytest.fixture(scope="session")
def plain_keras() -> Iterator[PlainKeras]:
    """Keras in a process of its own, without this package."""
    with PlainKeras() as keras:
        yield keras
