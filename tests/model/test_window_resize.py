"""Each interpolation computes what PIL, OpenCV and torch compute; options that do not go together are refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.model.window_resize import WindowResize, parse_window_resize

SIZES = [((64, 80), (28, 56)), ((20, 20), (20, 9)), ((9, 9), (12, 13))]
PIL = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
CV2 = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA, "nearest": cv2.INTER_NEAREST}


@cache
def identity(size: tuple[int, int]) -> Model:
    return load(nn.Flatten(), window=size, channels=1)


def resized(pixels: NDArray[Any], size: tuple[int, int], **how: Any) -> NDArray[Any]:
    """The window as the network behind the resizing sees it."""
    model = load(identity(size), window=pixels.shape, resize=size, **how)
    found: NDArray[Any] = model(torch.from_numpy(pixels)[None, None]).numpy().reshape(size)
    return found


def window_of(size: tuple[int, int]) -> NDArray[Any]:
    return np.random.default_rng(sum(size)).random(size, dtype=np.float32)


@pytest.mark.parametrize("interpolation", PIL)
@pytest.mark.parametrize(("window", "size"), SIZES)
def test_antialiased_interpolations_are_those_of_pil(
    window: tuple[int, int], size: tuple[int, int], interpolation: str
) -> None:
    pixels = window_of(window)
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], PIL[interpolation]))
    assert (
        np.abs(resized(pixels, size, interpolation=interpolation) - expected).max() < 1e-5
    )  # torch places px in float32


@pytest.mark.parametrize("interpolation", PIL)
def test_pils_8_bit_pixels_are_rounded_after_each_pass(interpolation: str) -> None:
    pixels = np.random.default_rng(0).integers(60, 190, (64, 64), dtype=np.uint8)
    rounded = np.asarray(Image.fromarray(pixels).resize((28, 28), PIL[interpolation]))
    floats = resized(pixels.astype(np.float32), (28, 28), interpolation=interpolation)
    assert np.abs(floats - rounded).max() <= 1.5


@pytest.mark.parametrize("interpolation", CV2)
@pytest.mark.parametrize(("window", "size"), SIZES)
def test_interpolations_without_antialiasing_and_area_are_those_of_opencv(
    window: tuple[int, int], size: tuple[int, int], interpolation: str
) -> None:
    if interpolation == "area" and window < size:
        pytest.skip("OpenCV enlarges by another rule")
    pixels = window_of(window)
    expected = cv2.resize(pixels, size[::-1], interpolation=CV2[interpolation])
    how = {} if interpolation in ("area", "nearest") else {"antialias": False}
    assert (
        np.abs(resized(pixels, size, interpolation=interpolation, **how) - expected).max() < 2e-5
    )  # it places px in float32


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("window", "size"), SIZES)
def test_bilinear_and_bicubic_are_torchs_own(
    window: tuple[int, int], size: tuple[int, int], interpolation: str, antialias: bool
) -> None:
    pixels = window_of(window)
    expected = nn.functional.interpolate(
        torch.from_numpy(pixels)[None, None], size, mode=interpolation, antialias=antialias
    )
    assert np.array_equal(
        resized(pixels, size, interpolation=interpolation, antialias=antialias), expected[0, 0].numpy()
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_window_of_one_row_or_column_is_resized_as_any_other(interpolation: str) -> None:
    line = window_of((64, 1))
    expected = np.asarray(Image.fromarray(line).resize((1, 28), PIL[interpolation]))
    assert np.abs(resized(line, (28, 1), interpolation=interpolation) - expected).max() < 1e-5
    assert np.abs(resized(line.T.copy(), (1, 28), interpolation=interpolation) - expected.T).max() < 1e-5


def test_a_resize_is_read_back_from_its_json() -> None:
    resize = WindowResize((512, 400), (224, 200), "lanczos", antialias=True)
    assert WindowResize.from_json(resize.to_json()) == resize


@pytest.mark.parametrize(
    ("given", "where", "text"),
    [
        ({"window": None, "resize": 224}, "window", "is not given, and windows are resized to 224"),
        ({"window": 512, "resize": (224, 0)}, "resize", r"\(224, 0\) is not one or two positive integers"),
        ({"window": 512, "resize": None, "interpolation": "area"}, "interpolation", "'area' is given, and no size"),
        ({"window": 512, "resize": None, "antialias": False}, "antialias", "False is given, and no size"),
        ({"window": 512, "resize": 224, "interpolation": "cubic"}, "interpolation", "'cubic' is not known"),
        (
            {"window": 512, "resize": 224, "interpolation": "lanczos", "antialias": False},
            "antialias",
            "lanczos is always",
        ),
        (
            {"window": 512, "resize": 224, "interpolation": "nearest", "antialias": True},
            "antialias",
            "nearest is never",
        ),
        (
            {"window": (96, 96), "resize": (48, 224), "interpolation": "area"},
            "interpolation",
            "area enlarges no window",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, Any], where: str, text: str) -> None:
    with pytest.raises(CaptureError, match=text) as caught:
        parse_window_resize(**given)
    assert caught.value.where == where
