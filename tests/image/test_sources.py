"""An image opened for a network: channels, values, size, and reading it by region."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fullfield
from fullfield.engine.engines.input_form import InputForm
from fullfield.errors import GeometryError, ImageError
from fullfield.image.sources import ImageSource, open_image
from fullfield.model.preprocessing import PRESETS, Preprocessing

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)
NONE = PRESETS["none"]
BYTES = Preprocessing(order="RGB", value_range=(0, 255))
GREY_BYTES = replace(BYTES, order="grey")


def opened(image: object, preprocessing: Preprocessing = BYTES, channels: int = 3, **options: object) -> ImageSource:
    return open_image(image, preprocessing=preprocessing, channels=channels, dtype=np.float64, **options)


def whole(source: ImageSource) -> np.ndarray:
    _, height, width = source.shape
    return source.read(0, height, 0, width)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_pixels_become_network_input_by_the_preprocessing_formula(preset: str, dtype: str) -> None:
    p = PRESETS[preset]
    source = open_image(RGB, preprocessing=p, channels=1 if p.order == "grey" else 3, dtype=dtype)
    values = RGB[:, :, ::-1] if p.order == "BGR" else RGB
    values = np.asarray(Image.fromarray(RGB).convert("L"))[:, :, None] if p.order == "grey" else values
    expected = ((values * p.scale - np.array(p.mean)) / np.array(p.std)).transpose(2, 0, 1)
    assert whole(source).dtype == dtype
    np.testing.assert_allclose(whole(source), expected, rtol=0, atol=1e-14 if dtype == "float64" else 1e-4)


def test_imagenet_input_is_torchvisions_bit_for_bit_in_float32() -> None:
    p = replace(PRESETS["imagenet"], scale=1.0, value_range=(0, 1))
    x = torch.from_numpy(RGB.transpose(2, 0, 1).copy()).to(torch.float32) * np.float32(1 / 255)
    expected = (x - torch.tensor(p.mean)[:, None, None]) / torch.tensor(p.std)[:, None, None]
    source = open_image(RGB, preprocessing=p, channels=3, dtype="float32")
    np.testing.assert_array_equal(whole(source), expected.numpy())


@given(st.data())
def test_a_region_has_the_bits_of_the_whole(data: st.DataObject) -> None:
    preset = data.draw(st.sampled_from(["imagenet", "caffe", "unit-grey", "mtcnn", "none"]))
    kind = data.draw(st.sampled_from([np.uint8, np.uint16, np.float32]))
    image = (np.random.default_rng(0).random((23, 37, 3)) * (65535 if kind is np.uint16 else 255)).astype(kind)
    p = PRESETS[preset]
    source = open_image(image, preprocessing=p, channels=1 if p.order == "grey" else 3, dtype="float32")
    top, left = data.draw(st.integers(0, 22)), data.draw(st.integers(0, 36))
    bottom, right = data.draw(st.integers(top + 1, 23)), data.draw(st.integers(left + 1, 37))
    region = source.read(top, bottom, left, right)
    assert region.transpose(1, 2, 0).flags.c_contiguous
    np.testing.assert_array_equal(region, whole(source)[:, top:bottom, left:right])


def test_reading_leaves_the_image_alone() -> None:
    image = RNG.random((4, 5, 3))
    before = image.copy()
    source = opened(image, replace(PRESETS["imagenet"], value_range=(0, 1), scale=1.0))
    whole(source)[:] = 7
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("region", [(0, 10, 0, 5), (-1, 4, 0, 5), (3, 3, 0, 5), (0, 4, 5, 12)])
def test_a_region_outside_the_image_is_refused(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(GeometryError, match="does not lie in the image of 9x11 px"):
        opened(RGB).read(*region)


def test_grey_becomes_three_equal_channels() -> None:
    x = whole(opened(RGB[:, :, 0]))
    np.testing.assert_array_equal(x, np.broadcast_to(RGB[:, :, 0], (3, 9, 11)))


def test_colour_becomes_the_luma_of_pillow() -> None:
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 5, dtype=np.uint8)] * 3), axis=-1).reshape(52, -1, 3)
    x = whole(opened(every, GREY_BYTES, channels=1))
    np.testing.assert_array_equal(x[0], np.asarray(Image.fromarray(every).convert("L")))


def test_the_luma_of_floats_and_of_16_bits_is_the_same_grey() -> None:
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(whole(opened(RGB.astype(float), GREY_BYTES, 1))[0], expected, rtol=0, atol=1e-12)
    deep = whole(opened(RGB.astype(np.uint16) * 257, GREY_BYTES, 1))[0]
    np.testing.assert_allclose(deep, expected, rtol=0, atol=0.5 / 257 + 1e-9)


def test_bgr_is_rgb_reversed() -> None:
    np.testing.assert_array_equal(whole(opened(RGB, replace(BYTES, order="BGR"))), RGB.transpose(2, 0, 1)[::-1])


def test_order_any_takes_channels_as_they_come() -> None:
    image = RNG.random((4, 5, 6))
    np.testing.assert_array_equal(whole(opened(image, NONE, channels=6)), image.transpose(2, 0, 1))


@pytest.mark.parametrize("alpha", [255, 1.0])
def test_opaque_alpha_of_an_array_is_dropped(alpha: float) -> None:
    kind = np.uint8 if alpha == 255 else np.float64
    rgba = np.concatenate([RGB.astype(kind), np.full((9, 11, 1), alpha, kind)], axis=2)
    np.testing.assert_array_equal(whole(opened(rgba)), RGB.transpose(2, 0, 1))
    np.testing.assert_array_equal(whole(opened(rgba, GREY_BYTES, 1)), whole(opened(RGB.astype(kind), GREY_BYTES, 1)))


@pytest.mark.parametrize("level", [0, 1, 254])
def test_other_alpha_of_an_array_is_refused(level: int) -> None:
    rgba = np.concatenate([RGB, np.full((9, 11, 1), level, np.uint8)], axis=2)
    with pytest.raises(ImageError, match=r"not opaque(.|\n)*image\[:, :, :3\]"):
        opened(rgba)


@pytest.mark.parametrize(
    ("image", "preprocessing", "channels", "text"),
    [
        (
            np.zeros((3, 480, 640), np.uint8),
            BYTES,
            3,
            r"640 channels, the network takes 3\n  fix: .*np.moveaxis\(image, 0, -1\)",
        ),
        (np.zeros((1, 480, 640), np.uint8), GREY_BYTES, 1, r"moveaxis\(image, 0, -1\)"),
        (np.zeros((480, 640, 6), np.uint8), BYTES, 3, "6 channels, the network takes 3"),
        (np.zeros((480, 640), np.uint8), NONE, 3, "1 channels, the network takes 3\n  fix: .*: 'RGB'}, --order RGB"),
        (np.zeros((480, 640, 3), np.uint8), NONE, 1, "3 channels, the network takes 1\n  fix: .*--order grey"),
        (np.zeros((480, 640, 5), np.uint8), NONE, 4, "5 channels, the network takes 4"),
        (RGB, BYTES, 1, "order 'RGB' has 3 channels, the network takes 1\n  fix: .*'any', or 'grey'"),
        (RGB, GREY_BYTES, 3, "order 'grey' has 1 channels, the network takes 3"),
    ],
)
def test_a_wrong_number_of_channels_says_both_and_what_to_do(
    image: np.ndarray, preprocessing: Preprocessing, channels: int, text: str
) -> None:
    with pytest.raises(ImageError, match=text):
        opened(image, preprocessing, channels)


@pytest.mark.parametrize(("span", "expected"), [((0, 255), 255.0), ((0, 1), 1.0), ((-1, 1), 1.0), (None, None)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, ">u2", bool])
def test_integer_depth_is_brought_to_the_value_range(
    kind: type, span: tuple[float, float] | None, expected: float | None
) -> None:
    most = {"b": 1}.get(np.dtype(kind).kind) or np.iinfo(kind).max
    image = np.array([[0, most]], dtype=kind)
    x = whole(opened(image, Preprocessing(value_range=span), channels=1))
    assert x.ravel().tolist() == [span[0] if span else 0, expected if expected is not None else most]


def test_sixteen_bits_are_divided_by_257() -> None:
    deep = np.arange(0, 65536, 257 * 5, dtype=np.uint16)[None]
    np.testing.assert_allclose(whole(opened(deep, GREY_BYTES, 1))[0], deep / 257, rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    ("low", "high", "span", "fix"),
    [
        (0, 1, (0, 255), "look like 0..1(.|\n)*multiply by 255"),
        (-1, 1, (0, 255), r"look like -1..1(.|\n)*\(image \+ 1\) \* 127.5"),
        (0, 255, (0, 1), "outside(.|\n)*divide by 255"),
        (0, 255, (-1, 1), "outside(.|\n)*image / 127.5 - 1"),
        (0, 65504, (0, 255), "outside(.|\n)*uint16"),
        (-200, 100, (0, 255), "outside(.|\n)*bring the image to 0..255"),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64])
def test_values_evidently_of_another_range_are_refused(
    low: float, high: float, span: tuple[float, float], fix: str, kind: type
) -> None:
    image = np.full((300, 4), low, dtype=np.float64)
    image[299, 3] = high
    with pytest.raises(ImageError, match=fix):
        opened(image.astype(kind), Preprocessing(value_range=span), channels=1)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.5, 1.5], [-20.0, 270.0], [0, 255], [0, 0]])
def test_values_in_the_range_or_a_little_beyond_it_pass(values: list[float]) -> None:
    image = np.array([values])
    np.testing.assert_array_equal(whole(opened(image, GREY_BYTES, 1))[0], image)


def test_without_a_range_any_values_pass() -> None:
    image = np.array([[-1e5, 1e5]])
    np.testing.assert_array_equal(whole(opened(image, NONE, 1))[0], image)


def test_a_value_beyond_the_networks_type_is_refused() -> None:
    with pytest.raises(ImageError, match="1e\\+300, beyond float32"):
        open_image(np.array([[1e300]]), preprocessing=NONE, channels=1, dtype="float32")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_pixels_are_counted_and_the_first_is_named(bad: float) -> None:
    image = RNG.random((600, 8, 3)) * 255
    image[400, 5, 2] = image[500, 1, 0] = bad
    text = rf"^image: 2 of 14400 values are NaN or infinite, the first \({bad}\) at y=400, x=5, channel 2\n  fix: "
    with pytest.raises(ImageError, match=text):
        opened(image)


@pytest.mark.parametrize(
    ("window", "scale", "text"),
    [
        ((24, 8), 1.0, r"^image: 9x11 px is smaller than the window of 24x8 px\n  fix: .*scale=2.667 or more"),
        ((9, 12), 1.0, r"scale=1.091 or more"),
        (
            (9, 11),
            0.5,
            r"4x6 px \(resized from 9x11\) is smaller than the window of 9x11 px\n  fix: .*scale=1 ",
        ),
    ],
)
def test_an_image_smaller_than_the_window_says_both_sizes_and_the_scale_that_would_do(
    window: tuple[int, int], scale: float, text: str
) -> None:
    with pytest.raises(ImageError, match=text):
        opened(RGB, window=window, scale=scale)


@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), st.tuples(st.integers(1, 400), st.integers(1, 400)))
def test_the_scale_that_the_error_proposes_is_enough(size: tuple[int, int], window: tuple[int, int]) -> None:
    image = np.zeros(size, np.uint8)
    try:
        opened(image, GREY_BYTES, 1, window=window)
    except ImageError as error:
        proposed = float(error.fix.split("scale=")[1].split()[0])
        opened(image, GREY_BYTES, 1, window=window, scale=proposed)


def test_an_image_as_large_as_the_window_passes() -> None:
    assert opened(RGB, window=(9, 11)).scanned_size == (9, 11)


def test_sizes_before_and_after_resizing_are_kept() -> None:
    source = opened(RGB, scale=(2, 0.3))
    assert (source.original_size, source.scanned_size, source.shape) == ((9, 11), (18, 3), (3, 18, 3))
    assert repr(source) == "ImageSource('image', 18x3 px (resized from 9x11), 3 channels, uint8)"


def test_a_photo_is_opened_from_its_path(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    source = opened(tmp_path / "a.png")
    np.testing.assert_array_equal(whole(source), RGB.transpose(2, 0, 1))
    assert repr(source) == f"ImageSource({str(tmp_path / 'a.png')!r}, 9x11 px, 3 channels, uint8)"


def test_an_rgba_photo_keeps_alpha_for_a_network_of_four_channels() -> None:
    rgba = RNG.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(whole(opened(Image.fromarray(rgba), NONE, 4)), rgba.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [3, 13])
@pytest.mark.parametrize("in_file", [False, True])
def test_channels_that_come_first_are_named_with_the_way_round(tmp_path: Path, channels: int, in_file: bool) -> None:
    image = np.zeros((channels, 64, 96), np.uint8)
    np.save(tmp_path / "a.npy", image)
    given = fullfield.open(tmp_path / "a.npy") if in_file else image
    preprocessing = BYTES if channels == 3 else NONE
    with pytest.raises(ImageError, match=f"has 96 channels, the network takes {channels}") as caught:
        opened(given, preprocessing, channels, window=(32, 32))
    assert caught.value.fix == f"shape ({channels}, 64, 96) looks like (c, y, x): give np.moveaxis(image, 0, -1)"
    assert opened(np.moveaxis(image, 0, -1), preprocessing, channels, window=(32, 32)).shape == (channels, 64, 96)


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("planar", [False, True])
def test_pixels_are_read_into_memory_that_engines_use_as_it_is(channels: int, planar: bool) -> None:
    image = np.random.default_rng(0).random((23, 37, channels)).astype(np.float32)
    given_ = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0) if planar else image
    source = open_image(given_, preprocessing=PRESETS["none"], channels=channels, dtype="float32")
    pixels = source.read(3, 20, 5, 30)
    np.testing.assert_array_equal(pixels, image[3:20, 5:30].transpose(2, 0, 1))
    tensor = InputForm(torch.float32, channels_last=True).tensor(pixels, torch.device("cpu"))
    assert tensor.data_ptr() == pixels.ctypes.data
    assert tensor.data_ptr() % 64 == 0
    assert not np.shares_memory(pixels, image)
