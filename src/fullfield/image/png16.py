"""PNG with colours of 16 bits, which Pillow reads at 8: their numbers by imagecodecs, all else as Pillow says it."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.image.orientation import upright
from fullfield.image.raster import ArrayRaster

_DEEP = frozenset({"RGB;16B", "RGBA;16B", "LA;16B"})
_STRIP = 1 << 20  # values laid on white at once
_WHITE = np.uint32(65535)
#: Bytes a pixel in memory while such a picture is decoded: its numbers, and Pillow's.
DEEP_BYTES = 8 + 4


def is_deep(picture: Image.Image) -> bool:
    """Whether Pillow would take a picture's colours of 16 bits to 8; it has not been loaded yet, and has one frame."""
    tile = getattr(picture, "tile", None) or []
    return picture.format == "PNG" and any(part[3] in _DEEP for part in tile) and getattr(picture, "n_frames", 1) == 1


def deep_reader() -> bool:
    """Whether imagecodecs is there, which reads such pictures."""
    return find_spec("imagecodecs") is not None


def deep_pixels(picture: Image.Image, bands: int | None) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` of 16 bits as they are stored, laid on white where they are transparent.

    Pillow decodes the file too: it finds what is damaged, and the orientation, which may stand at the end.

    Args:
        picture: one that ``is_deep``.
        bands: a picture that has so many, alpha among them, keeps them all.

    Raises:
        Exception: what Pillow and imagecodecs raise on broken files, ``DECODE_ERRORS``.
    """
    import imagecodecs

    file: Any = picture.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    if data[12:16] != b"IHDR" or struct.unpack(">2I", data[16:24]) != picture.size:
        raise ValueError("its header does not come first")
    picture.load()
    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    channels = pixels.shape[2]
    if channels == 3 or ("A" in picture.mode and bands in (channels, len(picture.getbands()))):
        return pixels
    return _on_white(pixels)


def turned(pixels: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` upright; ``orientation`` is Exif's."""
    raster = upright(ArrayRaster(pixels), orientation)
    height, width, _ = raster.shape
    return np.ascontiguousarray(raster.read(0, height, 0, width))


def _on_white(pixels: NDArray[Any]) -> NDArray[np.uint16]:
    """Without alpha, the last channel."""
    height, width, channels = pixels.shape
    out = np.empty((height, width, channels - 1), np.uint16)
    rows = max(1, _STRIP // (width * channels))
    for row in range(0, height, rows):
        part = pixels[row : row + rows].astype(np.uint32)
        colours, alpha = part[:, :, :-1], part[:, :, -1:]
        out[row : row + rows] = (colours * alpha + _WHITE * (_WHITE - alpha) + _WHITE // 2) // _WHITE
    return out
