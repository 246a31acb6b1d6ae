"""Reads PNG, JPEG, WebP, BMP and Pillow's other formats, decoded whole."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fullfield.errors import ImageError, first_line
from fullfield.image.alpha import opaque_value
from fullfield.image.blob import Blob, local_path, open_blob
from fullfield.image.decode import DECODE_ERRORS, decode, ignored_warnings, shown_pixels, without_pixel_limit
from fullfield.image.decoded_size import MOST_BYTES, check_picture
from fullfield.image.formats.sidecars import has_sidecars, with_sidecars
from fullfield.image.nodata import check_nodata
from fullfield.image.orientation import orientation_of
from fullfield.image.png16 import can_decode_png16, is_png16
from fullfield.image.raster import ArrayRaster, ImageMetadata, Raster
from fullfield.image.selection import Selection, check_single, select_bands, select_index, select_level

_NEVER = frozenset({"EPS", "WMF"})  # Pillow runs other programs to draw these
_GREY, _ALPHA = ("grey", "gray"), ("alpha",)
_RGB = ("red",), ("green",), ("blue",)
_NAMES = {1: (_GREY,), 2: (_GREY, _ALPHA), 3: _RGB, 4: (*_RGB, _ALPHA)}  # of bands, by their number
_AT_8_BITS = "Pillow (16-bit colours reduced to 8 bits: pip install 'fullfield[tiff]')"


class _Frame(NamedTuple):
    """A decoded picture.

    Args:
        pixels: ``(y, x, c)``.
        shown: which of them are not fully transparent; ``None`` if all are, or where alpha is one of the bands read.
        alpha: whether it has transparency.
        bands: those selected, by their numbers.
        reader: the reader's name.
        orientation: EXIF's, which was applied.
        profile: ICC profile.
    """

    pixels: NDArray[Any]
    shown: NDArray[np.bool_] | None
    alpha: bool
    bands: tuple[int, ...]
    reader: str
    orientation: object
    profile: bytes | None


def open_pillow(path: str, selection: Selection) -> Raster | None:
    """Opens a picture and decodes it into memory; ``None`` if Pillow does not know the format.

    Pixels are converted as by ``image.decode``: EXIF rotation is applied, palettes become RGB, transparency is blended
    with white. If bands are selected, alpha is one of them.

    Args:
        path: file or URL.
        selection: what to read; ``series`` counts the frames.

    Raises:
        ImageError: it is damaged, or too large to be held in memory.
    """
    blob = open_blob(path)
    try:
        with _seekable(blob) as file:
            found = _pixels(file, path, blob.size, selection)
        if found is None:
            return None
        pixels, shown, alpha, bands, reader, orientation, profile = found
        names = _NAMES.get(pixels.shape[2], ())
        select_level(selection, 1, None, where=path)
        check_single(selection, ("z", "t"), where=path)
        if selection.bands is not None:
            pixels = pixels[:, :, bands]
        size = (pixels.shape[0], pixels.shape[1])
        identity = {**blob.identity(), "series": selection.series or 0, "bands": list(bands)}
        identity["dtype"] = str(pixels.dtype)
        nodata = check_nodata(selection.nodata, pixels.dtype, path)
        clear = None if shown is None else (opaque_value(pixels.dtype),) * pixels.shape[2]
        metadata = ImageMetadata(
            identity,
            size,
            (size,),
            nodata=nodata,
            masked=nodata is not None or shown is not None or pixels.dtype.kind == "f",
            every_band=selection.valid == "all",
            alpha=alpha,
            value_range=selection.value_range,
            background=clear,
            band_names=tuple(names[band][0] for band in bands) if names else (),
            profile=profile,
            reader=reader,
        )
        raster = ArrayRaster(pixels, path, metadata, shown)
        beside = not selection.series and local_path(path) is not None and has_sidecars(path)
        return with_sidecars(raster, orientation) if beside else raster
    finally:
        blob.close()


def _seekable(blob: Blob) -> BinaryIO:
    """The file, or a copy in memory of a URL's content: Pillow seeks a lot."""
    if blob.size > MOST_BYTES:
        raise ImageError(
            blob.name, f"a picture of {blob.size} bytes is too large to be read whole", fix="save it as tiled TIFF"
        )
    file = blob.file()
    if isinstance(file, io.BufferedReader):
        return file
    with file:
        return io.BytesIO(blob.read(0, blob.size))


def _opened(file: BinaryIO) -> Image.Image:
    """The picture, whose header was read; Pillow's forty rarer formats are imported for files of no frequent one.

    Raises:
        UnidentifiedImageError: of a format that Pillow does not know.
    """
    for register in (Image.preinit, Image.init):
        register()
        known = [name for name in Image.OPEN if name not in _NEVER]
        with suppress(UnidentifiedImageError):
            return Image.open(file, formats=known)
    raise UnidentifiedImageError


def _pixels(file: BinaryIO, path: str, size: int, selection: Selection) -> _Frame | None:
    """A frame and the reader's name; ``None`` if Pillow does not know the format."""
    try:
        with without_pixel_limit(2**62), ignored_warnings():
            picture = _opened(file)
    except UnidentifiedImageError:
        return None
    except DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    with picture:
        try:
            if selection.series is not None:
                picture.seek(select_index(selection.series, getattr(picture, "n_frames", 1), what="series", where=path))
        except DECODE_ERRORS as error:
            raise _damaged(path, error) from error
        check_picture(picture, path, size)
        sixteen_bits, able = is_png16(picture), can_decode_png16()
        reader = "Pillow" if not sixteen_bits else "imagecodecs" if able else _AT_8_BITS
        try:
            alpha = picture.has_transparency_data
            count = None if selection.bands is None else len(picture.getbands())
            pixels = decode(picture, bands=count)[0]
            last = pixels.shape[2] - 1
            bands = select_bands(selection.bands, last + 1, where=path, names=_NAMES.get(last + 1, ()))
            fed = alpha and selection.bands is not None and last in (1, 3) and last in bands  # alpha is one of them
            shown = None if fed else shown_pixels(picture)
            profile = picture.info.get("icc_profile") or None
            return _Frame(pixels, shown, alpha, bands, reader, orientation_of(picture), profile)
        except ImageError as error:
            raise ImageError(path, error.what, fix=error.fix) from error


def _damaged(path: str, error: BaseException) -> ImageError:
    return ImageError(
        path,
        f"cannot be decoded ({first_line(error)})",
        fix="it may be damaged or incomplete: copy or download it again",
    )
