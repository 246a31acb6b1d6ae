"""Opens masks in pictures, arrays and rasters, to be read by region."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fullfield.errors import ImageError, first_line
from fullfield.image.decode import DECODE_ERRORS, decode
from fullfield.image.decoded_size import check_picture
from fullfield.image.formats.gdal_safety import allowed_drivers, check_files, check_path, gdal_options, gdal_path
from fullfield.image.raster import Georeference, Raster, read_valid

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MaskPixels = tuple[NDArray[Any], NDArray[np.bool_] | None]
"""Pixels ``(y, x, c)``, and which of them ``(y, x)`` are valid; ``None`` if all are."""


@dataclass(frozen=True, eq=False)
class MaskPicture:
    """A mask, or a raster of labels, that is read by region.

    Args:
        where: path, for errors.
        size: height and width, px.
        read: returns the pixels of a region, top, bottom, left and right.
        georeference: of its pixels.
    """

    where: str
    size: tuple[int, int]
    read: Callable[[int, int, int, int], MaskPixels]
    georeference: Georeference | None = None


@contextmanager
def open_picture(mask: object) -> Iterator[MaskPicture]:
    """Opens a file, an array or a ``Raster`` to be read by region.

    Raises:
        ImageError: it cannot be read.
    """
    if hasattr(mask, "metadata"):
        raster: Raster = mask  # type: ignore[assignment]
        at = raster.metadata.georeference
        yield MaskPicture(raster.name, raster.shape[:2], lambda *region: read_valid(raster, region), at)
    elif isinstance(mask, (str, os.PathLike)):
        with _file(Path(mask)) as picture:
            yield picture
    else:
        yield _from_array(decode(mask)[0], "mask")


def _from_array(pixels: NDArray[Any], where: str, shown: NDArray[np.bool_] | None = None) -> MaskPicture:
    """A mask from an array ``(y, x, c)``."""

    def read(top: int, bottom: int, left: int, right: int) -> MaskPixels:
        region = slice(top, bottom), slice(left, right)
        return pixels[region], None if shown is None else shown[region]

    return MaskPicture(where, (pixels.shape[0], pixels.shape[1]), read)


@contextmanager
def _file(path: Path) -> Iterator[MaskPicture]:
    with path.open("rb") as file:
        tiff = file.read(4) in _TIFF
    if not tiff:
        picture = _pillow(path)
        if picture is not None:
            yield picture
            return
    try:
        rasterio = importlib.import_module("rasterio")
    except ImportError:
        yield _without_gdal(path, tiff)
        return
    check_path(str(path))
    reader = importlib.import_module("rasterio.io").DatasetReader  # rasterio.open takes one driver or all
    with rasterio.Env(**gdal_options(str(path))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mask needs no georeference
            try:
                dataset = reader(gdal_path(str(path)), driver=allowed_drivers(str(path)), sharing=False)
            except rasterio.errors.RasterioIOError as error:
                raise _unreadable(path, error) from error
        with dataset:
            check_files(str(path), dataset)
            yield _gdal(dataset, path)


def _pillow(path: Path) -> MaskPicture | None:
    """A mask in one of Pillow's formats; ``None`` if Pillow does not know the format."""
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return _from_array(decode(path)[0], str(path))
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # errors are raised
            check_picture(picture, str(path), path.stat().st_size)
            plain = picture.mode in ("P", "1", "L", "I", "F") or picture.mode.startswith("I;16")
            colours = np.asarray(picture.convert("RGBA")) if picture.has_transparency_data else None
            shown = None if colours is None else colours[:, :, 3] > 0
            if plain and picture.getexif().get(274, 1) == 1:
                values = np.asarray(picture)[:, :, None]  # a palette's index decides, not its colour
                return _from_array(values, str(path), shown)
            if colours is not None:
                return _from_array(colours[:, :, :3], str(path), shown)
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise ImageError(
            str(path), str(error), fix="give the mask at a smaller size: it is scaled to the image"
        ) from error
    except DECODE_ERRORS as error:
        raise _unreadable(path, error) from error
    return _from_array(decode(path)[0], str(path))


def _without_gdal(path: Path, tiff: bool) -> MaskPicture:
    """A mask read without rasterio: a TIFF by tifffile, else by Pillow."""
    if not tiff:
        raise ImageError(str(path), "is in no format that Pillow reads", fix="pip install 'fullfield[geo]' for more")
    try:
        tifffile = importlib.import_module("tifffile")
    except ImportError:
        return _from_array(decode(path)[0], str(path))
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            pixels = page.asarray()
            chunky = page.planarconfig == 1
    except (*DECODE_ERRORS, tifffile.TiffFileError) as error:
        raise _unreadable(path, error) from error
    if pixels.ndim == 2:
        return _from_array(pixels[:, :, None], str(path))
    return _from_array(pixels if chunky else pixels.transpose(1, 2, 0), str(path))


def _gdal(dataset: Any, path: Path) -> MaskPicture:
    """A mask in any format that GDAL reads."""
    rasterio = importlib.import_module("rasterio")
    windows = importlib.import_module("rasterio.windows")
    alpha = rasterio.enums.ColorInterp.alpha
    bands = [i for i, kind in zip(dataset.indexes, dataset.colorinterp, strict=True) if kind != alpha] or [1]

    def read(top: int, bottom: int, left: int, right: int) -> MaskPixels:
        window = windows.Window(left, top, right - left, bottom - top)
        try:
            pixels = dataset.read(bands, window=window)
            shown = dataset.dataset_mask(window=window) != 0
        except rasterio.errors.RasterioIOError as error:
            raise _unreadable(path, error) from error
        return np.moveaxis(pixels, 0, 2), shown

    at = None
    if dataset.crs is not None or not dataset.transform.is_identity:
        at = Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(dataset.transform)[:6])
    return MaskPicture(str(path), (dataset.height, dataset.width), read, at)


def _unreadable(path: Path, error: BaseException) -> ImageError:
    return ImageError(str(path), f"cannot be read as a mask ({first_line(error)})", fix="give a picture or GeoJSON")
