"""Reads the annotations of a GeoJSON file one by one, as polygons on an image with their names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.geometry.region import Region
from fullfield.mask.geojson import Frame, MaskCoordinates, parse_file, placed_polygons
from fullfield.mask.geojson_polygons import features, read_rings
from fullfield.mask.grid import MaskGrid, window_edges, windows_on_mask
from fullfield.mask.polygons import Rings, burn
from fullfield.mask.reproject import grid_shape

_NAMES = ("name", "label", "title", "id")  # properties that name an annotation, the first that is a text or a number
_SPARE = 2  # grid cells around a polygon


@dataclass(frozen=True, eq=False)
class Annotation:
    """One annotation: the polygons of a feature.

    Args:
        name: from its properties, else its id, else its number.
        number: in the file, from 0; annotations without polygons count too.
        properties: as the file has them, without geometries.
        polygons: in pixels of the image's finest level.
    """

    name: str
    number: int
    properties: dict[str, Any]
    polygons: Rings


def read_annotations(path: Path, frame: Frame, coordinates: MaskCoordinates) -> list[Annotation]:
    """The annotations of a file that have polygons, in their order; their coordinates are read as those of a mask.

    Raises:
        ImageError: there are no polygons, none lies on the image, or their coordinates cannot be converted.
    """
    where = str(path)
    document = parse_file(path, described=True)
    placed = placed_polygons(document, where, frame, coordinates)
    starts = np.cumsum(placed.lengths) - placed.lengths
    found, first = [], 0
    for number, feature in enumerate(features(document, where)):
        owners = read_rings(feature, where).owners
        stop = first + (int(owners[-1]) + 1 if len(owners) else 0)
        low, high = np.searchsorted(placed.owners, [first, stop]).tolist()
        if high > low:
            lengths = placed.lengths[low:high]
            points = placed.points[starts[low] : starts[low] + lengths.sum()]
            properties = feature.get("properties")
            facts = {k: v for k, v in properties.items() if _is_json(v)} if isinstance(properties, dict) else {}
            rings = Rings(points, lengths, placed.owners[low:high] - first)
            found.append(Annotation(_name(facts, feature.get("id"), number), number, facts, rings))
        first = stop
    if first <= placed.owners[-1]:
        raise ImageError(where, "has features inside of features", fix="export the annotations again")
    return found


def _is_json(value: Any) -> bool:
    """Whether a property is what the file says: the coordinates of polygons are packed."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _name(properties: dict[str, Any], id_: Any, number: int) -> str:
    """The name of an annotation: its own, else the one of its class, as QuPath writes both."""
    kind = properties.get("classification")
    given = [properties.get(name) for name in _NAMES]
    given += [kind.get("name") if isinstance(kind, dict) else kind, id_]
    names = [str(each) for each in given if isinstance(each, (str, int)) and not isinstance(each, bool) and each != ""]
    return names[0] if names else str(number)


@dataclass(frozen=True, eq=False)
class AnnotationCells:
    """Cells whose window touches an annotation, or is covered by it; implements ``engine.protocols.WantedCells``.

    They are those of ``MaskCells`` with a mask of this annotation alone. Only the part of the grid around it is held.

    Args:
        grid: that part.
        origin: its first pixel (y, x) of the image.
        placement: of the map on the image.
        min_coverage: as of ``MaskCells``.
    """

    grid: MaskGrid
    origin: tuple[float, float]
    placement: Placement
    min_coverage: float = 0.0

    def cells(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Whether each cell ``(rows, columns)`` of the block that starts at ``(row, column)`` is wanted."""
        y = window_edges(self.placement, row, rows, 0) - self.origin[0]
        x = window_edges(self.placement, column, columns, 1) - self.origin[1]
        return windows_on_mask(self.grid, y, x, self.min_coverage)

    @property
    def box(self) -> Region:
        """A rectangle of cells that holds all of them; it may be empty."""
        y, x = (
            _span(window_edges(self.placement, 0, self.placement.shape[axis], axis), start, start + side * count)
            for axis, start, side, count in zip(
                (0, 1), self.origin, self.grid.pixel, self.grid.cells.shape, strict=True
            )
        )
        return *y, *x


def annotation_cells(polygons: Rings, placement: Placement, min_coverage: float) -> AnnotationCells | None:
    """The cells of a map that belong to an annotation; ``None`` if it lies outside the image."""
    size = placement.image
    shape = grid_shape(size)
    pixel = size[0] / shape[0], size[1] / shape[1]
    low = np.floor(polygons.points.min(axis=0)[::-1] / pixel).astype(np.int64) - _SPARE
    high = np.ceil(polygons.points.max(axis=0)[::-1] / pixel).astype(np.int64) + _SPARE
    low, high = low.clip(0, shape), high.clip(0, shape)
    rows, columns = (high - low).tolist()
    if rows < 1 or columns < 1:
        return None
    origin = low[0] * pixel[0], low[1] * pixel[1]
    moved = polygons._replace(points=polygons.points - np.array(origin[::-1]))
    grid = burn(moved, (rows * pixel[0], columns * pixel[1]), (rows, columns))
    return AnnotationCells(grid, origin, placement, min_coverage)


def _span(edges: NDArray[np.float64], start: float, stop: float) -> tuple[int, int]:
    """The windows along one axis that overlap an interval of pixels."""
    first = int(np.searchsorted(edges[1], start, "left"))
    return first, max(first, int(np.searchsorted(edges[0], stop, "right")))
