"""The MPI world on 1 to 4 ranks: what each of them must see of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from launcher import InTurn
from small_job import write_store

CASES = Path(__file__).with_name("world_cases.py")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "market.h5", [150, 90, 120, 40])


@pytest.mark.parametrize("ranks", [0, 1, 2, 3, 4])
def test_every_rank_sees_what_it_must(ranks: int, store: Path, tmp_path: Path) -> None:
    cases = CASES.read_text().count("\ndef case_")
    (done,) = InTurn(ranks, tmp_path / "said", [[str(CASES), str(store)]], harmless=True).finish()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed case_") == cases
