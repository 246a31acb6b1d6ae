"""Draws a matrix as a picture, equal blocks in one colour."""

from __future__ import annotations

import colorsys
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.errors import GeometryError

_MOST, _GOOD = 4096, 1000  # px
_PAPER, _LINE = (255, 255, 255), (214, 214, 214)
_GOLDEN = 0.6180339887498949
_FADED = 0.82  # share of white in the background of a block


def draw(matrix: Any, rows: int, columns: int, *, scale: int | None = None) -> Image.Image:
    """The picture of a sparse matrix in blocks of ``rows`` by ``columns`` entries.

    Entries that are not zero are drawn in their block's colour, the rest of the block in a paler one. Two blocks have
    the same colour exactly if all their entries are equal.

    Raises:
        GeometryError: it would be larger than 4096 px.
    """
    height, width = matrix.shape
    largest = max(height, width)
    size = max(1, _GOOD // largest) if scale is None else scale
    if largest * size > _MOST or size < 1:
        raise GeometryError(
            "picture",
            f"{height}x{width} entries at {size} px each come to more than {_MOST} px",
            fix="unroll a smaller input",
        )
    full = matrix.toarray()
    pixels = np.full((height, width, 3), _PAPER, np.uint8)
    seen: dict[bytes, int] = {}
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            block = full[top : top + rows, left : left + columns]
            if block.any():
                key = hashlib.sha256(repr(block.shape).encode() + np.ascontiguousarray(block + 0.0).tobytes()).digest()
                colour = _colour(seen.setdefault(key, len(seen)))
                part = pixels[top : top + rows, left : left + columns]
                part[...] = _mixed(colour, _FADED)
                part[block != 0] = colour
    large = pixels.repeat(size, 0).repeat(size, 1)
    if size >= 2:
        _rule(large, rows * size, columns * size)
    return Image.fromarray(large)


def _colour(index: int) -> tuple[int, int, int]:
    """A different colour for every index: hues one golden section apart, in three lightnesses."""
    lightness = (0.42, 0.30, 0.54)[index // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb((0.58 + index * _GOLDEN) % 1, lightness, 0.72)
    return round(255 * red), round(255 * green), round(255 * blue)


def _mixed(colour: tuple[int, int, int], white: float) -> list[int]:
    return [round(c + (255 - c) * white) for c in colour]


def _rule(pixels: NDArray[np.uint8], rows: int, columns: int) -> None:
    """Draws the lines between blocks."""
    pixels[rows::rows] = _LINE
    pixels[:, columns::columns] = _LINE
