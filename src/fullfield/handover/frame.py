"""Score maps as tables of pandas and geopandas, a row for each window that has scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import check_choice
from fullfield.errors import BudgetError, ImageError
from fullfield.exporters.grid import Classes, band_indices, class_names
from fullfield.handover.cell_coordinates import coordinate_system, image_axes
from fullfield.packages import import_packages
from fullfield.store.levels import level_grid
from fullfield.store.maps import MapSpec, ScoreMap, decoded
from fullfield.store.reading import argmax_bands

WindowShapes = Literal["boxes", "centres"]
FrameCoordinates = Literal["auto", "image", "map"]
_STRIP_BYTES = 64 << 20
_PLACE_BYTES = 8 * 6 + 4 + 8  # of a row without scores: six coordinates, the top class and its score
_RESERVED = ("row", "column", "y", "x", "y_um", "x_um", "map_y", "map_x", "top", "top_score", "sample", "time_s")


def frame(scores: ScoreMap, classes: Classes, *, budget_bytes: int) -> Any:
    """A ``pandas.DataFrame``; ``Scores.to_frame`` describes the columns.

    Raises:
        ImageError: pandas is not installed, or no such class.
        BudgetError: the table needs more memory.
    """
    (pandas,) = import_packages("pandas", extra="pandas", where="to_frame")
    spec = scores.spec
    labels = spec.kind == "labels"
    bands = [] if labels and classes is None else band_indices(scores, classes)
    _check_room(scores, len(bands), budget_bytes)
    parts = [_rows(scores, bands, *edges) for edges in _strips(spec)]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    codes = columns.pop("top")
    order = list(columns)
    names = list(class_names(scores))
    shown = names if len(set(names)) == len(names) else list(map(str, spec.classes))
    columns["top"] = pandas.Categorical.from_codes(codes, categories=shown)
    order.insert(order.index("top_score") if "top_score" in order else len(order), "top")
    return pandas.DataFrame({name: columns[name] for name in order}, copy=False)


def geo_frame(
    scores: ScoreMap, classes: Classes, *, geometry: WindowShapes, coordinates: FrameCoordinates, budget_bytes: int
) -> Any:
    """A ``geopandas.GeoDataFrame``: the rows of ``frame`` with their windows, or these windows' centres.

    Raises:
        ImageError: geopandas is not installed, unknown options, or an image without a georeference.
        BudgetError: the table needs more memory.
    """
    for name, value, kind in (("geometry", geometry, WindowShapes), ("coordinates", coordinates, FrameCoordinates)):
        check_choice(name, value, get_args(kind), ImageError)
    where = "to_geodataframe"
    if scores.spec.of_signal:
        raise ImageError(where, "windows of a signal have no shapes", fix="use to_frame()")
    (geopandas,) = import_packages("geopandas", extra="geopandas", where=where)
    (shapely,) = import_packages("shapely", extra="geopandas", where=where)
    spec = scores.spec
    if coordinates == "map" and spec.georeference is None:
        raise ImageError("coordinates", "the image has no georeference", fix='pass coordinates="image"')
    corners = [(0.0, 0.0)] if geometry == "centres" else [(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)]
    _check_room(scores, spec.shape[0] + 16 * len(corners), budget_bytes)
    table = frame(scores, classes, budget_bytes=budget_bytes)
    size = [length / scale for length, scale in zip(spec.placement.window, spec.placement.scale, strict=True)]
    y, x = table["y"].to_numpy()[:, None], table["x"].to_numpy()[:, None]
    down, across = np.array(corners).T
    y, x = y + down * size[0], x + across * size[1]
    crs = None
    if spec.georeference is not None and coordinates != "image":
        x, y = spec.georeference.on_map(y, x)
        system = coordinate_system(spec.georeference)
        crs = None if system is None else system.to_wkt()
    points = np.stack([x, y], axis=-1)
    shapes = shapely.points(points[:, 0]) if geometry == "centres" else shapely.polygons(points)
    return geopandas.GeoDataFrame(table, geometry=shapes, crs=crs)


def _check_room(scores: ScoreMap, bands: int, budget_bytes: int) -> None:
    """Raises where a table of all windows would not fit, with the parts of which it is put together."""
    rows, item = math.prod(scores.spec.shape[1:]), np.dtype(scores.spec.dtype).itemsize
    needed = 2 * rows * (_PLACE_BYTES + bands * max(4, item))
    if needed > budget_bytes:
        what = f"a table of {rows} windows needs up to {needed} bytes of memory, {budget_bytes} are allowed"
        raise BudgetError("table", what, fix="name some classes, allow more (budget=...), or use to_dask or to_xarray")


def _strips(spec: MapSpec) -> Iterator[tuple[int, int]]:
    """First row of each strip, and the first after it."""
    bands, rows, columns = spec.shape
    chunk = level_grid(spec, 0).chunk[1]
    height = max(1, min(chunk, _STRIP_BYTES // (8 * bands * columns)))
    for top in range(0, rows, height):
        yield top, min(rows, top + height)


def _rows(scores: ScoreMap, bands: list[int], top: int, bottom: int) -> dict[str, NDArray[Any]]:
    """Columns of the windows of some rows of cells that have scores."""
    spec = scores.spec
    region = top, bottom, 0, spec.shape[2]
    values, valid = decoded(scores.read(*region), spec), scores.valid(*region)
    i, j = np.nonzero(valid & ~np.isnan(values).all(axis=0))
    y, x = image_axes(spec)
    found: dict[str, NDArray[Any]] = {"row": i + top, "column": j, "y": y[i + top], "x": x[j]}
    if spec.of_signal:
        del found["row"], found["y"]
        found["sample"] = found.pop("x")
        if spec.sample_rate is not None:
            found["time_s"] = found["sample"] / spec.sample_rate
    if spec.mpp is not None:
        found |= {"y_um": found["y"] * spec.mpp[0], "x_um": found["x"] * spec.mpp[1]}
    if spec.georeference is not None:
        found["map_x"], found["map_y"] = spec.georeference.on_map(found["y"], found["x"])
    if spec.kind == "labels":
        codes = np.full(int(spec.fill) + 1, -1, np.int32)
        codes[list(spec.classes)] = np.arange(len(spec.classes))
        return found | {"top": codes[values[0][i, j].astype(np.int64)]}
    best, known = argmax_bands(iter(values))
    top_band = np.where(known, best.astype(np.int32), -1)[i, j]
    found |= {"top": top_band, "top_score": np.where(known, values.max(axis=0), np.nan)[i, j]}
    names = _columns(scores)
    return found | {names[band]: values[band][i, j] for band in bands}


def _columns(scores: ScoreMap) -> list[str]:
    """A name for each class that no other column has."""
    names = class_names(scores)
    taken = [*_RESERVED, "geometry"]
    return [
        f"{name} ({index})" if names.count(name) > 1 or name in taken else name
        for name, index in zip(names, scores.spec.classes, strict=True)
    ]
