"""Reads masks from pictures, arrays and GeoJSON as grids over the image."""

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
from fullfield.image.checks import check_file
from fullfield.image.decode import DECODE_ERRORS, decode
from fullfield.image.decoded_size import check_picture
from fullfield.image.formats.gdal_safety import allowed_drivers, check_files, check_path, gdal_options, gdal_path
from fullfield.image.raster import Georeference, Raster
from fullfield.mask.geojson import geojson_grid, looks_like_geojson, parse_coordinates
from fullfield.mask.grid import FULL, MOST_CELLS, MaskGrid
from fullfield.mask.reproject import MOST_REPROJECTED, grid_shape, map_extent, mask_extent, reproject, same_crs

_BLOCK = 2048  # px a side, about, of the blocks in which a mask is read
_ASPECT = 0.01  # by which a mask's aspect ratio may differ from the image's, besides one pixel of rounding
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, eq=False)
class _Picture:
    """A mask that is read by region; true is inside.

    Args:
        where: path, for errors.
        size: height and width, px.
        read: returns the mask of a region.
        georeference: of its pixels.
    """

    where: str
    size: tuple[int, int]
    read: Callable[[int, int, int, int], NDArray[np.bool_]]
    georeference: Georeference | None = None


def mask_grid(mask: object, raster: Raster, *, coordinates: str = "auto") -> MaskGrid:
    """A mask as a grid over an image.

    Pixels of a picture that are not 0 are inside, unless its own mask, nodata value or alpha makes them invalid. It is
    reprojected if both it and the image are georeferenced, else scaled to the image.

    Args:
        mask: a file (GeoJSON, or a picture that Pillow, tifffile or GDAL reads), an array ``(y, x)``, or a ``Raster``.
        raster: the image.
        coordinates: of GeoJSON: ``image`` for pixels of the image's finest level, x before y; ``map`` for the file's
            coordinate system, longitude and latitude (RFC 7946) or the image's own; ``auto`` detects it.

    Raises:
        ImageError: it cannot be read, is empty, or does not overlap the image.
        GeometryError: unknown ``coordinates``.
    """
    meaning = parse_coordinates(coordinates)
    if isinstance(mask, (str, os.PathLike)) and _is_geojson(Path(mask)):
        return geojson_grid(Path(mask), raster, meaning)
    with _opened(mask) as picture:
        return _picture_grid(picture, raster)


def _is_geojson(path: Path) -> bool:
    check_file(path)
    with path.open("rb") as file:
        return looks_like_geojson(file.read(256))


def _picture_grid(picture: _Picture, raster: Raster) -> MaskGrid:
    at, image, size = picture.georeference, raster.metadata.georeference, raster.shape[:2]
    mapped = at is not None and at.crs is not None and image is not None and image.crs is not None
    if not mapped:
        _check_aspect(picture, raster)
    other = mapped and not same_crs(at.crs, image.crs)  # type: ignore[union-attr, arg-type]
    reduced = _reduced(picture, MOST_REPROJECTED if other else MOST_CELLS)
    if not reduced.cells.any():
        raise ImageError(
            picture.where,
            f"selects nothing: all {picture.size[0]}x{picture.size[1]} px of the mask are 0",
            fix="mark the parts to scan with values other than 0",
        )
    if not mapped:
        factors = tuple(p * n / m for p, n, m in zip(reduced.pixel, size, picture.size, strict=True))
        return MaskGrid(reduced.cells, (factors[0], factors[1]))
    assert at is not None
    assert image is not None
    grid = reproject(reduced, at, size, image)
    if not grid.cells.any():
        raise ImageError(
            picture.where,
            f"lies outside the image: the mask selects {mask_extent(reduced, at)} ({_crs_name(at)}), "
            f"the image covers {map_extent((0, 0), (size[1], size[0]), image)} ({_crs_name(image)})",
            fix="check that mask and image belong together, and their coordinate systems",
        )
    return grid


def _crs_name(at: Georeference) -> str:
    """The name of a coordinate system: the first quoted text of its WKT."""
    parts = (at.crs or "").split('"')
    return parts[1] if len(parts) > 1 else (at.crs or "no coordinate system")


def _check_aspect(picture: _Picture, raster: Raster) -> None:
    (h, w), (height, width) = picture.size, raster.shape[:2]
    # by how much the mask's height differs from the one that its width implies, or the other way round
    off = min(abs(h - height * w / width), abs(w - width * h / height))
    if off <= max(1.0, _ASPECT * min(h, w)):
        return
    raise ImageError(
        picture.where,
        f"a mask of {h}x{w} px (height:width {h / w:.4g}) does not span the image of {height}x{width} px "
        f"({height / width:.4g})",
        fix="make the mask from the whole image, at any size; or georeference both",
    )


def _reduced(picture: _Picture, most: int) -> MaskGrid:
    """A mask as a grid of at most ``most`` cells; ``pixel`` is in pixels of the mask."""
    height, width = picture.size
    shape = grid_shape(picture.size, most)
    factor = max(-(-height // shape[0]), -(-width // shape[1]))
    shape = -(-height // factor), -(-width // factor)
    cells = np.zeros(shape, np.uint8)
    side = factor * max(1, _BLOCK // factor)
    for top in range(0, height, side):
        for left in range(0, width, side):
            block = reduce(picture.read(top, min(height, top + side), left, min(width, left + side)), (factor, factor))
            i, j = top // factor, left // factor
            cells[i : i + block.shape[0], j : j + block.shape[1]] = block
    return MaskGrid(cells, (float(factor), float(factor)))


def reduce(inside: NDArray[np.bool_], factor: tuple[int, int]) -> NDArray[np.uint8]:
    """The coverage of blocks of ``factor`` px in 255ths, rounded up so that no pixel is lost."""
    if factor == (1, 1):
        return inside.astype(np.uint8) * np.uint8(FULL)
    (height, width), (p, q) = inside.shape, factor
    rows, columns = -(-height // p), -(-width // q)
    if (height, width) != (rows * p, columns * q):
        inside = np.pad(inside, ((0, rows * p - height), (0, columns * q - width)))
    counts = inside.view(np.uint8).reshape(rows, p, -1).sum(axis=1, dtype=np.uint32)  # rows first: vectorized
    counts = counts.reshape(rows, columns, q).sum(axis=2, dtype=np.int64)
    area = np.minimum(p, height - p * np.arange(rows))[:, None] * np.minimum(q, width - q * np.arange(columns))
    parts: NDArray[np.uint8] = (-(-counts * FULL // area)).astype(np.uint8)
    return parts


@contextmanager
def _opened(mask: object) -> Iterator[_Picture]:
    """Opens a mask to be read by region."""
    if hasattr(mask, "metadata"):
        raster: Raster = mask  # type: ignore[assignment]
        at = raster.metadata.georeference
        yield _Picture(raster.name, raster.shape[:2], lambda *region: _raster_inside(raster, region), at)
    elif isinstance(mask, (str, os.PathLike)):
        with _file(Path(mask)) as picture:
            yield picture
    else:
        yield _from_array(decode(mask)[0], "mask")


def _raster_inside(mask: Raster, region: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (mask.read(*region) != 0).any(axis=2)
    valid = mask.valid(*region)
    return inside if valid is None else inside & valid


def _from_array(pixels: NDArray[Any], where: str) -> _Picture:
    """A mask from an array ``(y, x, c)``."""

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        block = pixels[top:bottom, left:right]
        found: NDArray[np.bool_] = ((block != 0) & (block == block)).any(axis=2)  # NaN is outside
        return found

    return _Picture(where, (pixels.shape[0], pixels.shape[1]), read)


@contextmanager
def _file(path: Path) -> Iterator[_Picture]:
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


def _pillow(path: Path) -> _Picture | None:
    """A mask in one of Pillow's formats; ``None`` if Pillow does not know the format."""
    with path.open("rb") as file:
        if file.read(6) == b"\x93NUMPY":
            return _from_array(decode(path)[0], str(path))
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # errors are raised
            check_picture(picture, str(path), path.stat().st_size)
            plain = picture.mode in ("P", "1", "L", "I", "F") or picture.mode.startswith("I;16")
            if plain and "transparency" not in picture.info and picture.getexif().get(274, 1) == 1:
                return _from_array(
                    np.asarray(picture)[:, :, None], str(path)
                )  # a palette's index decides, not its colour
            if picture.has_transparency_data:
                colours = np.asarray(picture.convert("RGBA"))
                return _from_array(colours[:, :, :3] * (colours[:, :, 3:] > 0), str(path))
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        raise ImageError(
            str(path), str(error), fix="give the mask at a smaller size: it is scaled to the image"
        ) from error
    except DECODE_ERRORS as error:
        raise _unreadable(path, error) from error
    return _from_array(decode(path)[0], str(path))


def _without_gdal(path: Path, tiff: bool) -> _Picture:
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


def _gdal(dataset: Any, path: Path) -> _Picture:
    """A mask in any format that GDAL reads."""
    rasterio = importlib.import_module("rasterio")
    windows = importlib.import_module("rasterio.windows")
    alpha = rasterio.enums.ColorInterp.alpha
    bands = [i for i, kind in zip(dataset.indexes, dataset.colorinterp, strict=True) if kind != alpha] or [1]

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        window = windows.Window(left, top, right - left, bottom - top)
        try:
            pixels = dataset.read(bands, window=window)
            shown = dataset.dataset_mask(window=window) != 0
        except rasterio.errors.RasterioIOError as error:
            raise _unreadable(path, error) from error
        found: NDArray[np.bool_] = ((pixels != 0) & (pixels == pixels)).any(axis=0) & shown
        return found

    at = None
    if dataset.crs is not None or not dataset.transform.is_identity:
        at = Georeference(dataset.crs.to_wkt() if dataset.crs else None, tuple(dataset.transform)[:6])
    return _Picture(str(path), (dataset.height, dataset.width), read, at)


def _unreadable(path: Path, error: BaseException) -> ImageError:
    return ImageError(str(path), f"cannot be read as a mask ({first_line(error)})", fix="give a picture or GeoJSON")
