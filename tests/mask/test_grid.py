"""Masks and windows: integral images against a walk over every grid cell."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement
from fullfield.mask.grid import (
    AllOf,
    MaskCells,
    MaskGrid,
    any_wanted,
    check_coverage,
    grid_from_mask,
    map_blocks,
)

small = st.integers(1, 12)


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    image = draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))
    scanned = image if draw(st.booleans()) else draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))
    padding = draw(st.sampled_from([(0, 0, 0, 0), (3, 2, 1, 5), (-1, -2, -3, 0)]))
    window = tuple(draw(st.integers(1, max(1, n + padding[2 * a] + padding[2 * a + 1]))) for a, n in enumerate(scanned))
    return Placement(draw(st.tuples(small, small)), (window[0], window[1]), image, scanned, padding)


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.uint8]:
    shape = draw(st.tuples(small, small))
    seed, share = draw(st.integers(0, 999)), draw(st.sampled_from([0.0, 0.03, 0.3, 1.0]))
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 256, shape) * (rng.random(shape) < share)).astype(np.uint8)


def walked(cells: NDArray[np.uint8], at: Placement, least: float) -> NDArray[np.bool_]:
    """Every window beside every grid cell, in fractions."""
    rows, columns = at.shape
    found = np.zeros((rows, columns), np.bool_)
    for i in range(rows):
        for j in range(columns):
            area = inside = Fraction(0)
            touch = False
            for a in range(cells.shape[0]):
                height = overlap(at, i, 0, a, cells.shape[0])
                for b in range(cells.shape[1]):
                    both = height * overlap(at, j, 1, b, cells.shape[1])
                    touch |= bool(both > 0 and cells[a, b])
                    area += both
                    inside += both * int(cells[a, b]) / 255
            found[i, j] = touch if least == 0 else area > 0 and inside >= Fraction(least) * area
    return found


def overlap(at: Placement, index: int, axis: int, cell: int, count: int) -> Fraction:
    factor = Fraction(at.image[axis], at.scanned[axis])
    low = (index * at.step[axis] - at.padding[2 * axis]) * factor
    high = low + at.window[axis] * factor
    first, last = Fraction(cell * at.image[axis], count), Fraction((cell + 1) * at.image[axis], count)
    return max(Fraction(0), min(high, last) - max(low, first))


@given(masks(), placements(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_cell_is_wanted_where_its_window_touches_the_mask_or_is_covered(
    cells: NDArray[np.uint8], at: Placement, least: float
) -> None:
    grid = MaskGrid(cells, (at.image[0] / cells.shape[0], at.image[1] / cells.shape[1]))
    found = MaskCells(grid, at, least).cells(0, 0, *at.shape)
    np.testing.assert_array_equal(found, walked(cells, at, least))


@given(masks(), placements(), st.data())
def test_a_block_is_cut_from_the_whole_map(cells: NDArray[np.uint8], at: Placement, data: st.DataObject) -> None:
    grid = MaskGrid(cells, (at.image[0] / cells.shape[0], at.image[1] / cells.shape[1]))
    where = MaskCells(grid, at, data.draw(st.sampled_from([0.0, 0.5])))
    whole = where.cells(0, 0, *at.shape)
    rows, columns = at.shape
    if not whole.size:
        return
    i, j = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    n, m = data.draw(st.integers(1, rows - i)), data.draw(st.integers(1, columns - j))
    np.testing.assert_array_equal(where.cells(i, j, n, m), whole[i : i + n, j : j + m])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_window_that_ends_on_the_mask_s_edge_does_not_touch_it_by_rounding(axis: int) -> None:
    """Edges that coincide in fractions, of images and masks whose ratio is no binary fraction."""
    for image, scanned, rows in product(range(4, 20), range(4, 16), range(2, 13)):
        for edge in range(1, scanned):
            if edge * rows % scanned:
                continue  # between two edges of grid cells
            inside = np.arange(rows) < edge * rows // scanned
            at = Placement((1, 1), (1, 1), *(((n, 4) if axis == 0 else (4, n)) for n in (image, scanned)))
            for before in (inside, ~inside):
                mask = before[:, None] if axis == 0 else before[None]
                found = MaskCells(grid_from_mask(mask, at.image), at).cells(0, 0, *at.shape).any(axis=1 - axis)
                assert found.tolist() == [(k < edge) == before[0] for k in range(scanned)], (image, scanned, rows, edge)


def test_a_single_pixel_of_a_large_image_selects_the_windows_that_contain_it() -> None:
    inside = np.zeros((3000, 2000), np.bool_)
    inside[1234, 777] = True
    where = MaskCells(grid_from_mask(inside, (3000, 2000)), Placement((8, 8), (32, 32), (3000, 2000), (3000, 2000)))
    wanted = np.argwhere(where.cells(0, 0, *where.placement.shape))
    assert {tuple(p) for p in wanted.tolist()} == {
        (i, j) for i in range(372) for j in range(247) if 8 * i <= 1234 < 8 * i + 32 and 8 * j <= 777 < 8 * j + 32
    }


def test_the_last_row_of_a_grid_may_reach_beyond_the_image() -> None:
    cells = np.zeros((2, 2), np.uint8)
    cells[1, 1] = 255
    at = Placement((1, 1), (1, 1), (9, 9), (9, 9))
    found = MaskCells(MaskGrid(cells, (8, 8)), at).cells(0, 0, 9, 9)
    assert found[8, 8]
    assert found.sum() == 1


def test_all_of_evaluates_conditions_until_no_cell_is_left() -> None:
    class Never:
        def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
            raise AssertionError

    at = Placement((1, 1), (1, 1), (4, 4), (4, 4))
    left, right = (grid_from_mask(np.arange(4)[None] // 2 == side, (4, 4)) for side in (0, 1))
    both = AllOf((MaskCells(left, at), MaskCells(right, at), Never()))
    assert not both.cells(0, 0, 4, 4).any()
    all_cells = MaskCells(grid_from_mask(np.ones((1, 1), np.bool_), (4, 4)), at)
    assert AllOf((all_cells, MaskCells(left, at))).cells(0, 0, 4, 4).sum() == 8


def test_a_whole_map_is_asked_block_by_block() -> None:
    at = Placement((1, 1), (1, 1), (2100, 2100), (2100, 2100))
    where = MaskCells(grid_from_mask(np.eye(2100, dtype=np.bool_), (2100, 2100)), at)
    assert [b[2:] for b in map_blocks(*at.shape)] == [(2048, 2048), (2048, 52), (52, 2048), (52, 52)]
    assert sum(int(where.cells(*block).sum()) for block in map_blocks(*at.shape)) == 2100
    assert any_wanted(where, at.shape)
    assert not any_wanted(MaskCells(grid_from_mask(np.zeros((1, 1), np.bool_), (2100, 2100)), at), at.shape)


def test_the_share_of_a_grid_is_what_is_not_empty() -> None:
    assert grid_from_mask(np.array([[True, False]]), (4, 4)).share == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "half", True])
def test_a_coverage_is_a_part_of_one(value: object) -> None:
    with pytest.raises(GeometryError, match="is not from 0 to 1"):
        check_coverage(value)  # type: ignore[arg-type]
