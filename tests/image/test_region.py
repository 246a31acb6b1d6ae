"""Regions: the same windows as in the whole image, in the same places."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from fullfield.engine.protocols import Source
from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Region
from fullfield.image.region import region_of, scanned_region
from fullfield.image.sources import ImageSource, open_image
from fullfield.image.windowed import Edge, WindowedSource, windowed
from fullfield.model.preprocessing import PRESETS

NUMPY = {"reflect": "reflect", "replicate": "edge", "constant": "constant"}


def opened(height: int, width: int, scale: float = 1.0) -> ImageSource:
    raw = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return open_image(raw, preprocessing=PRESETS["none"], channels=3, dtype="float64", scale=scale)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ImageSource, Region, tuple[int, int], tuple[int, int]]:
    size = draw(st.tuples(st.integers(3, 40), st.integers(3, 40)))
    source = opened(*size, scale=draw(st.sampled_from([1.0, 0.5, 0.7, 1.5])))
    ends: list[int] = []
    for n in size:
        start = draw(st.integers(0, n - 1))
        ends += [start, draw(st.integers(start + 1, n))]
    window, step = (draw(st.tuples(st.integers(1, 9), st.integers(1, 9))) for _ in range(2))
    return source, (ends[0], ends[1], ends[2], ends[3]), window, step


def placed(source: WindowedSource, window: tuple[int, int], step: tuple[int, int]) -> Placement:
    return Placement(step, window, source.original_size, source.scanned_size, source.padding)


def window_at(
    whole: NDArray[np.float64], top: int, left: int, window: tuple[int, int], edge: str
) -> NDArray[np.float64]:
    """A window of the scanned image continued by NumPy."""
    far = 3 * max(whole.shape)
    mode = NUMPY[edge] if min(whole.shape[1:]) > 1 or edge != "reflect" else "edge"
    y = np.pad(whole, ((0, 0), (far, far), (far, far)), mode=mode)  # type: ignore[call-overload]
    found: NDArray[np.float64] = y[:, top + far : top + far + window[0], left + far : left + far + window[1]]
    return found


@given(cases())
def test_a_region_s_windows_are_the_image_s_own_and_lie_where_the_placement_says(
    case: tuple[ImageSource, Region, tuple[int, int], tuple[int, int]],
) -> None:
    source, region, window, step = case
    t, b, l, r = scanned_region(region, source.original_size, source.scanned_size, inside=True)
    if b - t < window[0] or r - l < window[1]:
        with pytest.raises(GeometryError, match="smaller than the window"):
            windowed(source, region=region, window=window, step=step)
        return
    part = windowed(source, region=region, window=window, step=step)
    at = placed(part, window, step)
    assert at.shape == ((b - t - window[0]) // step[0] + 1, (r - l - window[1]) // step[1] + 1)
    whole = source.read(0, *source.scanned_size[:1], 0, source.scanned_size[1])
    np.testing.assert_array_equal(part.read(0, b - t, 0, r - l), whole[:, t:b, l:r])
    y, x = at.centre(0, 0)
    assert (y * at.scale[0], x * at.scale[1]) == pytest.approx((t + window[0] / 2, l + window[1] / 2))
    assert at.cell(y, x) == pytest.approx((0, 0))
    assert at.footprint()[:2] == pytest.approx(at.centre(-0.5, -0.5))


@given(cases(), st.sampled_from(["reflect", "replicate", "constant"]), st.data())
def test_with_an_edge_windows_are_centred_in_the_region_and_see_the_real_pixels_around_it(
    case: tuple[ImageSource, Region, tuple[int, int], tuple[int, int]], edge: Edge, data: st.DataObject
) -> None:
    source, region, window, step = case
    t, b, l, r = scanned_region(region, source.original_size, source.scanned_size)
    part = windowed(source, region=region, window=window, step=step, edge=edge)
    at = placed(part, window, step)
    assert at.shape == (-(-(b - t) // step[0]), -(-(r - l) // step[1]))
    i, j = (data.draw(st.integers(0, n - 1)) for n in at.shape)
    y, x = i * step[0], j * step[1]
    found = part.read(y, y + window[0], x, x + window[1])
    whole = source.read(0, source.scanned_size[0], 0, source.scanned_size[1])
    low = window[0] // 2, window[1] // 2
    np.testing.assert_array_equal(found, window_at(whole, t + y - low[0], l + x - low[1], window, edge))
    centre = at.centre(i, j)
    wanted = t + y - low[0] + window[0] / 2, l + x - low[1] + window[1] / 2
    assert (centre[0] * at.scale[0], centre[1] * at.scale[1]) == pytest.approx(wanted)


def test_the_whole_image_as_a_region_is_the_image_and_its_padding() -> None:
    source = opened(30, 41)
    for edge in ("valid", "reflect"):
        wanted = windowed(source, window=(9, 9), step=(2, 2), edge=edge)
        found = windowed(source, region=(0, 30, 0, 41), window=(9, 9), step=(2, 2), edge=edge)
        assert found.padding == wanted.padding


def test_a_region_is_a_source_and_reads_nothing_outside_itself() -> None:
    part = windowed(opened(20, 20), region=(5, 15, 2, 12), window=(3, 3), step=(1, 1))
    source: Source = part
    assert source.shape == (3, 10, 10)
    with pytest.raises(GeometryError, match=r"y 0:11, x 0:3: does not lie in the region of 10x10 px"):
        source.read(0, 11, 0, 3)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("1:9,2:8", (1, 9, 2, 8)),
        (" 1 : 9 , : ", (1, 9, 0, 20)),
        (":5,5:", (0, 5, 5, 20)),
        ((1, 9, 2, None), (1, 9, 2, 20)),
        (((None, 9), (2, 8)), (0, 9, 2, 8)),
        ((slice(1, 9), slice(None)), (1, 9, 0, 20)),
        ([np.int64(1), 9, 2, 8], (1, 9, 2, 8)),
    ],
)
def test_a_region_is_read_from_text_and_tuples(given_: object, wanted: Region) -> None:
    assert region_of(given_, (10, 20)) == wanted


@pytest.mark.parametrize(
    "given_",
    ["1:9:2", "a:b,c:d", "-1:5,0:3", "1:9,2:8,0:1", "10%:20%,0:5", (1, 2, 3), (1.5, 2, 3, 4), (-1, 5, 0, 3), 7, None,
     (True, 5, 0, 3), (slice(0, 9, 2), slice(None)), "1" * 40 + ":,:"],
)  # fmt: skip
def test_what_is_no_region_is_refused(given_: object) -> None:
    with pytest.raises(GeometryError, match="is not a region"):
        region_of(given_, (10, 20))


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ("5:5,0:3", r"y 5:5 is empty; the image has 0:10"),
        ("0:5,9:3", r"x 9:3 is empty"),
        ("0:11,0:3", r"y 0:11 leaves the image, which has y 0:10"),
        ("0:5,0:21", r"x 0:21 leaves the image, which has x 0:20"),
        ("12:,0:3", r"y 12:10 is empty"),
    ],
)
def test_a_region_lies_in_the_image(given_: str, reason: str) -> None:
    with pytest.raises(GeometryError, match=reason):
        region_of(given_, (10, 20))
