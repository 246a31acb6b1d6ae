"""Labels that are pixels of a raster: a cell has the class of the pixel in which its window's centre lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.labels import UNLABELLED, ClassCodes, Samples, window_centres
from fullfield.errors import ImageError
from fullfield.image.raster import Georeference
from fullfield.mask.masks import check_aspect, common_map
from fullfield.mask.pictures import MaskPicture
from fullfield.mask.reproject import on_map, same_crs, to_crs, to_pixels

_PIXELS = 1 << 24  # read at once


@dataclass(frozen=True, eq=False)
class RasterLabels:
    """Pixels whose numbers are classes; implements ``CellLabels``.

    Args:
        codes: of the numbers.
        picture: the raster.
        outside: class of cells without a valid pixel; ``None`` leaves these out.
        to_raster: points ``(n, 2)`` (x, y) of the image in pixels of the raster.
    """

    codes: ClassCodes
    picture: MaskPicture
    outside: int | None
    to_raster: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    unit: str = "cells"
    targets: None = None
    left_out: dict[str, int] = field(default_factory=dict)
    _known: dict[int, int] = field(default_factory=dict)

    def samples(self, top: int, left: int, rows: int, columns: int) -> Samples:
        """The cells of a block whose centres lie on a valid pixel."""
        outside = UNLABELLED if self.outside is None else self.outside
        found = np.full((rows, columns), outside, np.intp)
        placement = self.codes.spec.placement
        y, x = window_centres(placement, top, rows, 0), window_centres(placement, left, columns, 1)
        places = self.to_raster(np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1))
        flat = found.ravel()
        self._set(places, flat)
        cells = np.flatnonzero(flat != UNLABELLED)
        return Samples(cells, flat[cells])

    def _set(self, places: NDArray[np.float64], found: NDArray[np.intp]) -> None:
        """Sets the codes of points of the raster; of those outside of it none."""
        height, width = self.picture.size
        with np.errstate(invalid="ignore"):
            at = np.floor(places)
            on = ((at >= 0) & (at < (width, height))).all(axis=1)
        which = np.flatnonzero(on)
        x, y = at[on].astype(np.intp).T
        for part in _parts(x, y):
            self._read(x[part], y[part], which[part], found)

    def _read(self, x: NDArray[np.intp], y: NDArray[np.intp], which: NDArray[np.intp], found: NDArray[np.intp]) -> None:
        top, left = int(y.min()), int(x.min())
        pixels, shown = self.picture.read(top, int(y.max()) + 1, left, int(x.max()) + 1)
        values = pixels[y - top, x - left]
        if values.shape[1] != 1:
            raise ImageError(
                self.picture.where,
                f"has {values.shape[1]} channels; labels are one number a pixel",
                fix="give a raster of class indices, or a palette image",
            )
        known = ~np.isnan(values[:, 0]) if values.dtype.kind == "f" else np.ones(len(values), np.bool_)
        if shown is not None:
            known &= shown[y - top, x - left]
        found[which[known]] = self._codes(values[known, 0])

    def _codes(self, values: NDArray[np.generic]) -> NDArray[np.intp]:
        different, place = np.unique(values, return_inverse=True)
        return np.array([self._code(float(value)) for value in different.tolist()], np.intp)[place]

    def _code(self, value: float) -> int:
        if value not in self._known:
            if value != int(value):
                raise ImageError(
                    self.picture.where, f"holds {value:g}, which is no class index", fix="give whole numbers"
                )
            self._known[int(value)] = self.codes.code(int(value))
        return self._known[int(value)]


def raster_labels(picture: MaskPicture, codes: ClassCodes, outside: int | None) -> RasterLabels:
    """The labels of a raster.

    It is placed as a mask is: by its georeference where it and the image have one of the same kind; else it spans the
    image.

    Raises:
        ImageError: it is of another shape, or lies outside the image.
    """
    size, place = codes.spec.placement.image, common_map(picture.georeference, codes.spec.georeference)
    if place is None:
        check_aspect(picture, size)
        factor = np.array([picture.size[1] / size[1], picture.size[0] / size[0]])
        return RasterLabels(codes, picture, outside, lambda points: points * factor)
    return RasterLabels(codes, picture, outside, _reprojected(*place))


def _reprojected(at: Georeference, image: Georeference) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Points of the image in pixels of a raster on a map."""
    source, target = str(image.crs), str(at.crs)
    same = at.crs is None or image.crs is None or same_crs(source, target)

    def convert(points: NDArray[np.float64]) -> NDArray[np.float64]:
        mapped = on_map(points, image)
        return to_pixels(mapped if same else to_crs(mapped, source, target), at)

    return convert


def _parts(x: NDArray[np.intp], y: NDArray[np.intp]) -> list[slice]:
    """Runs of points that lie within few enough pixels to be read together."""
    if not len(x):
        return []
    if int(np.ptp(x) + 1) * int(np.ptp(y) + 1) <= _PIXELS or len(x) == 1:
        return [slice(0, len(x))]
    middle = len(x) // 2
    second = (slice(p.start + middle, p.stop + middle) for p in _parts(x[middle:], y[middle:]))
    return [*_parts(x[:middle], y[:middle]), *second]
