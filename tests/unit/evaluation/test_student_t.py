"""Student's t distribution against SciPy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_lstm.evaluation.student_t import two_sided_p_value


@given(statistic=st.floats(-60, 60), degrees=st.integers(1, 5000))
def test_agrees_with_scipy(statistic: float, degrees: int) -> None:
    from scipy.stats import t

    assert two_sided_p_value(statistic, degrees) == pytest.approx(2 * t.sf(abs(statistic), degrees), rel=1e-9)


def test_ends() -> None:
    assert two_sided_p_value(0.0, 7) == 1
    assert two_sided_p_value(1e200, 7) == 0
    assert two_sided_p_value(float("-inf"), 7) == 0
