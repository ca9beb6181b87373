"""Where tests of several ranks run side by side, each keeps to cores of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launcher
import pytest
import scheduling

# Where next to nothing is shared by the tests.
APART = ("test_world.py",)
# What finds the ranks waiting that it needs, or a server, since others have started them.
TOGETHER = {
    "up to four ranks": (
        "test_collectives.py",
        "test_training.py",
        "test_changed_stores.py",
        "test_refusals.py",
    ),
    "several clusters": (
        "test_clusters.py",
        "test_warm_start.py",
        "test_searches.py",
        "test_queued_averages.py",
    ),
    "object stores": ("test_clusters_alone.py", "test_faulty_store.py", "test_s3.py"),
}
# What leaves no ranks to others comes after them.
LONGEST = (
    "test_collectives.py",
    "test_training.py",
    "test_clusters.py",
    "test_warm_start.py",
    "test_searches.py",
    "test_queued_averages.py",
    "test_clusters_alone.py",
    "test_files_of_older_versions.py",
    "test_world.py",
    "test_wheel.py",
    "test_scaling_gpus.py",
    "test_readme.py",
    "test_keras_engine.py",
    "test_sweep.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scheduling.longest_first(items, Path(__file__).parent, LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduling.files_together(config, log, "tests/mpi", TOGETHER, APART)


@pytest.fixture(scope="session", autouse=True)
def no_ranks_are_left(share_of_the_cores: None) -> Iterator[None]:
    """Ranks that wait for commands end with the tests."""
    yield
    launcher.end_waiting()


@pytest.fixture(scope="session")
def share_of_the_cores() -> Iterator[None]:
    """Bind a worker of pytest-xdist, and so the ranks that it starts, to its share of this machine's cores.

    Ranks that wait for each other then do not spin on cores that another test's ranks need: where they are more than
    their cores, they sleep.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(
        0, share(cores, worker_number(), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    )
    yield
    os.sched_setaffinity(0, cores)


def worker_number() -> int:
    """Number of this worker from 0 on; 0 without pytest-xdist, which calls them gw0, gw1, ..."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def share(cores: list[int], worker: int, workers: int) -> list[int]:
    """The cores of one of the workers: as many for each; if there are fewer cores than workers, they take turns."""
    each = max(1, len(cores) // workers)
    first = worker * each % len(cores)
    return cores[first : first + each]


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return f'url = "file://{tmp_path}/shared"'
    bucket = request.getfixturevalue("bucket")
    return f'url = "s3://{bucket.name}/team"\nendpoint_url = "{bucket.endpoint}"'
