"""Decodes PNGs with 16-bit colour by imagecodecs, because Pillow reduces them to 8 bits."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.image.alpha import on_white

_RAW_MODES = frozenset({"RGB;16B", "RGBA;16B", "LA;16B"})


def is_png16(picture: Image.Image) -> bool:
    """Whether Pillow would reduce a picture from 16 to 8 bits; known until it is loaded, for single frames."""
    tile = getattr(picture, "tile", None) or []
    return (
        picture.format == "PNG" and any(part[3] in _RAW_MODES for part in tile) and getattr(picture, "n_frames", 1) == 1
    )


def can_decode_png16() -> bool:
    """Whether imagecodecs is installed."""
    return find_spec("imagecodecs") is not None


def decode_png16(picture: Image.Image, bands: int | None) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` in 16 bits, blended with white where they are transparent.

    Pillow decodes the file too: it detects damage, and finds the orientation, which may be at the file's end.

    Args:
        picture: one for which ``is_png16`` is true.
        bands: a picture with exactly so many bands keeps them all, alpha included.

    Raises:
        Exception: one of ``DECODE_ERRORS``.
    """
    import imagecodecs

    file: Any = picture.fp  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    if data[12:16] != b"IHDR" or struct.unpack(">2I", data[16:24]) != picture.size:
        raise ValueError("its first chunk is not the header")
    picture.load()
    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    channels = pixels.shape[2]
    if channels == 3 or ("A" in picture.mode and bands in (channels, len(picture.getbands()))):
        return pixels
    return np.ascontiguousarray(on_white(pixels[:, :, :-1], pixels[:, :, -1]))
