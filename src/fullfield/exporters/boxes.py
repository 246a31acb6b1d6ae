"""Writes detected boxes as GeoJSON, tables and vector files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.exporters import Exported
from fullfield.exporters.coordinates import Coordinates, OutputFrame, frame_of
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.layers import layer_of, write_layer
from fullfield.exporters.objects import Objects
from fullfield.exporters.rows import rectangle_places, rectangles
from fullfield.files import LAYERS, check_writable

_TOGETHER = 4096


def write_boxes(
    grid: ExportGrid,
    path: str | os.PathLike[str],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.int64],
    windows: NDArray[np.int64],
    *,
    coordinates: Coordinates = "auto",
    overwrite: bool = False,
) -> Exported:
    """Writes an object a box.

    Args:
        grid: of a map of the image.
        path: where to.
        boxes: ``(n, 4)``: top, left, bottom, right, px of the image.
        scores, classes, windows: of each; the last is how many windows it is made of.
        coordinates: of the file.
        overwrite: replace an earlier file.

    Raises:
        ImageError: unknown suffix, a file is there already, no georeference, a package is missing, no space.
    """
    target = check_writable(path, overwrite, suffixes=LAYERS)
    frame = frame_of(grid, coordinates)
    layer = layer_of(grid, frame, target, points=False, annotations=False, most=len(scores))
    measured = {"score": scores} | ({"windows": windows} if (windows > 1).any() else {})
    count = write_layer(target, layer, _batches(grid, frame, boxes, classes, measured), overwrite=overwrite)
    return Exported(target, target.stat().st_size, count)


def _batches(
    grid: ExportGrid,
    frame: OutputFrame,
    boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    measured: dict[str, NDArray[Any]],
) -> Iterator[Objects]:
    for first in range(0, max(1, len(boxes)), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        edges = boxes[some].T
        places = rectangle_places(grid, *edges)
        yield Objects(
            rectangles(frame, *edges), classes[some], {name: values[some] for name, values in measured.items()}, places
        )
