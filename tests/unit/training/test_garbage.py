"""Garbage collection while a run trains."""

from __future__ import annotations

import gc

import pytest

from hpc_lstm.training.garbage import kept_objects


def test_what_is_there_is_not_walked_until_the_block_ends() -> None:
    before = gc.get_freeze_count()
    kept = [[]]
    with kept_objects():
        assert gc.get_freeze_count() > before + 1000
        assert not any(one is kept for one in gc.get_objects())
    assert gc.get_freeze_count() == 0
    with pytest.raises(KeyError), kept_objects():
        raise KeyError
    assert gc.get_freeze_count() == 0
