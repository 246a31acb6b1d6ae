"""What stored values look like: palettes, inks, white that is 0, few bits stretched over eight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError

_WHITE_IS_ZERO, _PALETTE, _INKS, _YCBCR = 0, 3, 5, 6
_PLAIN = (1, 2, 4, 34892)  # black is 0, RGB, mask, linear raw
_NAMES = {6: "YCbCr without JPEG", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32803: "a sensor's mosaic",
          32844: "LogL", 32845: "LogLuv"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Look:
    """A change of every pixel by itself.

    Args:
        apply: stored pixels ``(y, x, c)`` -> pixels ``(y, x, channels)``.
        channels: of the result.
        dtype: of the result.
        each: every channel changes by itself, so that channels may be picked before.
    """

    apply: Callable[[NDArray[Any]], NDArray[Any]]
    channels: int
    dtype: np.dtype[Any]
    each: bool


def look_of(
    photometric: int, *, bits: int, dtype: np.dtype[Any], channels: int, palette: object, jpeg: bool, where: str
) -> Look:
    """How TIFF's values become what one expects to see.

    A palette becomes RGB, inks become RGB by Pillow's conversion, unsigned values with white at 0 are turned round,
    2 and 4 bits fill 0..255.

    Args:
        photometric: TIFF's tag 262.
        bits: of a value as stored.
        dtype: of a value as decoded.
        channels: as decoded.
        palette: TIFF's tag 320: ``(3, entries)`` of 16 bits.
        jpeg: the codec has brought colours to RGB already.
        where: the file, for errors.

    Raises:
        ImageError: colours that only a program made for them can show.
    """
    if photometric == _PALETTE and channels == 1 and dtype.kind == "u":
        return Look(_palette(palette, where), 3, np.dtype(np.uint8), False)
    if photometric == _INKS and channels == 4 and dtype == np.uint8:
        return Look(_without_inks, 3, np.dtype(np.uint8), False)
    few = dtype == np.uint8 and bits in (2, 4)
    factor = np.uint8(255 // (2**bits - 1)) if few else np.uint8(1)
    stretch: Callable[[NDArray[Any]], NDArray[Any]] = (
        (lambda pixels: pixels * factor) if few else (lambda pixels: pixels)
    )
    if photometric == _WHITE_IS_ZERO and dtype.kind in "ub":
        return Look(_turn_round(dtype, bits, stretch), channels, dtype, True)
    if photometric in (_WHITE_IS_ZERO, *_PLAIN) or (photometric == _YCBCR and jpeg):
        return Look(stretch, channels, dtype, True)
    colours = _NAMES.get(photometric, f"kind {photometric}, {channels} x {dtype}")
    raise ImageError(where, f"its colours are {colours}", fix="save it as RGB")


def _turn_round(
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
    # Some writers fill 0..255 instead of 0..65535, as libtiff knows too.
    colours = (table if table.max(initial=0) < 256 else table >> 8).astype(np.uint8).T

    def apply(pixels: NDArray[Any]) -> NDArray[Any]:
        index = pixels[:, :, 0]
        if index.size and int(index.max()) >= len(colours):
            raise ValueError(f"pixel value {int(index.max())} is beyond its palette of {len(colours)} colours")
        shown: NDArray[Any] = colours[index]
        return shown

    return apply


def _without_inks(pixels: NDArray[Any]) -> NDArray[Any]:
    from PIL import Image

    picture = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    return np.asarray(picture.convert("RGB"))
