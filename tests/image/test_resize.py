"""Resizing in memory: sizes, and unshifted pixels."""

import numpy as np
import pytest
from PIL import Image

from fullfield.errors import ImageError
from fullfield.image.resize import resize, scanned_size

RNG = np.random.default_rng(5)


def sized(size: tuple[int, int], scale: object = 1.0) -> tuple[int, int]:
    return scanned_size(size, scale=scale, max_pixels=10**6)


def test_a_size_is_rounded_and_at_least_one() -> None:
    assert sized((480, 641), 0.25) == (120, 160)
    assert sized((480, 641), None) == (480, 641)
    assert sized((10, 1000), 0.01) == (1, 10)
    assert sized((10, 10), (2, 0.5)) == (20, 5)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), (1, 0)])
def test_a_scale_that_is_no_positive_number_is_refused(scale: object) -> None:
    with pytest.raises(ImageError, match="not a positive number"):
        sized((10, 10), scale)


def test_an_enlargement_beyond_the_limit_is_refused_and_a_large_image_as_it_is_not() -> None:
    with pytest.raises(ImageError, match="100x100 px would become 1100x1100, more than 1000000 pixels"):
        sized((100, 100), 11)
    assert sized((2000, 2000)) == (2000, 2000)


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_eight_bits_are_pillows_lanczos_channel_by_channel(channels: int) -> None:
    image = RNG.integers(0, 256, (40, 31, channels), dtype=np.uint8)
    result = resize(image, (13, 50))
    assert result.dtype == np.uint8
    for c in range(channels):
        plane = Image.fromarray(image[:, :, c]).resize((50, 13), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(result[:, :, c], np.asarray(plane))


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64, np.int64])
def test_deeper_images_are_resized_as_finely_as_8_bits(kind: type) -> None:
    image = RNG.integers(80, 176, (40, 31, 3), dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 255  # room for overshoot
    result = resize(image.astype(kind) * (257 if kind is np.uint16 else 1), (13, 50))
    assert result.dtype == (np.uint16 if kind is np.uint16 else np.float32)
    shown = result / (257 if kind is np.uint16 else 1)
    np.testing.assert_allclose(shown, resize(image, (13, 50)), rtol=0, atol=1.6)  # Pillow rounds twice


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(7, 9), (90, 110)])
def test_no_value_leaves_the_images_own_range_and_a_flat_image_stays_flat(kind: type, size: tuple[int, int]) -> None:
    top = np.iinfo(kind).max if kind is not np.float32 else 1
    edges = np.kron(np.eye(8), np.ones((4, 4)))[:, :, None] * top
    result = resize(edges.astype(kind), size)
    assert (result.min(), result.max()) >= (0, 0)
    assert result.max() <= top
    flat = resize(np.full((20, 20, 1), top, kind), size)
    assert (flat == top).all()


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    inner = resize(stripes, (16, 16))[2:-2, 2:-2]
    assert abs(inner.astype(int) - 127).max() <= 3


def test_the_same_size_is_the_same_array() -> None:
    image = RNG.random((4, 5, 2))
    assert resize(image, (4, 5)) is image
