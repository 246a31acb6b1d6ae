"""The regions of a map that get decisions of their own: the annotations of a GeoJSON file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fullfield.decisions.decision import DecisionRegion
from fullfield.engine.protocols import WantedCells
from fullfield.errors import ArgumentError, ImageError
from fullfield.geometry.region import Region
from fullfield.mask.annotations import annotation_cells, read_annotations
from fullfield.mask.geojson import Frame, holds_shapes, parse_coordinates
from fullfield.mask.where import Where
from fullfield.store.maps import MapSpec

RegionsLike = str | os.PathLike[str] | Where
"""A GeoJSON file; in ``Where`` with the meaning of its coordinates and the least coverage of a window."""


def map_regions(spec: MapSpec, regions: RegionsLike) -> Iterator[tuple[DecisionRegion, WantedCells, Region]]:
    """The regions of a map in the order of their file: each with its cells, and a rectangle that holds these.

    Raises:
        ArgumentError: something that names no regions.
        ImageError: there is no GeoJSON file of polygons, or one of these lies outside the image.
    """
    where = parse_regions(regions)
    path = Path(where.mask)  # type: ignore[arg-type]  # a path, as parsed
    placement = spec.placement
    frame = Frame.of_map(placement.image, spec.provenance, spec.georeference, spec.origin)
    for annotation in read_annotations(path, frame, parse_coordinates(where.coordinates)):
        region = DecisionRegion(annotation.name, annotation.number, annotation.properties)
        cells = annotation_cells(annotation.polygons, placement, where.min_coverage)
        if cells is None:
            what = f"region {region.number}, {region.name!r}, lies outside the image"
            raise ImageError(str(path), what, fix="leave it out, or check that file and image belong together")
        yield region, cells, cells.box


def parse_regions(regions: object) -> Where:
    """Regions as a ``Where`` whose mask is the path of a GeoJSON or vector file.

    Raises:
        ArgumentError: something else, or a ``Where`` with conditions that regions do not have.
        ImageError: the file is missing, or holds no polygons.
    """
    where = regions if isinstance(regions, Where) else Where(mask=regions)
    if not isinstance(where.mask, (str, os.PathLike)):
        what = f"{where.mask!r:.60} is no path of a file of polygons"
        raise ArgumentError("regions", what, fix='write regions="annotations.geojson"')
    if where.region is not None or where.skip_background or where.edge != "valid":
        what = "take a mask, its coordinates and a coverage only"
        raise ArgumentError("regions", what, fix="write Where(mask=..., coordinates=..., min_coverage=...)")
    path = Path(where.mask)
    if not holds_shapes(path):
        what = "is no GeoJSON or vector file"
        raise ImageError(str(path), what, fix="give polygons; scan with a mask to decide its inside")
    return where
