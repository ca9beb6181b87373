"""Scaling against scikit-learn, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc_lstm.errors import InputError
from hpc_lstm.preprocess import host
from hpc_lstm.preprocess.scaler import Scaler, minmax, standard

KINDS = ("constant", "gaps", "empty", "tiny", "large", "plain")
FEATURES = ["a", "b", "target"]


def values(kinds: list[str], rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(100, 10, (rows, len(kinds)))
    for column, kind in enumerate(kinds):
        if kind == "constant":
            found[:, column] = rng.choice([0.0, 1e-3, 7.1, 1e9])
        elif kind == "gaps":
            found[rng.random(rows) < 0.5, column] = np.nan
        elif kind == "empty":
            found[:, column] = np.nan
        elif kind in ("tiny", "large"):
            found[:, column] *= 1e-9 if kind == "tiny" else 1e9
    return found


def fit(rows: np.ndarray, kind: str, feature_range: tuple[float, float] = (0.0, 1.0)) -> Scaler:
    offsets = np.array([0, len(rows)])
    if kind == "minmax":
        return minmax(["S"], FEATURES, *host.fit_minmax(rows, offsets), feature_range)
    return standard(["S"], FEATURES, *host.fit_moments(rows, offsets))


@pytest.mark.filterwarnings(
    "ignore:All-NaN", "ignore:Degrees of freedom", "ignore:Mean of empty", "ignore:invalid value"
)
@settings(deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3),
    rows=st.integers(1, 50),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["minmax", "standard"]),
    feature_range=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (5.0, 7.5)]),
)
def test_scaling_is_that_of_sklearn(
    kinds: list[str], rows: int, seed: int, kind: str, feature_range: tuple[float, float]
) -> None:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    train, later = values(kinds, rows, seed), values(kinds, 20, seed + 1)
    oracle: Any = MinMaxScaler(feature_range=feature_range) if kind == "minmax" else StandardScaler()
    oracle.fit(train)
    scaler = fit(train, kind, feature_range)
    np.testing.assert_allclose(
        scaler.scale[0], 1 / oracle.scale_ if kind == "standard" else oracle.scale_, rtol=1e-9
    )
    for rows_ in (train, later):
        found = host.transform(rows_, np.array([0, len(rows_)]), scaler.scale, scaler.shift)
        np.testing.assert_allclose(found, oracle.transform(rows_).astype(np.float32), rtol=1e-6, atol=1e-5)
    scaled = np.linspace(-0.5, 1.5, 7)
    back = oracle.inverse_transform(np.repeat(scaled[:, None], 3, axis=1))[:, -1]
    np.testing.assert_allclose(scaler.inverse_target(scaled, 0), back, rtol=1e-9, atol=1e-9)
    if kind == "minmax":
        np.testing.assert_array_equal(scaler.first[0], oracle.data_min_)
        np.testing.assert_array_equal(scaler.second[0], oracle.data_max_)


def test_inverse_takes_each_value_s_own_symbol() -> None:
    low, high = np.array([[0.0], [100.0]]), np.array([[10.0], [300.0]])
    scaler = minmax(["A", "B"], ["close"], low, high, (0, 1))
    np.testing.assert_allclose(
        scaler.inverse_target(np.float32([0.5, 0.5, 2]), np.array([0, 1, 1])), [5, 200, 500]
    )


@pytest.fixture
def scaler() -> Scaler:
    return fit(values(["constant", "empty", "plain"], 30, 0), "minmax", (-1.0, 2.0))


def test_a_saved_scaler_is_read_back_exactly(scaler: Scaler, tmp_path: Path) -> None:
    scaler.save(tmp_path / "scaler.h5")
    again = Scaler.load(tmp_path / "scaler.h5")
    for name in ("symbols", "columns", "kind", "feature_range"):
        assert getattr(again, name) == getattr(scaler, name)
    for name in ("scale", "shift", "first", "second"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scaler, name))
    assert [path.name for path in tmp_path.iterdir()] == ["scaler.h5"]


def damage(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("no HDF5")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    else:
        with h5py.File(path, "a") as file:
            if kind == "other format":
                file.attrs["format"] = "market"
            elif kind == "newer":
                file.attrs["version"] = 99
            elif kind == "no scale":
                del file["scale"]
            else:
                del file["shift"]
                file["shift"] = np.zeros((2, 2))


@pytest.mark.parametrize(
    "kind", ["missing", "text", "truncated", "other format", "newer", "no scale", "other shape"]
)
def test_a_damaged_scaler_is_refused_in_one_line(kind: str, scaler: Scaler, tmp_path: Path) -> None:
    path = tmp_path / "scaler.h5"
    scaler.save(path)
    damage(path, kind)
    with pytest.raises(InputError) as caught:
        Scaler.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scaler_that_cannot_be_written_leaves_nothing(scaler: Scaler, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        scaler.save(tmp_path / "nowhere" / "scaler.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["minmax", "standard"])
def test_constant_columns_are_known(tmp_path: Path, kind: str) -> None:
    """By the file as well; not those without values, nor those that are left as they are, as directions."""
    plain = np.array([0.0, 1, 1, 0, 1])
    for still in (0.0, 100.1, 1e9):
        rows = np.column_stack([np.full(5, still), plain, np.full(5, np.nan)])
        scaler = fit(rows, kind).unscaled([1])
        assert scaler.constant.tolist() == [[True, False, False]]
        scaler.save(tmp_path / "scaler.h5")
        np.testing.assert_array_equal(Scaler.load(tmp_path / "scaler.h5").constant, scaler.constant)
    unit = np.array([-1.0, 1.0, -1.0, 1.0])
    assert not fit(np.column_stack([unit, unit, unit]), kind).constant.any()
