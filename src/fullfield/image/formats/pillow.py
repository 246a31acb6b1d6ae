"""PNG, JPEG, WebP, BMP and whatever else Pillow reads: decoded once, whole."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fullfield.errors import ImageError
from fullfield.image.blob import Blob, open_blob
from fullfield.image.decode import DECODE_ERRORS, decode, limit_lifted, silence
from fullfield.image.formats.checks import reason
from fullfield.image.pick import Pick, picked, picked_bands, picked_level
from fullfield.image.png16 import DEEP_BYTES, deep_reader, is_deep
from fullfield.image.raster import About, ArrayRaster, Raster

#: Bytes of a picture decoded, above which it is refused: it would lie in memory whole.
MOST_BYTES = 2 * 2**30
_NEVER = frozenset({"EPS", "WMF"})  # programs are run to draw these
_BYTES = {"1": 1, "L": 1, "LA": 2, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # a pixel, as Pillow holds it
_AT_8_BITS = "Pillow (colours of 16 bits at 8: pip install 'fullfield[tiff]')"


def open_pillow(path: str, pick: Pick) -> Raster | None:
    """A picture in memory; ``None`` where Pillow does not know such files.

    Depth and colour stay as ``io.decode`` says: EXIF rotation is applied, palettes become RGB, transparency is laid on
    white. Where bands are picked, alpha is one of them.

    Args:
        path: file or URL.
        pick: what of it is wanted; ``series`` counts the frames.

    Raises:
        ImageError: it is damaged, or too large to be held in memory.
    """
    blob = open_blob(path)
    try:
        with _file(blob) as file:
            found = _pixels(file, path, blob.size, pick)
        if found is None:
            return None
        pixels, reader = found
        bands = picked_bands(pick.bands, pixels.shape[2], where=path)
        picked_level(pick, 1, None, where=path)
        for name, index in (("z", pick.z), ("t", pick.t)):
            picked(index, 1, what=name, where=path)
        if pick.bands is not None:
            pixels = pixels[:, :, bands]
        size = (pixels.shape[0], pixels.shape[1])
        identity = {**blob.identity(), "series": pick.series or 0, "bands": list(bands)}
        identity["dtype"] = str(pixels.dtype)
        return ArrayRaster(pixels, path, About(identity, size, (size,), reader=reader))
    finally:
        blob.close()


def _file(blob: Blob) -> BinaryIO:
    """The file, or a copy of what lies behind a URL: Pillow jumps about in it."""
    if blob.size > MOST_BYTES:
        raise ImageError(blob.name, f"a picture of {blob.size} bytes is not read whole", fix="save it as tiled TIFF")
    file = blob.file()
    if isinstance(file, io.BufferedReader):
        return file
    with file:
        return io.BytesIO(blob.read(0, blob.size))


def _pixels(file: BinaryIO, path: str, size: int, pick: Pick) -> tuple[NDArray[Any], str] | None:
    """The pixels ``(y, x, c)`` of a frame, and what read them; ``None`` where Pillow does not know the file."""
    try:
        Image.init()
        known = [name for name in Image.OPEN if name not in _NEVER]
        with limit_lifted(2**62), silence():
            picture = Image.open(file, formats=known)
    except UnidentifiedImageError:
        return None
    except DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    with picture:
        try:
            if pick.series is not None:
                picture.seek(picked(pick.series, getattr(picture, "n_frames", 1), what="series", where=path))
        except DECODE_ERRORS as error:
            raise _damaged(path, error) from error
        deep, able = is_deep(picture), deep_reader()
        _check_memory(picture, path, size, DEEP_BYTES if deep and able else _BYTES.get(picture.mode, 4))
        reader = "Pillow" if not deep else "imagecodecs" if able else _AT_8_BITS
        try:
            return decode(picture, bands=None if pick.bands is None else len(picture.getbands()))[0], reader
        except ImageError as error:
            raise ImageError(path, error.what, fix=error.fix) from error


def _check_memory(picture: Image.Image, path: str, size: int, pixel_bytes: int) -> None:
    needed = picture.width * picture.height * pixel_bytes
    if needed > MOST_BYTES:
        raise ImageError(
            path,
            f"{picture.height}x{picture.width} px in {size} bytes of {picture.format} decode only whole, "
            f"to {needed} bytes (at most {MOST_BYTES})",
            fix="save it as tiled TIFF, which is read by region: vips tiffsave --tile, or gdal_translate -co TILED=YES",
        )


def _damaged(path: str, error: BaseException) -> ImageError:
    return ImageError(
        path, f"cannot be decoded ({reason(error)})", fix="it may be damaged or incomplete: copy or download it again"
    )
