"""Reads masks from pictures, arrays and polygons as grids over the image."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.raster import FinestLevel, Georeference, Raster, finest_level
from fullfield.mask.geojson import geojson_grid, holds_shapes, parse_coordinates
from fullfield.mask.grid import FULL, MOST_CELLS, MaskGrid
from fullfield.mask.pictures import MaskPicture, open_picture
from fullfield.mask.reproject import MOST_REPROJECTED, grid_shape, map_extent, mask_extent, reproject, same_crs

_BLOCK = 2048  # px a side, about, of the blocks in which a mask is read
_ASPECT = 0.01  # by which a mask's aspect ratio may differ from the image's, besides one pixel of rounding


def mask_grid(mask: object, raster: Raster, *, coordinates: str = "auto") -> MaskGrid:
    """A mask as a grid over an image.

    Pixels of a picture that are not 0 are inside, unless its own mask, nodata value or alpha makes them invalid. It is
    reprojected if both it and the image are georeferenced, else scaled to the image.

    Args:
        mask: a file (GeoJSON, GeoPackage, FlatGeobuf, shapefile, or a picture that Pillow, tifffile or GDAL reads), an
            array ``(y, x)``, or a ``Raster``.
        raster: the image.
        coordinates: of polygons: ``image`` for pixels of the image's finest level, x before y; ``map`` for the file's
            coordinate system, longitude and latitude (RFC 7946) or the image's own; ``auto`` detects it.

    Raises:
        ImageError: it cannot be read, is empty, or does not overlap the image.
        GeometryError: unknown ``coordinates``.
    """
    meaning = parse_coordinates(coordinates)
    if isinstance(mask, (str, os.PathLike)) and holds_shapes(Path(mask)):
        return geojson_grid(Path(mask), raster, meaning)
    with open_picture(mask) as picture:
        return _picture_grid(picture, finest_level(raster))


def _picture_grid(picture: MaskPicture, finest: FinestLevel) -> MaskGrid:
    size, place = finest.size, common_map(picture.georeference, finest.georeference)
    if place is None:
        check_aspect(picture, size)
    other = place is not None and place[0].crs != place[1].crs and not same_crs(str(place[0].crs), str(place[1].crs))
    reduced = _reduced(picture, MOST_REPROJECTED if other else MOST_CELLS)
    if not reduced.cells.any():
        raise ImageError(
            picture.where,
            f"selects nothing: all {picture.size[0]}x{picture.size[1]} px of the mask are 0",
            fix="mark the parts to scan with values other than 0",
        )
    if place is None:
        factors = tuple(p * n / m for p, n, m in zip(reduced.pixel, size, picture.size, strict=True))
        return MaskGrid(reduced.cells, (factors[0], factors[1]))
    at, image = place
    grid = reproject(reduced, at, size, image)
    if not grid.cells.any():
        raise ImageError(
            picture.where,
            f"lies outside the image: the mask selects {mask_extent(reduced, at)} ({_crs_name(at)}), "
            f"the image covers {map_extent((0, 0), (size[1], size[0]), image)} ({_crs_name(image)})",
            fix="check that mask and image belong together, and their coordinate systems",
        )
    return grid


def common_map(at: Georeference | None, image: Georeference | None) -> tuple[Georeference, Georeference] | None:
    """The georeferences of a mask and an image where both are of known coordinate systems, or both of none.

    A mask may have a transform alone where the image has no place: it counts px of the image, y upwards as in GeoTIFFs
    of scores, or downwards.
    """
    if at is None:
        return None
    if at.crs is None and image is None:
        return at, Georeference(None, (1.0, 0.0, 0.0, 0.0, -1.0 if at.transform[4] < 0 else 1.0, 0.0))
    return None if image is None or (at.crs is None) != (image.crs is None) else (at, image)


def _crs_name(at: Georeference) -> str:
    """The name of a coordinate system: the first quoted text of its WKT."""
    parts = (at.crs or "").split('"')
    return parts[1] if len(parts) > 1 else (at.crs or "no coordinate system")


def check_aspect(picture: MaskPicture, size: tuple[int, int]) -> None:
    """Raises unless a mask may span an image of height and width ``size``.

    Raises:
        ImageError: it has another shape.
    """
    (h, w), (height, width) = picture.size, size
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


def _reduced(picture: MaskPicture, most: int) -> MaskGrid:
    """A mask as a grid of at most ``most`` cells; ``pixel`` is in pixels of the mask."""
    height, width = picture.size
    shape = grid_shape(picture.size, most)
    factor = max(-(-height // shape[0]), -(-width // shape[1]))
    shape = -(-height // factor), -(-width // factor)
    cells = np.zeros(shape, np.uint8)
    side = factor * max(1, _BLOCK // factor)
    for top in range(0, height, side):
        for left in range(0, width, side):
            block = reduce(
                _inside(picture, top, min(height, top + side), left, min(width, left + side)), (factor, factor)
            )
            i, j = top // factor, left // factor
            cells[i : i + block.shape[0], j : j + block.shape[1]] = block
    return MaskGrid(cells, (float(factor), float(factor)))


def _inside(picture: MaskPicture, *region: int) -> NDArray[np.bool_]:
    """Which pixels ``(y, x)`` of a region are not 0, NaN or invalid in all channels."""
    pixels, shown = picture.read(*region)
    found: NDArray[np.bool_] = ((pixels != 0) & (pixels == pixels)).any(axis=2)  # NaN is outside
    return found if shown is None else found & shown


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
