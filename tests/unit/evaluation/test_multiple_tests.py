"""Adjusted p-values against SciPy and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.evaluation.multiple_tests import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(P_VALUES)
def test_benjamini_hochberg_is_that_of_scipy(p: np.ndarray) -> None:
    from scipy.stats import false_discovery_control

    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p, method="bh"))


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_rejects_step_by_step(p: np.ndarray, level: float) -> None:
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(len(p), bool)
    for step, number in enumerate(order):
        if p[number] * (len(p) - step) > level:
            break
        rejected[number] = True
    assert ((holm(p) <= level) == rejected).all()


def test_symbols_without_a_test_do_not_count() -> None:
    p = np.array([np.nan, 0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(holm(p), [np.nan, 0.03, np.nan, 0.06, 0.06])
    np.testing.assert_allclose(benjamini_hochberg(p), [np.nan, 0.03, np.nan, 0.04, 0.04])
    assert len(holm(np.empty(0))) == 0
