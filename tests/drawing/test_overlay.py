"""A map lies on its image to the fraction of a pixel."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fullfield.drawing.colours import paint, table
from fullfield.drawing.overlay import DrawnCells, blended, check_alpha, check_same_image
from fullfield.drawing.thumbnails import photo_of
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.pixels import luma


def placed(size: int, window: int, step: int, scanned: int | None = None) -> Placement:
    return Placement((step, step), (window, window), (size, size), (scanned or size,) * 2)


def blend(
    photo: np.ndarray,
    values: np.ndarray,
    placement: Placement,
    *,
    limits: tuple[float, float],
    alpha: float = 0.6,
    colours: str = "viridis",
    smooth: bool = False,
) -> np.ndarray:
    """The photograph, in strips of three rows, with the map of one class over it."""
    cells = DrawnCells(
        placement, lambda top, bottom: values[None, top:bottom], lambda d: paint(d[0], colours, limits), smooth
    )
    strips = [photo[top : top + 3] for top in range(0, len(photo), 3)]
    return np.concatenate(list(blended(strips, cells, alpha=alpha)))


def photograph(image: object) -> np.ndarray:
    return np.concatenate(list(photo_of(image, side=4096).strips()))


def drawn(values: np.ndarray, placement: Placement, **options: object) -> np.ndarray:
    """The map alone as grey levels 0..1 on a black photograph."""
    photo = np.zeros((*placement.image, 3), np.uint8)
    return blend(photo, values, placement, limits=(0, 1), alpha=1, colours="gray", **options)[:, :, 0] / 255


def coverage(pixels: int, start: float, stop: float) -> np.ndarray:
    """How much of every pixel an interval covers."""
    edges = np.arange(pixels)
    return np.clip(np.minimum(edges + 1, stop) - np.maximum(edges, start), 0, 1)


def hot(placement: Placement, i: int, j: int) -> np.ndarray:
    values = np.zeros(placement.shape)
    values[i, j] = 1
    return values


@pytest.mark.parametrize(
    ("window", "step", "image", "scanned", "rows"),
    [
        (24, 2, 40, 40, (15, 17)),  # centre 2*2 + 12 = 16, one pixel to each side
        (23, 3, 40, 40, (16, 19)),  # centre 2*3 + 11.5 = 17.5
        (7, 1, 20, 20, (5, 6)),  # centre 2 + 3.5 = 5.5
        (8, 8, 40, 40, (16, 24)),  # windows side by side: the cell is its window
        (4, 16, 60, 60, (26, 42)),  # windows apart: the cell is wider than its window
        (24, 2, 80, 40, (30, 34)),  # scanned at half size
        (24, 1, 160, 40, (54, 58)),  # scanned at a quarter: centre 4 * 14
        (24, 6, 20, 40, (10.5, 13.5)),  # scanned at double size
        (24, 1, 40, 40, (13.5, 14.5)),  # even window, odd step: half a pixel to each side
    ],
)
def test_a_hot_cell_covers_exactly_its_rectangle(
    window: int, step: int, image: int, scanned: int, rows: tuple[float, float]
) -> None:
    placement = placed(image, window, step, scanned)
    shown = drawn(hot(placement, 2, 0), placement)
    cover = coverage(image, *rows)
    left = rows[0] - 2 * step * image / scanned  # column 0 lies two steps before row 2
    right = rows[1] - 2 * step * image / scanned
    across = coverage(image, left, right)
    expected = cover[:, None] * across
    np.testing.assert_allclose(shown, expected, rtol=0, atol=1 / 255)
    np.testing.assert_array_equal(shown == 1, expected == 1)
    np.testing.assert_array_equal(shown == 0, expected == 0)


@given(st.data())
@settings(max_examples=50)
def test_every_cell_covers_the_step_round_its_centre(data: st.DataObject) -> None:
    window, step = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9))
    image, scanned = data.draw(st.integers(12, 60)), data.draw(st.integers(12, 120))
    placement = placed(image, window, step, scanned)
    i, j = (data.draw(st.integers(0, n - 1)) for n in placement.shape)
    half = placement.spacing[0] / 2
    y, x = (coverage(image, centre - half, centre + half) for centre in placement.centre(i, j))
    np.testing.assert_allclose(drawn(hot(placement, i, j), placement), y[:, None] * x, rtol=0, atol=1 / 255)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(12, 60), st.integers(12, 120))
def test_the_map_covers_its_footprint_and_nothing_else(window: int, step: int, image: int, scanned: int) -> None:
    placement = placed(image, window, step, scanned)
    shown = drawn(np.ones(placement.shape), placement)
    top, left, bottom, right = placement.footprint()
    rows, columns = coverage(image, top, bottom), coverage(image, left, right)
    np.testing.assert_allclose(shown, rows[:, None] * columns, rtol=0, atol=0.51 / 255)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(10, 50))
def test_the_pixel_at_a_cells_centre_shows_the_cells_value(window: int, step: int, image: int) -> None:
    placement = placed(image, window, step)
    values = np.random.default_rng(0).random(placement.shape)
    shown = drawn(values, placement)
    for i in range(placement.shape[0]):
        y, x = placement.centre(i, 0)
        if y % 1 == 0.5 and step >= 1:  # the centre of a pixel, which lies whole in the cell
            assert abs(shown[int(y), int(x)] - values[i, 0]) <= 1 / 255


def test_a_smooth_map_of_a_ramp_is_the_ramp_at_every_pixel() -> None:
    placement = placed(64, 9, 5)
    rows, columns = np.mgrid[: placement.shape[0], : placement.shape[1]]
    y, x = placement.centre(rows, columns)
    shown = drawn((y + 2 * x) / 192, placement, smooth=True)
    (top, _), (bottom, _) = placement.centre(0, 0), placement.centre(placement.shape[0] - 1, 0)
    inner = slice(int(np.ceil(top)), int(bottom))
    places = np.arange(64)[inner] + 0.5
    expected = (places[:, None] + 2 * places) / 192
    np.testing.assert_allclose(shown[inner, inner], expected, rtol=0, atol=1 / 255)


def test_the_photograph_keeps_its_colours_outside_and_is_grey_below_the_map() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    placement = placed(40, 12, 4)
    clear = blend(photo, np.zeros(placement.shape), placement, limits=(0, 1), alpha=0)
    inside = np.zeros((40, 40), bool)
    inside[4:36, 4:36] = True  # the footprint: centres 6..34, two pixels round them
    np.testing.assert_array_equal(clear[~inside], photo[~inside])
    np.testing.assert_array_equal(clear[inside], np.repeat(luma(photo), 3, axis=2)[inside])
    half = blend(photo, np.ones(placement.shape), placement, limits=(0, 1), alpha=0.5)
    expected = luma(photo)[inside] * 0.5 + table("viridis")[-1] * 0.5
    np.testing.assert_allclose(half[inside], expected, rtol=0, atol=0.5)


def test_a_cell_of_nan_leaves_the_photograph() -> None:
    placement = placed(12, 4, 4)
    values = np.ones((3, 3))
    values[1, 1] = np.nan
    shown = drawn(values, placement)
    assert not shown[4:8, 4:8].any()
    assert shown.sum() == 144 - 16


def test_bands_of_a_large_picture_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = placed(50, 9, 3, 41)
    values = np.random.default_rng(2).random(placement.shape)
    whole = drawn(values, placement)
    monkeypatch.setattr("fullfield.drawing.overlay._BAND", 7 * 50)
    np.testing.assert_array_equal(drawn(values, placement), whole)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError, match="the picture is 40x41 px, the scores are of an image of 40x40 px"):
        check_same_image((40, 41), placed(40, 12, 4))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_opacity_outside_0_to_1_is_refused(alpha: float) -> None:
    with pytest.raises(ImageError, match=r"is not in 0\.\.1"):
        check_alpha(alpha)


RGB = np.random.default_rng(3).integers(0, 256, (6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        RGB,
        RGB.astype(np.uint16) * 257,
        RGB / 255,
        RGB.astype(np.float32),
        RGB.astype(np.int64),
        np.dstack([RGB, np.full((6, 5), 255, np.uint8)]),
        Image.fromarray(RGB),
    ],
)
def test_any_scanned_image_becomes_the_same_8_bit_photograph(image: object) -> None:
    np.testing.assert_array_equal(photograph(image), RGB)


def test_grey_bool_many_channelled_and_signed_images_can_be_shown(tmp_path: Path) -> None:
    np.testing.assert_array_equal(photograph(RGB[:, :, 0]), np.repeat(RGB[:, :, :1], 3, axis=2))
    assert photograph(RGB > 127).max() == 255
    assert photograph(np.dstack([RGB, RGB])).shape == (6, 5, 3)
    np.testing.assert_array_equal(photograph(np.array([[-1.0, 0.0, 1.0]]))[0, :, 0], [0, 128, 255])
    assert photograph(np.full((2, 2), np.nan)).max() == 0
    np.save(tmp_path / "a.npy", RGB)
    np.testing.assert_array_equal(photograph(tmp_path / "a.npy"), RGB)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_image_read_strip_by_strip_is_shown_as_one(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(4).integers(-3 if dtype == "float32" else 0, 200, (50, 40, 3)).astype(dtype)
    whole = photograph(pixels)
    monkeypatch.setattr("fullfield.drawing.thumbnails._STRIP_BYTES", 1000)
    strips = list(photo_of(pixels, side=4096).strips())
    assert len(strips) > 5
    np.testing.assert_array_equal(np.concatenate(strips), whole)


def test_a_picture_that_exceeds_its_pixels_is_reduced() -> None:
    photo = photo_of(np.zeros((300, 200, 3), np.uint8), side=4096, most_pixels=10_000)
    assert photo.reduced
    assert photo.size[0] * photo.size[1] <= 10_000
    assert np.concatenate(list(photo.strips())).shape == (*photo.size, 3)
