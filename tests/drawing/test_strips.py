"""Pictures that are made strip by strip."""

import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fullfield.drawing.strips import StripPicture, save_strips, to_image
from fullfield.errors import ImageError


def strips_of(pixels: np.ndarray, rows: int) -> StripPicture:
    def made() -> Iterator[np.ndarray]:
        yield from (pixels[top : top + rows] for top in range(0, len(pixels), rows))

    return StripPicture(*pixels.shape[:2], made)


@given(st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(1, 9), st.sampled_from(["noise", "ramp", "flat"]))
def test_a_png_written_strip_by_strip_holds_the_picture(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], rows: int, kind: str
) -> None:
    y, x, c = np.indices((*size, 3))
    noise = np.random.default_rng(size[0]).integers(0, 256, (*size, 3))
    pixels = {"noise": noise, "ramp": 9 * y + 5 * x + c, "flat": y * 0}[kind].astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    save_strips(strips_of(pixels, rows), path)
    with Image.open(path) as read:
        assert read.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(read), pixels)
    np.testing.assert_array_equal(np.asarray(to_image(strips_of(pixels, rows))), pixels)


def test_a_photograph_takes_less_than_its_bytes_compressed_as_they_are(tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(str(files("fullfield") / "data" / "astronaut.png")).convert("RGB"))
    save_strips(strips_of(pixels, 64), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 0.9 * len(zlib.compress(pixels.tobytes()))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_other_formats_are_written_too_and_nothing_is_replaced_unasked(tmp_path: Path, suffix: str) -> None:
    strips = strips_of(np.full((9, 8, 3), 77, np.uint8), 4)
    save_strips(strips, tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as read:
        assert abs(np.asarray(read).astype(int) - 77).max() <= 2
    with pytest.raises(ImageError, match="exists already"):
        save_strips(strips, tmp_path / f"a{suffix}")
