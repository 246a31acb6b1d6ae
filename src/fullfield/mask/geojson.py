"""Reads masks of polygons, GeoJSON and vector files, in pixels (QuPath and other slide viewers) or map coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError, ImageError
from fullfield.image.checks import check_file
from fullfield.image.raster import Georeference, Origin, Raster, finest_level
from fullfield.mask.geojson_polygons import parse_document, read_rings
from fullfield.mask.grid import MaskGrid
from fullfield.mask.polygons import Rings, burn
from fullfield.mask.reproject import LONGITUDE_LATITUDE, grid_shape, parse_crs, same_crs, to_crs, to_pixels
from fullfield.mask.vector import is_vector_file, vector_document

MaskCoordinates = Literal["auto", "image", "map"]

_MOST_BYTES = 512 << 20  # of a file: parsed it takes several GB
_PIECES = 64  # most pieces that an edge is divided into when it is reprojected
_POINTS = 1 << 20  # most points after edges are divided


def holds_shapes(path: Path) -> bool:
    """Whether a file is GeoJSON or a vector file by its content, not a picture.

    Raises:
        ImageError: there is no such file, or it is a vector file and a package is not installed.
    """
    check_file(path)
    head = _head(path)
    return is_vector_file(path, head) or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


def parse_coordinates(coordinates: str) -> MaskCoordinates:
    """The meaning of a file's coordinates, by name.

    Raises:
        GeometryError: an unknown name.
    """
    if coordinates not in get_args(MaskCoordinates):
        raise GeometryError(
            "coordinates", f"{coordinates!r} is not known", fix=f"use one of {', '.join(get_args(MaskCoordinates))}"
        )
    return coordinates  # type: ignore[return-value]


@dataclass(frozen=True)
class Frame:
    """The image that polygons lie on.

    Args:
        name: of the image, for errors.
        size: height and width of its finest level, px.
        counted: height and width of the level whose px coordinates count.
        georeference: of its finest level.
        corner: px (y, x) of that level from which px coordinates count, as QuPath does.
    """

    name: str
    size: tuple[int, int]
    counted: tuple[int, int]
    georeference: Georeference | None = None
    corner: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, raster: Raster) -> Frame:
        """The frame of an image."""
        finest = finest_level(raster)
        return cls(raster.name, finest.size, finest.size, finest.georeference, raster.metadata.origin.corner)

    @classmethod
    def of_map(
        cls, size: tuple[int, int], provenance: Mapping[str, Any], at: Georeference | None, origin: Origin
    ) -> Frame:
        """The frame of the image that a map was scanned from, by its provenance."""
        return cls(str(provenance.get("image", "image")), size, size, at, origin.corner)


def geojson_grid(path: Path, raster: Raster, coordinates: MaskCoordinates) -> MaskGrid:
    """The polygons of a file as a grid over an image.

    Raises:
        ImageError: there are no polygons, none lies on the image, or their coordinates cannot be converted.
    """
    document = parse_file(path)
    frame = Frame.of(raster)
    return burn(placed_polygons(document, str(path), frame, coordinates), frame.size, grid_shape(frame.size))


def placed_polygons(document: Any, where: str, frame: Frame, coordinates: MaskCoordinates) -> Rings:
    """The polygons of a document in pixels of the image's finest level.

    Raises:
        ImageError: there are no polygons, none lies on the image, or their coordinates cannot be converted.
    """
    polygons = read_rings(document, where)
    if not len(polygons.points):
        raise ImageError(where, "holds no polygon", fix="give Polygon or MultiPolygon geometries; points have no area")
    return place_shapes(polygons, declared_crs(document), frame, coordinates, where)


def parse_file(path: Path, *, described: bool = False) -> Any:
    """The document in a file, GeoJSON or a vector file; ``parse_document`` describes it.

    Raises:
        ImageError: it is too large, or cannot be read.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ImageError(
            str(path),
            f"has {size >> 20} MB, shapes above {_MOST_BYTES >> 20} MB are not read",
            fix="give a raster mask",
        )
    if is_vector_file(path, _head(path)):
        return vector_document(path, described=described)
    try:
        return parse_document(path.read_bytes(), described=described)
    except (ValueError, RecursionError, OSError) as error:
        raise ImageError(str(path), f"cannot be read as JSON ({error})", fix="export it again") from error


def declared_crs(document: Any) -> str | None:
    """The coordinate system in the ``crs`` member of GeoJSON 2008; of a vector file ``""`` where it names none."""
    crs = document.get("crs") if isinstance(document, dict) else None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    return name if isinstance(name, str) else None


def place_shapes(shapes: Rings, declared: str | None, frame: Frame, coordinates: MaskCoordinates, where: str) -> Rings:
    """Polygons, or points as rings of one point, in pixels of the image's finest level.

    Raises:
        ImageError: under no meaning of their coordinates do they lie on the image.
    """
    tried: list[str] = []
    for name, system in _meanings(shapes, declared, frame, coordinates, where):
        placed = _pixels(shapes, system, frame)
        low, high = extent(placed)
        if (high > 0).all() and (low < np.array(frame.size[::-1])).all():
            return placed
        tried.append(f"as {name} they span x {low[0]:.6g}..{high[0]:.6g}, y {low[1]:.6g}..{high[1]:.6g} px")
    low, high = extent(shapes)
    height, width = frame.size
    kind = "points" if _are_points(shapes) else "polygons"
    raise ImageError(
        where,
        f"{kind} at x {low[0]:.10g}..{high[0]:.10g}, y {low[1]:.10g}..{high[1]:.10g} lie outside the image, "
        f"x 0..{width}, y 0..{height} px: {'; '.join(tried)}",
        fix='check that they belong to this image, or name the coordinates: "image" or "map"',
    )


def extent(polygons: Rings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest x and y of polygons."""
    points = polygons.points
    return points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf)


def _meanings(
    polygons: Rings, declared: str | None, frame: Frame, coordinates: MaskCoordinates, where: str
) -> Iterator[tuple[str, str | None]]:
    """The possible meanings of the coordinates, likeliest first: name and coordinate system (``None`` for pixels).

    Degrees are tried before pixels: small numbers may be either, but pixels read as degrees hardly ever fall on the
    image.
    """
    pixels, at = ("image coordinates", None), frame.georeference
    if declared == "" and coordinates == "auto" and at is not None:
        what = f"names no coordinate system, and the image {frame.name} has a place on a map"
        fix = 'say what its numbers are: coordinates="map" (--coordinates map) or "image"'
        raise ImageError(where, what, fix=fix)
    declared = declared or None
    if coordinates == "image" or (coordinates == "auto" and at is None and declared is None):
        yield pixels
        return
    if at is None or (declared is not None and at.crs is None):
        missing = "no georeference" if at is None else "a transform but no coordinate system"
        raise ImageError(
            where,
            f"has map coordinates ({declared or 'as requested'}), and the image {frame.name} has {missing}",
            fix='give pixels, with coordinates="image"',
        )
    if declared is not None:
        yield f"map coordinates ({declared})", parse_crs(declared, where)
        return
    low, high = extent(polygons)
    if at.crs is not None and (np.abs([low, high]) <= (180.0, 90.0)).all():
        yield "longitude and latitude", LONGITUDE_LATITUDE
    if coordinates == "auto":
        yield pixels
    yield "coordinates of the image's own map", at.crs or ""


def _pixels(polygons: Rings, system: str | None, frame: Frame) -> Rings:
    """Polygons in pixels of the image; ``system`` is ``""`` for its own map, ``None`` for px of the level counted."""
    if system is None:
        factor = np.array([frame.size[1] / frame.counted[1], frame.size[0] / frame.counted[0]])
        return polygons._replace(points=polygons.points * factor + frame.corner[::-1])
    at = frame.georeference
    assert at is not None
    same = system == "" or (at.crs is not None and same_crs(system, at.crs))
    if not same:
        assert at.crs is not None
        polygons = _on_map(polygons, system, at.crs)
    return polygons._replace(points=to_pixels(polygons.points, at))


def _on_map(polygons: Rings, system: str, crs: str) -> Rings:
    """Polygons in another coordinate system; points outside of it are dropped, and rings without any."""
    pieces = 1 if _are_points(polygons) else max(1, min(_PIECES, _POINTS // len(polygons.points)))
    points = to_crs(_split(polygons, pieces), system, crs)
    known = np.isfinite(points).all(axis=1)
    lengths = polygons.lengths * pieces
    left = np.add.reduceat(known, np.cumsum(lengths) - lengths, dtype=np.intp)
    return Rings(points[known], left[left > 0], polygons.owners[left > 0])


def _are_points(shapes: Rings) -> bool:
    return bool((shapes.lengths == 1).all())


def _split(polygons: Rings, pieces: int) -> NDArray[np.float64]:
    """The points of rings with every edge divided into pieces of equal length."""
    parts, points = np.arange(pieces)[:, None] / pieces, polygons.points
    return (points[:, None] + (points[polygons.following()] - points)[:, None] * parts).reshape(-1, 2)
