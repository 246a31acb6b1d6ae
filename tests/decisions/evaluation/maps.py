"""Small maps and label files for the tests of evaluations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fullfield
from fullfield.geometry.placement import Placement


def placed(rows: int, columns: int, step: int = 4, window: int = 12) -> Placement:
    """Windows of 12x12 px every 4 px of an image that is scanned as it is."""
    size = (rows - 1) * step + window, (columns - 1) * step + window
    return Placement((step, step), (window, window), size, size)


def scores_of(array: NDArray[np.floating], placement: Placement | None = None, **fields: Any) -> fullfield.Scores:
    names = tuple(f"kind {k}" for k in range(len(array)))
    return fullfield.Scores.from_array(
        array, placement or placed(*array.shape[1:]), **({"class_names": names} | fields)
    )


def probabilities(rng: np.random.Generator, classes: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Softmax scores with many ties."""
    raised = np.exp(np.round(rng.standard_normal((classes, rows, columns)), 1))
    found: NDArray[np.float32] = (raised / raised.sum(axis=0)).astype(np.float32)
    return found


def pixels_of(codes: NDArray[np.integer], placement: Placement) -> NDArray[np.uint8]:
    """A raster at the image's size in which the centre of every cell has the cell's code, and all else 99."""
    raster = np.full(placement.image, 99, np.uint8)
    for (i, j), code in np.ndenumerate(codes):
        y, x = placement.centre(i, j)
        raster[int(y), int(x)] = code
    return raster


def geojson(path: Path, *features: tuple[dict[str, Any], Any], **members: Any) -> Path:
    """A feature collection of pairs of a geometry and properties."""
    listed = [{"type": "Feature", "geometry": shape, "properties": properties} for shape, properties in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": listed, **members}))
    return path


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*map(list, points), list(points[0])]]}


def box(top: float, left: float, bottom: float, right: float) -> dict[str, Any]:
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def point(y: float, x: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [x, y]}
