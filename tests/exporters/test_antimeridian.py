"""Cuts at the antimeridian: areas stay, rings stay simple, holes stay where they belong."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullfield.errors import ImageError
from fullfield.exporters.antimeridian import area, split_at_antimeridian, unwrapped
from fullfield.exporters.trace import Tracer, signed_area


def traced(mask: np.ndarray, left: float, step: float) -> list[list[np.ndarray]]:
    """Regions of a mask in degrees: outer ring counter-clockwise, holes clockwise."""
    tracer, regions = Tracer(0, mask.shape[1]), []
    for row in mask:
        regions += tracer.push(row, np.zeros(len(row)))
    found = []
    for region in [*regions, *tracer.finish()]:
        rings = sorted(region.rings, key=lambda ring: signed_area(ring) < 0)
        points = [np.array([(left + step * x, -step * y) for y, x in ring]) for ring in rings]
        found.append([r if (area(r) > 0) == (n == 0) else r[::-1] for n, r in enumerate(points)])
    return found


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([179.0, 178.5, 180.0, 174.3, -181.5, 539.0, 186.0]), st.floats(0.3, 0.9)
)
def test_the_parts_together_are_the_region(seed: int, left: float, share: float) -> None:
    mask = np.random.default_rng(seed).random((9, 11)) < share
    for rings in traced(mask, left, 0.5):
        parts = split_at_antimeridian(rings)
        np.testing.assert_allclose(
            sum(area(ring) for part in parts for ring in part), sum(area(ring) for ring in rings), rtol=0, atol=1e-9
        )
        for outer, *holes in parts:
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
            for ring in (outer, *holes):
                assert (np.abs(ring[:, 0]) <= 180).all()
                assert (ring != np.roll(ring, 1, axis=0)).any(axis=1).all()
            for hole in holes:
                assert (hole.min(axis=0) >= outer.min(axis=0)).all()
                assert (hole.max(axis=0) <= outer.max(axis=0)).all()


def test_a_hole_goes_to_the_part_that_it_lies_in() -> None:
    mask = np.ones((9, 12), bool)
    mask[4, 2:] = False  # an open jaw: three parts, two of them east
    mask[2, 9] = mask[6, 9] = mask[6, 1] = False
    (rings,) = traced(mask, 178.0, 0.5)
    parts = sorted(split_at_antimeridian(rings), key=lambda part: tuple(part[0].mean(axis=0)))
    assert [len(part) for part in parts] == [2, 2, 2]
    for outer, hole in parts:
        assert (hole.min(axis=0) > outer.min(axis=0)).all()
        assert (hole.max(axis=0) < outer.max(axis=0)).all()


@pytest.mark.parametrize("off", [0.0, 1e-11, -1e-11])
def test_what_ends_at_the_antimeridian_is_not_cut(off: float) -> None:
    square = np.array([(170.0, 0.0), (180.0 + off, 0.0), (180.0 + off, 5.0), (170.0, 5.0)])
    ((ring,),) = split_at_antimeridian([square])
    assert ring[:, 0].max() == 180
    ((ring,),) = split_at_antimeridian([square + np.array([10.0, 0.0])])
    assert (ring[:, 0].min(), ring[:, 0].max()) == pytest.approx((-180, -170))


def test_longitudes_that_go_round_a_pole_have_no_end() -> None:
    assert unwrapped(np.arange(0.0, 360.0, 30.0)) is None
    np.testing.assert_array_equal(unwrapped(np.array([170.0, -170.0, 170.0])), [170.0, 190.0, 170.0])


def test_shapely_is_needed_only_where_a_region_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    square = np.array([(170.0, 0.0), (175.0, 0.0), (175.0, 5.0), (170.0, 5.0)])
    np.testing.assert_array_equal(split_at_antimeridian([square])[0][0], square)
    with pytest.raises(ImageError, match=r"crosses longitude 180.*\n  fix: pip install 'fullfield\[geo\]'"):
        split_at_antimeridian([square + np.array([8.0, 0.0])])
