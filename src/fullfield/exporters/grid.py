"""What is about to be written: bands of numbers on a regular grid over the image, read by region."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, Stage
from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.image.raster import Georeference
from fullfield.store.classes import find_band
from fullfield.store.maps import ScoreMap
from fullfield.store.palette import Colour
from fullfield.store.record import plain_json

Classes = int | str | Sequence[int | str] | None
"""Classes by name or by index among the network's classes; all where ``None``."""
Read = Callable[[int, int, int, int], NDArray[Any]]
_MOST = 64 << 20  # bytes of numbers held at once


@dataclass(frozen=True)
class ExportGrid:
    """Bands of numbers over an image. Cell ``(i, j)`` covers ``spacing`` px from ``origin + (i, j) * spacing`` on.

    Args:
        shape: bands, rows and columns.
        dtype: of the numbers.
        fill: the number that stands where there is none.
        origin: top and left of cell ``(0, 0)`` on the original image, in pixel edges.
        spacing: height and width of a cell in px of the original image.
        names: one a band.
        classes: index among the network's classes, one a band; of labels, of every value.
        read: numbers ``(bands, y, x)`` of a half-open region.
        valid: which cells ``(y, x)`` of a region hold something.
        cost_bytes: memory that reading takes, a cell.
        scale, offset: a number ``n`` means ``offset + scale * n``.
        colours: of labels, the colour of every value and what it means.
        georeference: of the original image, if it lies on a map.
        mpp: micrometres per pixel (y, x) of the original image, if known.
        about: what made it, as plain JSON.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    fill: float
    origin: tuple[float, float]
    spacing: tuple[float, float]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    read: Read
    valid: Read
    cost_bytes: int
    scale: float = 1.0
    offset: float = 0.0
    colours: tuple[tuple[Colour, str], ...] | None = None
    georeference: Georeference | None = None
    mpp: tuple[float, float] | None = None
    about: str = "{}"

    @property
    def lying(self) -> Georeference:
        """Where the grid lies on the map; without one, in pixels of the original image, y downwards."""
        image = self.georeference or Georeference(None, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        return image.moved(*self.origin, self.spacing)

    def decoded(self, numbers: NDArray[Any]) -> NDArray[np.floating]:
        """What numbers mean, in floats; NaN for none."""
        if numbers.dtype.kind == "f":
            floats: NDArray[np.floating] = numbers.astype(np.promote_types(numbers.dtype, np.float32), copy=False)
            return floats
        meant = numbers.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)
        return np.where(numbers == numbers.dtype.type(self.fill), np.float32(np.nan), meant)


def cells(scores: ScoreMap, classes: Classes = None) -> ExportGrid:
    """The cells of a map with the numbers as they are stored, all bands or those of the classes named.

    Raises:
        ImageError: a class that the map does not hold, or holds as labels only.
    """
    spec = scores.spec
    count, rows, columns = spec.shape
    dtype = np.dtype(spec.dtype)
    labels = spec.kind == "labels"
    bands = band_indices(scores, classes)
    known = spec.classes or tuple(range(count))
    names = class_names(scores)

    first, last = min(bands), max(bands) + 1
    chosen: Any = slice(None) if bands == list(range(first, last)) else [band - first for band in bands]

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        block: NDArray[Any] = scores.read(top, bottom, left, right, slice(first, last))[chosen]
        return block

    return ExportGrid(
        (len(bands), rows, columns),
        dtype,
        spec.fill,
        spec.placement.centre(-0.5, -0.5),
        spec.placement.spacing,
        ("class",) if labels else tuple(names[band] for band in bands),
        known if labels else tuple(known[band] for band in bands),
        read,
        scores.valid,
        (last - first) * dtype.itemsize,
        scale=spec.scale,
        offset=spec.offset,
        georeference=spec.georeference,
        mpp=spec.mpp,
        about=_about(scores),
    )


def _about(scores: ScoreMap) -> str:
    """What made a map, as JSON without NaN."""
    spec = scores.spec
    about: dict[str, Any] = {"mode": spec.mode, "activation": spec.activation, "window": spec.placement.window}
    about |= {"step": spec.placement.step, "provenance": spec.provenance, "certificate": scores.certificate}
    return json.dumps(plain_json(about), allow_nan=False)


def class_names(scores: ScoreMap) -> tuple[str, ...]:
    """What the classes of a map are called: one name a band, or of labels one a class."""
    spec = scores.spec
    known = spec.classes or tuple(range(spec.shape[0]))
    return spec.class_names or tuple(f"class {index}" for index in known)


def band_indices(scores: ScoreMap, classes: Classes) -> list[int]:
    """Which bands hold the classes named: by name, or by index among the network's classes; all where none is.

    Raises:
        ImageError: a class that the map does not hold, or a class of a map of labels.
    """
    spec = scores.spec
    if classes is None:
        return list(range(spec.shape[0]))
    if isinstance(classes, (int, str)):
        classes = [classes]
    if spec.kind == "labels":
        raise ImageError(
            "classes", "a map of labels has no scores to choose from", fix="leave the classes out, or scan for scores"
        )
    if not classes:
        raise ImageError("classes", "none is chosen", fix="name one at least, or leave them out for all")
    found = [find_band(spec, cls) for cls in classes]
    return list(dict.fromkeys(found))


def blocks(grid: ExportGrid, tile: int, *, bytes_held: int = _MOST) -> Iterator[Region]:
    """Regions that cover a grid, row by row, each of whole tiles; parts of a tile where a tile would hold too much.

    Each region's numbers take ``bytes_held`` at most, or are a single cell's.
    """
    _, rows, columns = grid.shape
    most = max(1, bytes_held // max(1, grid.cost_bytes))  # cells
    if most < tile * tile:
        side = max(1, math.isqrt(most))
        for region in _cover((0, rows, 0, columns), tile, tile):
            yield from _cover(region, side, side)
        return
    wide = max(1, most // (tile * tile)) * tile
    yield from _cover((0, rows, 0, columns), tile, wide)


def parts(grid: ExportGrid, region: Region) -> Iterator[Region]:
    """Regions that cover a region, each of numbers that may be held at once; they begin where inner chunks do."""
    most = max(1, _MOST // max(1, grid.cost_bytes))
    side = 1 << (most.bit_length() - 1) // 2  # a power of two, as chunks have
    return _cover(region, side, side)


def _cover(region: Region, height: int, width: int) -> Iterator[Region]:
    top, bottom, left, right = region
    for y in range(top, bottom, height):
        for x in range(left, right, width):
            yield y, min(y + height, bottom), x, min(x + width, right)


def counted(
    regions: Iterator[Region], total: int, progress: OnProgress | None, *, unit: str = "cells"
) -> Iterator[Region]:
    """The regions unchanged; each is reported as exported when the next one is asked for."""
    stage, done = Stage(progress, "exporting", total, unit), 0
    for region in regions:
        yield region
        top, bottom, left, right = region
        done += (bottom - top) * (right - left)
        stage.report(done)


def widened(grid: ExportGrid) -> ExportGrid:
    """The same with half floats as single ones, for formats that have none."""
    if grid.dtype != np.float16:
        return grid
    wide = np.dtype(np.float32)
    return replace(
        grid, dtype=wide, read=lambda *region: grid.read(*region).astype(wide), cost_bytes=2 * grid.cost_bytes
    )
