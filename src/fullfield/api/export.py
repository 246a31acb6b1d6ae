"""``fullfield.export``: a score map in the format of another program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fullfield.api.scores import Scores
from fullfield.api.stored import open_scores
from fullfield.exporters import Options, Resolution
from fullfield.exporters import export as write

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.geojson import Coordinates, Geometry
    from fullfield.exporters.geotiff import Compression
    from fullfield.exporters.resample import Method
    from fullfield.store.maps import ScoreMap


def export(
    scores: ScoreMap | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    classes: Sequence[int | str] | None = None,
    labels: bool = False,
    resolution: Resolution = "cells",
    resample: Method = "nearest",
    cog: bool = True,
    compression: Compression = "deflate",
    threshold: float | None = None,
    geometry: Geometry = "polygons",
    coordinates: Coordinates = "image",
    min_distance: float | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> None:
    """Writes a score map as GeoTIFF, OME-TIFF, ``.npy``, GeoJSON, PNG, ``.zarr`` or ``.npz``, as the suffix says.

    Whatever the format, score ``(i, j)`` lies where its window's centre does. The file appears whole or not at all.

    Args:
        scores: of a scan, in memory or on disk, or their path.
        path: ``.tif`` (GeoTIFF), ``.ome.tif``, ``.npy``, ``.geojson``, ``.png``, ``.zarr`` or ``.npz``.
        classes: those wanted, by index among the network's classes or by name; all by default.
        labels: the class with the greatest score instead of the scores (TIFF, npy, PNG, zarr).
        resolution: ``"cells"``, a pixel a cell; ``"image"``, the original image's pixels; or height and width of the
            whole image in pixels (TIFF, npy, PNG).
        resample: ``"nearest"``, ``"bilinear"`` or ``"lanczos"``, where the resolution is not ``"cells"``. With
            ``labels`` the scores are interpolated, then compared.
        cog: Cloud-optimised GeoTIFF; ``False`` for a plain one.
        compression: ``"deflate"``, ``"zstd"``, ``"lzw"`` or ``"none"`` (GeoTIFF).
        threshold: detections are cells with at least this score, class by class; without it, cells whose top class is
            one of ``classes`` (GeoJSON).
        geometry: ``"polygons"``, cells that share a side merged; or ``"points"``, the windows' centres (GeoJSON).
        coordinates: ``"image"``, px from the top left corner, as QuPath reads them; ``"map"``, the image's coordinate
            system; ``"wgs84"``, degrees, as RFC 7946 wants it (GeoJSON).
        min_distance: of points, those without a greater one of their class within so many px of the image (GeoJSON).
        overwrite: replace what is there.
        progress: called after every block.

    Raises:
        FullfieldError: scores, options or a place that cannot be used; the text says where, what and how to mend it.
    """
    options = Options(labels, resolution, resample, cog, compression, threshold, geometry, coordinates, min_distance)
    source = read_scores(scores) if isinstance(scores, (str, os.PathLike)) else scores
    write(source, path, classes=classes, overwrite=overwrite, options=options, progress=progress)


def read_scores(path: str | os.PathLike[str]) -> ScoreMap:
    """Scores on disk: a store by region, an archive in memory.

    Raises:
        FullfieldError: it holds no scores, is damaged, or not complete.
    """
    return open_scores(path) if Path(path).is_dir() else Scores.load(path)
