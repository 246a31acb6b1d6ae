"""Converts stored TIFF values to pixels: palettes, CMYK, WhiteIsZero, 2 and 4 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError

_WHITE_IS_ZERO, _PALETTE, _CMYK, _YCBCR = 0, 3, 5, 6
_AS_STORED = (1, 2, 4, 34892)  # BlackIsZero, RGB, mask, linear raw
_NAMES = {6: "YCbCr without JPEG", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a sensor's mosaic",
          32844: "LogL", 32845: "LogLuv"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Photometric:
    """A conversion that treats every pixel by itself.

    Args:
        apply: stored values ``(y, x, c)`` -> pixels ``(y, x, channels)``.
        channels: of the result.
        dtype: of the result.
        per_channel: every channel is converted by itself, so that channels may be selected before.
        stretched: values of 2 or 4 bits were brought to 0..255.
    """

    apply: Callable[[NDArray[Any]], NDArray[Any]]
    channels: int
    dtype: np.dtype[Any]
    per_channel: bool
    stretched: bool = False

    def bits(self, stored: int) -> int:
        """Bits that the pixels use, where stored values use so many."""
        whole = self.stretched or not self.per_channel
        return 8 * self.dtype.itemsize if whole else stored


def photometric_of(
    photometric: int, *, bits: int, dtype: np.dtype[Any], channels: int, palette: object, jpeg: bool, where: str
) -> Photometric:
    """How to convert a TIFF's values to pixels.

    A palette becomes RGB, CMYK becomes RGB by Pillow's conversion, unsigned WhiteIsZero values are inverted, 2 and 4
    bits are scaled to 0..255.

    Args:
        photometric: TIFF's tag 262.
        bits: of a stored value.
        dtype: of a decoded value.
        channels: of the decoded tile.
        palette: TIFF's tag 320: ``(3, entries)`` of 16 bits.
        jpeg: whether the tiles are JPEG, whose codec converts YCbCr to RGB.
        where: the file, for errors.

    Raises:
        ImageError: the colour space is not supported.
    """
    if photometric == _PALETTE and channels == 1 and dtype.kind == "u":
        return Photometric(_palette(palette, where), 3, np.dtype(np.uint8), False)
    if photometric == _CMYK and channels == 4 and dtype == np.uint8:
        return Photometric(_cmyk_to_rgb, 3, np.dtype(np.uint8), False)
    few = dtype == np.uint8 and bits in (2, 4)
    factor = np.uint8(255 // (2**bits - 1)) if few else np.uint8(1)
    stretch: Callable[[NDArray[Any]], NDArray[Any]] = (
        (lambda pixels: pixels * factor) if few else (lambda pixels: pixels)
    )
    if photometric == _WHITE_IS_ZERO and dtype.kind in "ub":
        return Photometric(_inverted(dtype, bits, stretch), channels, dtype, True, few)
    if photometric in (_WHITE_IS_ZERO, *_AS_STORED) or (photometric == _YCBCR and jpeg):
        return Photometric(stretch, channels, dtype, True, few)
    colours = _NAMES.get(photometric, f"kind {photometric}, {channels} x {dtype}")
    raise ImageError(where, f"its colours are {colours}", fix="save it as RGB")


def _inverted(
    dtype: np.dtype[Any], bits: int, stretch: Callable[[NDArray[Any]], NDArray[Any]]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if dtype == np.bool_:
        return np.logical_not
    most = dtype.type(2 ** min(bits, 8 * dtype.itemsize) - 1)
    return lambda pixels: stretch(most - pixels)


def _palette(palette: object, where: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    table: NDArray[Any] = np.asarray(palette)
    if table.ndim != 2 or table.shape[0] != 3 or table.dtype.kind not in "ui":
        raise ImageError(where, "has a palette that cannot be read", fix="save it as RGB")
    # Some writers use 0..255 instead of 0..65535; libtiff handles them alike.
    colours = (table if table.max(initial=0) < 256 else table >> 8).astype(np.uint8).T

    def apply(pixels: NDArray[Any]) -> NDArray[Any]:
        index = pixels[:, :, 0]
        if index.size and int(index.max()) >= len(colours):
            raise ValueError(f"pixel value {int(index.max())} exceeds the palette of {len(colours)} colours")
        shown: NDArray[Any] = colours[index]
        return shown

    return apply


def _cmyk_to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    from PIL import Image

    picture = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    return np.asarray(picture.convert("RGB"))
