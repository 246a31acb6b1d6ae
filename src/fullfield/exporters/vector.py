"""Writes objects as GeoPackage and FlatGeobuf, a batch at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.errors import first_line
from fullfield.exporters.geotiff import gdal_refused
from fullfield.exporters.objects import Layer, Objects, Polygons, columns
from fullfield.exporters.tables import arrow_or_error, record_batch
from fullfield.packages import import_packages

_DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}
_INDEXED = 1_000_000  # objects at most whose spatial index, which is made in memory, takes no more than 0.1 GB
_SHAPE = "geometry"


def write_vector(path: Path, layer: Layer, batches: Iterator[Objects]) -> int:
    """Writes a feature an object: its shape, class and numbers. Returns their number.

    Raises:
        ImageError: a package is missing, or GDAL cannot write the file.
    """
    pyogrio, shapely = _packages(layer.where)
    arrow = arrow_or_error(layer.where, "vector")
    stream = _Stream(arrow, shapely, layer, batches)
    index = "YES" if layer.most <= _INDEXED else "NO"
    try:
        with _reproducible(pyogrio):
            pyogrio.write_arrow(
                stream.reader(),
                path,
                layer=path.stem,
                driver=_DRIVERS[path.suffix.lower()],
                geometry_name=_SHAPE,
                geometry_type=layer.shape,
                crs=layer.crs,
                layer_options={"SPATIAL_INDEX": index},
            )
    except (RuntimeError, OSError, ValueError) as error:
        if stream.error is None:
            raise gdal_refused(Path(layer.where), first_line(error), layer.bytes) from error
    if stream.error is not None:
        raise stream.error
    return stream.count


def _packages(where: str) -> tuple[Any, Any]:
    what = "vector files are written by the packages pyogrio and shapely, which are not installed"
    pyogrio, shapely = import_packages("pyogrio", "shapely", extra="vector", where=where, what=what)
    return pyogrio, shapely


@contextmanager
def _reproducible(pyogrio: Any) -> Iterator[None]:
    """GDAL writes the same bytes for the same objects, and is silent about px, which have no coordinate system."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
            yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


class _Stream:
    """Objects as a stream of Arrow, which keeps the error that ended it: GDAL passes on no more than its text."""

    def __init__(self, arrow: Any, shapely: Any, layer: Layer, batches: Iterator[Objects]) -> None:
        self._arrow, self._shapely, self._layer, self._batches = arrow, shapely, layer, batches
        self.count = 0
        self.error: BaseException | None = None

    def reader(self) -> Any:
        """What GDAL reads from; the first batch says the columns."""
        first = self._batch(next(self._batches))
        return self._arrow.RecordBatchReader.from_batches(first.schema, self._following(first))

    def _following(self, first: Any) -> Iterator[Any]:
        try:
            self.count += first.num_rows
            yield first
            for objects in self._batches:
                batch = self._batch(objects)
                self.count += batch.num_rows
                yield batch
        except BaseException as error:
            self.error = error
            raise

    def _batch(self, objects: Objects) -> Any:
        found = columns(objects, self._layer, places=False)
        made = record_batch(self._arrow, found)
        shapes = self._shapely.to_wkb(self._shapes(objects.shapes))
        return made.append_column(_SHAPE, self._arrow.array(shapes, self._arrow.binary()))

    def _shapes(self, shapes: Any) -> Any:
        if isinstance(shapes, np.ndarray):
            return self._shapely.points(shapes)
        several = self._layer.shape == "MultiPolygon"
        found = np.empty(len(shapes), object)
        found[:] = [self._polygon(each, several=several) for each in shapes]
        return found

    def _polygon(self, polygons: Polygons, *, several: bool) -> Any:
        made = [self._shapely.Polygon(rings[0], rings[1:]) for rings in polygons]
        return self._shapely.MultiPolygon(made) if several else made[0]
