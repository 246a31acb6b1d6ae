"""Rasterized polygons: all cells that one touches are marked, and no others."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.mask.polygons import burn
from tests.mask.rings import Polygon, rings_of

points = st.tuples(st.integers(-8, 40), st.integers(-8, 40))


@st.composite
def rings(draw: st.DrawFn) -> NDArray[np.float64]:
    return np.array(draw(st.lists(points, min_size=3, max_size=7)), np.float64) / 2


def surrounds(polygon: Polygon, x: float, y: float) -> bool:
    inside = False
    for ring in polygon:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                inside = not inside
    return inside


def passes(ring: NDArray[np.float64], a: int, b: int) -> bool:
    """Whether an edge has a stretch, or a point, within the open cell (Liang and Barsky's clipping)."""
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        low, high = 0.0, 1.0
        for start, step, least in ((x0, x1 - x0, b), (y0, y1 - y0, a)):
            if step == 0:
                if not least < start < least + 1:
                    low, high = 1.0, 0.0
            else:
                t = sorted(((least - start) / step, (least + 1 - start) / step))
                low, high = max(low, t[0]), min(high, t[1])
        if high > low + 1e-7:
            return True
    return False


def test_a_rectangle_along_the_sides_of_grid_cells_enters_no_neighbour_by_rounding() -> None:
    """Sides that coincide in fractions, on grids whose cells are no binary fraction of a pixel."""
    for size, count in product(range(2, 30), range(2, 12)):
        for first, last in ((0, 1), (1, count), (count // 2, count // 2 + 1)):
            low, high = (float(Fraction(k * size, count)) for k in (first, last))
            square = np.array([(low, low), (high, low), (high, high), (low, high)])
            cells = burn(rings_of([(square,)]), (size, size), (count, count)).cells
            inside = (np.arange(count) >= first) & (np.arange(count) < last)
            np.testing.assert_array_equal(cells != 0, inside[:, None] & inside, err_msg=str((size, count, first, last)))


@settings(max_examples=60)
@given(st.lists(st.lists(rings(), min_size=1, max_size=2), min_size=1, max_size=3))
def test_cells_are_taken_that_an_edge_enters_or_whose_centre_is_inside(drawn: list[list[NDArray[np.float64]]]) -> None:
    polygons = [tuple(p) for p in drawn]
    found = burn(rings_of(polygons), (16, 12), (16, 12)).cells
    for a in range(16):
        for b in range(12):
            entered = any(passes(ring, a, b) for p in polygons for ring in p)
            x, y = b + 0.5, a + 0.5
            around = {any(surrounds(p, x + d, y) for p in polygons) for d in (-1e-6, 1e-6)}
            assert bool(found[a, b]) == (entered or around == {True}), (a, b)
            if len(around) == 1:
                assert (found[a, b] == 255) == around.pop()


def test_a_square_along_cell_sides_takes_its_own_cells_only() -> None:
    square = np.array([(2, 3), (6, 3), (6, 5), (2, 5), (2, 3)], np.float64)
    wanted = np.zeros((8, 9), np.uint8)
    wanted[3:5, 2:6] = 255
    np.testing.assert_array_equal(burn(rings_of([(square,)]), (8, 9), (8, 9)).cells, wanted)


def test_a_hole_is_outside_and_another_polygon_in_it_inside() -> None:
    outer, hole, island = (np.array([(a, a), (b, a), (b, b), (a, b)], np.float64) for a, b in ((0, 10), (2, 8), (4, 6)))
    cells = burn(rings_of([(outer, hole), (island,)]), (10, 10), (10, 10)).cells
    assert cells[0, 0] == cells[1, 5] == cells[5, 5] == 255
    assert cells[3, 3] == 0


def test_a_sliver_thinner_than_a_cell_is_not_lost() -> None:
    sliver = np.array([(0.1, 0.1), (999.9, 700.3), (999.9, 700.4), (0.1, 0.2)], np.float64)
    cells = burn(rings_of([(sliver,)]), (1000, 1000), (100, 100)).cells
    assert all(row.any() for row in cells[:71])
    assert cells.astype(bool).any(axis=0).all()


def test_many_small_polygons_and_a_large_one_are_their_union() -> None:
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 2000, (3000, 2)).astype(np.float64)
    squares = [(np.array([(x, y), (x + 9, y), (x + 9, y + 9), (x, y + 9)]),) for x, y in corners]
    cells = burn(rings_of(squares), (2010, 2010), (2010, 2010)).cells
    wanted = np.zeros((2010, 2010), np.bool_)
    for x, y in corners.astype(int):
        wanted[y : y + 9, x : x + 9] = True
    np.testing.assert_array_equal(cells == 255, wanted)


def test_polygons_are_burnt_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    polygons = [tuple(rng.uniform(-5, 60, (5, 2)) for _ in range(rng.integers(1, 3))) for _ in range(30)]
    whole = burn(rings_of(polygons), (50, 60), (50, 60)).cells
    for most in (1, 40, 300):
        monkeypatch.setattr("fullfield.mask.polygons._EVENTS", most)
        np.testing.assert_array_equal(burn(rings_of(polygons), (50, 60), (50, 60)).cells, whole)


def test_a_polygon_that_zigzags_beyond_memory_is_refused() -> None:
    x = np.linspace(0, 4000, 20_000)
    zigzag = np.stack([x, np.where(np.arange(len(x)) % 2, 0, 4000.0)], axis=1)
    fine = np.array([(0, 0), (1, 0), (1, 1)], np.float64)
    with pytest.raises(ImageError, match=r"polygon 1 crosses the grid's rows 800\d+ times, 8388608 at most"):
        burn(rings_of([(fine,), (zigzag,)]), (4000, 4000), (4000, 4000))
