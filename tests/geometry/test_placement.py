"""Scores and pixels: centres, their inverse, and the footprint of the map."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fullfield.geometry.placement import Placement

pairs = st.tuples(st.integers(1, 40), st.integers(1, 40))
sizes = st.tuples(st.integers(1, 400), st.integers(1, 400))
placements = st.builds(Placement, step=pairs, window=pairs, image=sizes, scanned=sizes)


@given(placements, st.integers(0, 50), st.integers(0, 50))
def test_a_cell_is_found_again_at_its_own_centre(placement: Placement, i: int, j: int) -> None:
    assert placement.cell(*placement.centre(i, j)) == pytest.approx((i, j), abs=1e-6)


@given(placements)
def test_rows_and_columns_are_the_windows_that_fit(placement: Placement) -> None:
    for axis in (0, 1):
        step, window, pixels = placement.step[axis], placement.window[axis], placement.scanned[axis]
        assert placement.shape[axis] == sum(i * step + window <= pixels for i in range(pixels))


@given(placements)
def test_the_footprint_is_the_maps_cells_each_one_step_wide(placement: Placement) -> None:
    top, left, bottom, right = placement.footprint()
    rows, columns = placement.shape
    assert bottom - top == pytest.approx(rows * placement.spacing[0])
    assert right - left == pytest.approx(columns * placement.spacing[1])


def test_the_first_score_speaks_for_the_middle_of_the_first_window() -> None:
    plain = Placement((32, 16), (224, 100), (480, 640), (480, 640))
    assert plain.centre(0, 0) == (112.0, 50.0)
    assert plain.centre(2, 3) == (2 * 32 + 112.0, 3 * 16 + 50.0)
    halved = Placement((32, 16), (224, 100), (960, 1280), (480, 640))
    assert halved.scale == (0.5, 0.5)
    assert halved.centre(0, 0) == (224.0, 100.0)
