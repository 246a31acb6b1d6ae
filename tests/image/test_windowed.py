"""Images continued beyond their edges equal ``numpy.pad``, region by region."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from fullfield.engine.protocols import Source
from fullfield.errors import GeometryError
from fullfield.image.sources import ImageSource, open_image
from fullfield.image.windowed import Edge, WindowedSource, parse_edge, windowed
from fullfield.model.preprocessing import PRESETS

NUMPY: dict[str, Any] = {"reflect": "reflect", "replicate": "edge"}
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


def raw(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened(height: int, width: int, preset: str = "none") -> ImageSource:
    return open_image(raw(height, width), preprocessing=PRESETS[preset], channels=3, dtype="float64")


@given(sizes, sizes, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from(["reflect", "replicate"]))
def test_it_is_numpy_s_padding(
    size: tuple[int, int], window: tuple[int, int], step: tuple[int, int], edge: Edge
) -> None:
    source = opened(*size)
    padded = windowed(source, edge=edge, window=window, step=step)
    top, bottom, left, right = padded.padding
    plain = source.read(0, size[0], 0, size[1])
    wanted = np.pad(plain, ((0, 0), (top, bottom), (left, right)), mode=NUMPY[edge])
    assert padded.shape == wanted.shape
    np.testing.assert_array_equal(padded.read(0, wanted.shape[1], 0, wanted.shape[2]), wanted)


@given(sizes, st.data())
def test_every_region_is_cut_from_the_same_image(size: tuple[int, int], data: st.DataObject) -> None:
    edge: Edge = data.draw(st.sampled_from(["reflect", "replicate", "constant"]))
    padded = windowed(opened(*size, preset="imagenet"), edge=edge, window=(21, 14), step=(4, 4))
    _, height, width = padded.shape
    whole = padded.read(0, height, 0, width)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    np.testing.assert_array_equal(padded.read(top, bottom, left, right), whole[:, top:bottom, left:right])


@pytest.mark.parametrize("preset", ["none", "imagenet", "caffe"])
def test_a_constant_edge_is_a_black_pixel_as_the_network_sees_it(preset: str) -> None:
    padded = windowed(opened(9, 11, preset), edge="constant", window=(6, 5), step=(2, 3))
    top, bottom, left, right = padded.padding
    black = np.zeros((9 + top + bottom, 11 + left + right, 3), np.uint8)
    black[top : top + 9, left : left + 11] = raw(9, 11)
    wanted = open_image(black, preprocessing=PRESETS[preset], channels=3, dtype="float64")
    _, height, width = padded.shape
    np.testing.assert_array_equal(padded.read(0, height, 0, width), wanted.read(0, height, 0, width))


def test_a_constant_edge_can_have_another_value() -> None:
    padded = windowed(opened(9, 11, "unit"), edge="constant", window=(6, 5), step=(2, 3), value=51)
    np.testing.assert_allclose(padded.read(0, 1, 0, 1), 0.2)


@given(sizes, sizes, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_windows_are_centred_on_every_step_of_the_image(
    size: tuple[int, int], window: tuple[int, int], step: tuple[int, int]
) -> None:
    padded = windowed(opened(*size), edge="reflect", window=window, step=step)
    _, height, width = padded.shape
    for k, (length, n, w, s) in enumerate(zip((height, width), size, window, step, strict=True)):
        low = padded.padding[2 * k]
        count = (length - w) // s + 1
        assert count == -(-n // s)
        centres = [i * s + w / 2 - low for i in range(count)]
        assert centres == [i * s + (w % 2) / 2 for i in range(count)]
        assert 0 <= centres[-1] <= n


def test_the_image_s_own_sizes_are_kept() -> None:
    padded = windowed(opened(9, 11), edge="reflect", window=(6, 6), step=(2, 2))
    assert padded.original_size == padded.scanned_size == (9, 11)
    source: Source = padded
    assert source.shape[0] == 3
    assert isinstance(padded, WindowedSource)


@pytest.mark.parametrize("edge", ["mirror", "", None, 3, ["valid"]])
def test_an_unknown_edge_is_refused(edge: Any) -> None:
    with pytest.raises(GeometryError, match="is not known") as caught:
        parse_edge(edge)
    assert "reflect" in caught.value.fix
    assert parse_edge("valid") == "valid"
