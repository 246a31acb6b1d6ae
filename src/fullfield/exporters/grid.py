"""Numbers to be exported: bands on a regular grid over the image, read by region."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import ImageError
from fullfield.geometry.region import Region
from fullfield.image.raster import Georeference, Origin
from fullfield.store.classes import find_band
from fullfield.store.maps import ScoreMap, decoded
from fullfield.store.palette import Colour
from fullfield.store.record import plain_json

Classes = int | str | Sequence[int | str] | None
"""Classes by name or by index among the network's classes; all where ``None``."""
Read = Callable[[int, int, int, int], NDArray[Any]]
_MOST = 64 << 20  # bytes of numbers in memory at once
BUDGET_BYTES = 300 * 10**6
"""What an export takes where no budget is given."""


@dataclass(frozen=True)
class SignalAxis:
    """The columns of a map as windows of a signal.

    Args:
        sample_rate: samples per second, if known.
        window: samples of a window.
    """

    sample_rate: float | None
    window: float


@dataclass(frozen=True)
class ExportGrid:
    """Bands of numbers over an image. Cell ``(i, j)`` covers ``spacing`` px, starting at ``origin + (i, j) * spacing``.

    Args:
        shape: bands, rows and columns.
        dtype: of the numbers.
        fill: number of cells that have no score.
        origin: top and left of cell ``(0, 0)`` on the original image, in pixel edges.
        spacing: height and width of a cell in px of the original image.
        names: one for each band.
        classes: index of each band's class among the network's classes; of labels, of each value.
        read: numbers ``(bands, y, x)`` of a half-open region.
        valid: which cells ``(y, x)`` of a region have scores.
        cost_bytes: memory that reading one cell takes.
        scale, offset: a number ``n`` means ``offset + scale * n``.
        colours: of labels, the colour and the name of each value.
        georeference: of the original image, if it has one.
        mpp: micrometres per pixel (y, x) of the original image, if known.
        metadata: how it was made, as JSON text.
        image: its name.
        image_origin: where other programs see it.
        budget_bytes: memory that an export may take; by default 0.3 GB.
        signal: of the map of a signal, its axis.
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
    metadata: str = "{}"
    image: str = ""
    image_origin: Origin = field(default_factory=Origin)
    budget_bytes: int | None = None
    signal: SignalAxis | None = None

    def within_budget(self, most: int) -> int:
        """Bytes of a buffer that has ``most`` without a budget: as much less as the budget is."""
        return most if self.budget_bytes is None else min(most, max(1, most * self.budget_bytes // BUDGET_BYTES))

    @property
    def on_map(self) -> Georeference:
        """Georeference of the grid; without one, pixels of the original image, from y = 0 downwards to -height.

        There QGIS and GDAL put pictures that have no place, so that the grid lies over its picture.
        """
        image = self.georeference or Georeference(None, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
        return image.moved(*self.origin, self.spacing)

    def decoded(self, numbers: NDArray[Any]) -> NDArray[np.floating]:
        """Scores of stored numbers, in floats; NaN for none."""
        floats = decoded(numbers, self)
        return floats.astype(np.promote_types(floats.dtype, np.float32), copy=False)


def cells(scores: ScoreMap, classes: Classes = None) -> ExportGrid:
    """The cells of a map with their stored numbers, all bands or those of some classes.

    Raises:
        ImageError: the map does not hold the class, or holds labels.
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
        metadata=_metadata_text(scores),
        image=str(spec.provenance.get("image") or ""),
        image_origin=spec.origin,
        signal=SignalAxis(spec.sample_rate, spec.placement.window[1] / spec.placement.scale[1])
        if spec.of_signal
        else None,
    )


def _metadata_text(scores: ScoreMap) -> str:
    """How a map was made, as JSON without NaN."""
    spec = scores.spec
    metadata: dict[str, Any] = {"mode": spec.mode, "activation": spec.went_through, "window": spec.placement.window}
    metadata |= {"step": spec.placement.step, "provenance": spec.provenance, "certificate": scores.certificate}
    return json.dumps(plain_json(metadata), allow_nan=False)


def class_names(scores: ScoreMap) -> tuple[str, ...]:
    """Names of a map's classes: one for each band, or of labels one for each class."""
    return scores.spec.titles


def band_indices(scores: ScoreMap, classes: Classes) -> list[int]:
    """The bands of some classes, given by name or by index among the network's classes; all if ``None``.

    Raises:
        ImageError: the map does not hold the class, or holds labels.
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


def blocks(grid: ExportGrid, tile: int) -> Iterator[Region]:
    """Regions that cover a grid, row by row, each of whole tiles, or a part of a tile if a tile is too large.

    The numbers of a region take at most 64 MiB, with a small budget less, unless one cell takes more.
    """
    _, rows, columns = grid.shape
    most = max(1, grid.within_budget(_MOST) // max(1, grid.cost_bytes))  # cells
    if most < tile * tile:
        side = max(1, math.isqrt(most))
        for region in cover((0, rows, 0, columns), tile, tile):
            yield from cover(region, side, side)
        return
    wide = max(1, most // (tile * tile)) * tile
    yield from cover((0, rows, 0, columns), tile, wide)


def split_region(grid: ExportGrid, region: Region) -> Iterator[Region]:
    """Splits a region into parts that fit in memory, aligned with the inner chunks of stores."""
    most = max(1, grid.within_budget(_MOST) // max(1, grid.cost_bytes))
    side = 1 << (most.bit_length() - 1) // 2  # a power of two, as chunks have
    return cover(region, side, side)


def cover(region: Region, height: int, width: int) -> Iterator[Region]:
    """Splits a region into parts of ``height`` rows and ``width`` columns, row by row; the last ones may be smaller."""
    top, bottom, left, right = region
    for y in range(top, bottom, height):
        for x in range(left, right, width):
            yield y, min(y + height, bottom), x, min(x + width, right)


def with_progress(
    regions: Iterator[Region], total: int, progress: OnProgress | None, *, unit: str = "cells"
) -> Iterator[Region]:
    """The regions unchanged; each is reported as exported when the next one is asked for."""
    stage, done = StageReporter(progress, "exporting", total, unit), 0
    for region in regions:
        yield region
        top, bottom, left, right = region
        done += (bottom - top) * (right - left)
        stage.report(done)


def without_float16(grid: ExportGrid) -> ExportGrid:
    """The grid with float16 as float32, for formats without float16."""
    if grid.dtype != np.float16:
        return grid
    wide = np.dtype(np.float32)
    return replace(
        grid, dtype=wide, read=lambda *region: grid.read(*region).astype(wide), cost_bytes=2 * grid.cost_bytes
    )
