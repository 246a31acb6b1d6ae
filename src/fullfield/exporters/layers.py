"""Writes layers of objects as GeoJSON, CSV, Parquet, GeoPackage and FlatGeobuf, in one pass with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fullfield.engine.progress import OnProgress
from fullfield.exporters.clip import read_clip
from fullfield.exporters.coordinates import OutputFrame, frame_of
from fullfield.exporters.detections import Detections, Rows, check_detections
from fullfield.exporters.geojson import write_geojson
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.objects import Layer, Objects
from fullfield.exporters.rows import points, regions, windows
from fullfield.exporters.tables import write_csv, write_parquet
from fullfield.exporters.vector import write_vector
from fullfield.files import TABLES, replacing
from fullfield.store.maps import MapSpec
from fullfield.store.palette import Colour, distinct

_WRITERS: dict[str, Callable[[Path, Layer, Iterator[Objects]], int]] = {
    ".geojson": write_geojson,
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".gpkg": write_vector,
    ".fgb": write_vector,
}


def write_rows(
    grid: ExportGrid,
    path: Path,
    wanted: tuple[int, ...],
    detections: Detections,
    *,
    spec: MapSpec | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> int:
    """Writes the windows, regions or points of a map. Returns their number.

    Args:
        grid: scores of all classes among which the top class is found; or labels.
        path: of the file; checked already.
        wanted: classes, by index among the network's.
        detections: which cells, and what becomes an object.
        spec: of the map, whose image objects are cut on.
        overwrite: replace an earlier file.
        progress: called after every strip.

    Raises:
        ImageError: options that exclude each other, no georeference, a package is missing, or no space.
    """
    rows: Rows = detections.rows or ("windows" if path.suffix.lower() in TABLES else "regions")
    check_detections(grid, detections, rows)
    frame = frame_of(grid, detections.coordinates)
    clip = (
        None
        if detections.clip is None or spec is None
        else read_clip(detections.clip, spec, frame, detections.clip_coordinates)
    )
    made = {"windows": windows, "regions": regions, "points": points}[rows](grid, wanted, detections, frame, progress)
    most = grid.shape[1] * grid.shape[2]
    layer = layer_of(grid, frame, path, points=rows == "points", annotations=rows == "regions", most=most)
    if clip is not None:
        made = clip.clipped(made)
        layer = layer if rows == "points" else replace(layer, shape="MultiPolygon")
    return write_layer(path, layer, made, overwrite=overwrite)


def write_layer(path: Path, layer: Layer, batches: Iterator[Objects], *, overwrite: bool) -> int:
    """Writes objects in the format of the suffix. Returns their number.

    Args:
        path: checked already.
        layer: what they have in common.
        batches: at least one, which may be empty.
        overwrite: replace an earlier file.
    """
    with replacing(path, overwrite=overwrite, needed_bytes=layer.bytes) as partial:
        return _WRITERS[path.suffix.lower()](partial, layer, batches)


def layer_of(grid: ExportGrid, frame: OutputFrame, path: Path, *, points: bool, annotations: bool, most: int) -> Layer:
    """The layer of the objects of a map that are written to a path."""
    return Layer(
        str(path),
        grid.image,
        _classes(grid),
        "Point" if points else "MultiPolygon" if frame.curved else "Polygon",
        "annotation" if annotations else "detection",
        frame.crs,
        frame.header,
        most,
    )


def _classes(grid: ExportGrid) -> dict[int, tuple[str, Colour]]:
    """Name and colour of each class."""
    if grid.colours is not None:
        return {value: (name, colour) for value, (colour, name) in enumerate(grid.colours)}
    colours = distinct(max(grid.classes) + 1)
    return {cls: (name, colours[cls]) for cls, name in zip(grid.classes, grid.names, strict=True)}
