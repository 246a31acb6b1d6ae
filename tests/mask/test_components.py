"""Connected components equal SciPy's labels."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fullfield.mask.components import components, fill_small_holes, remove_small


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 999), st.sampled_from([0.1, 0.4, 0.6, 0.9]))
def test_patches_are_scipy_s(rows: int, columns: int, seed: int, share: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    inside = np.random.default_rng(seed).random((rows, columns)) < share
    labels, areas = components(inside)
    wanted, count = ndimage.label(inside, np.ones((3, 3)))
    assert len(areas) == count + 1
    assert len(np.unique(labels * 1000 + wanted)) == len(np.unique(wanted))
    np.testing.assert_array_equal(np.bincount(labels.ravel(), minlength=count + 1), areas)


def test_specks_go_and_holes_close_by_their_area() -> None:
    inside = np.zeros((20, 20), np.bool_)
    inside[2:12, 2:12] = True
    inside[5, 5:8] = False
    inside[15, 15] = True
    assert remove_small(inside, 2).sum() == 97
    assert fill_small_holes(inside, 4).sum() == 101
    assert fill_small_holes(inside, 3).sum() == 98
