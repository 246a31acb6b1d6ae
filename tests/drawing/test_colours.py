"""Colours: the published tables, and numbers drawn with them."""

import numpy as np
import pytest

from fullfield.drawing.colours import NAMES, paint, table
from fullfield.errors import ImageError


@pytest.mark.parametrize(
    ("name", "first", "middle", "last"),
    [
        ("viridis", (68, 1, 84), (33, 145, 140), (253, 231, 37)),
        ("magma", (0, 0, 4), (183, 55, 121), (252, 253, 191)),
        ("inferno", (0, 0, 4), (188, 55, 84), (252, 255, 164)),
        ("gray", (0, 0, 0), (128, 128, 128), (255, 255, 255)),
    ],
)
def test_a_table_is_the_published_one(name: str, first: tuple, middle: tuple, last: tuple) -> None:
    colours = table(name)
    assert colours.shape == (256, 3)
    assert [tuple(map(int, colours[i])) for i in (0, 255)] == [first, last]
    assert abs(colours[128].astype(int) - middle).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_lightness_rises_evenly_along_every_map(name: str) -> None:
    linear = table(name) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    assert (np.diff(lightness[::8]) > 0).all()
    assert abs(lightness - np.linspace(lightness[0], lightness[-1], 256)).max() < 6


def test_values_meet_the_ends_of_the_map_at_the_limits_and_beyond_them() -> None:
    values = np.array([-np.inf, -9.0, 2.0, 3.0, 4.0, 9.0, np.inf])
    levels = paint(values, "gray", (2, 4))[:, 0]
    assert levels.tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_nan_is_black_and_a_range_of_one_value_its_middle() -> None:
    assert paint(np.array([np.nan]), "viridis", (0, 1)).tolist() == [[0, 0, 0]]
    assert paint(np.array([5.0]), "gray", (5, 5)).tolist() == [[128, 128, 128]]


def test_an_unknown_map_is_refused_with_those_there_are() -> None:
    with pytest.raises(ImageError, match="'jet' is not a colour map\n  fix: use one of viridis, magma, inferno, gray"):
        table("jet")
