"""Outlines of regions, against GDAL's and against counting."""

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.features import shapes

from fullfield.exporters.trace import TracedRegion, Tracer, signed_area

Rings = list[list[tuple[tuple[int, int], ...]]]


def traced(mask: NDArray[np.bool_], scores: NDArray[np.floating]) -> list[TracedRegion]:
    tracer, found = Tracer(0, mask.shape[1]), list[TracedRegion]()
    for row, values in zip(mask, scores, strict=True):
        found += tracer.push(row, values)
    return found + tracer.finish()


def outline(ring: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """A ring from its least corner on, in the lesser of both directions."""
    turned = []
    for way in (ring, ring[::-1]):
        first = way.index(min(way))
        turned.append(tuple(way[first:] + way[:first]))
    return min(turned)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.6, 0.85])
def test_regions_are_those_of_gdal(share: float) -> None:
    rng = np.random.default_rng(round(100 * share))
    for _ in range(60):
        mask = rng.random(rng.integers(1, 14, 2)) < share
        scores = rng.random(mask.shape)
        found = traced(mask, scores)
        theirs = [shape["coordinates"] for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4)]
        ours: Rings = sorted(sorted(outline([(x, y) for y, x in ring]) for ring in region.rings) for region in found)
        wanted: Rings = sorted(
            sorted(outline([(int(x), int(y)) for x, y in ring[:-1]]) for ring in rings) for rings in theirs
        )
        assert ours == wanted
        assert sum(region.cells for region in found) == mask.sum()
        np.testing.assert_allclose(sum(region.total for region in found), scores[mask].sum())
        for region in found:
            areas = [signed_area(ring) for ring in region.rings]
            assert sum(areas) == region.cells
            assert sum(area > 0 for area in areas) == 1


def test_a_region_is_handed_out_when_the_row_below_it_comes() -> None:
    tracer = Tracer(5, 4)
    assert tracer.push(np.array([True, True, False, False]), np.array([1.0, 3.0, 0, 0])) == []
    assert not tracer.idle
    (region,) = tracer.push(np.zeros(4, np.bool_), np.zeros(4))
    assert (region.cells, region.greatest, region.total, region.first) == (2, 3.0, 4.0, (5, 0))
    assert sorted(region.rings[0]) == [(5, 0), (5, 2), (6, 0), (6, 2)]
    assert tracer.idle


def test_spirals_join_late_and_are_one_region() -> None:
    rows = ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.#...#", "#.#####", "#......", "#######"]
    mask = np.array([[c == "#" for c in row] for row in rows])
    (region,) = traced(mask, mask.astype(float))
    assert region.cells == mask.sum() == sum(signed_area(ring) for ring in region.rings)
    assert len(region.rings) == 1
