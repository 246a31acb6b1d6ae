"""``fullfield.export``: a score map in the format of another program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fullfield.api.scores import Scores, open_scores
from fullfield.arguments import checks_keywords

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters import Exported, Resolution
    from fullfield.exporters.detections import Detections
    from fullfield.exporters.geotiff import Compression
    from fullfield.exporters.grid import Classes
    from fullfield.exporters.resample import ResampleMethod


@checks_keywords
def export(
    scores: Scores | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    classes: Classes = None,
    labels: bool = False,
    resolution: Resolution = "cells",
    resample: ResampleMethod = "nearest",
    cog: bool = True,
    compression: Compression = "deflate",
    detections: Detections | None = None,
    overwrite: bool = False,
    budget: int | str | None = None,
    progress: OnProgress | None = None,
) -> Exported:
    """Writes a score map as OME-Zarr, ``.npz``, GeoTIFF, OME-TIFF, ``.npy``, picture, table or vector file.

    Whatever the format, score ``(i, j)`` lies where its window's centre does. The file appears whole or not at all.

    Args:
        scores: of a scan, in memory or on disk, or their path.
        path: ``.zarr``, ``.npz``, ``.tif`` (GeoTIFF), ``.ome.tif``, ``.npy``, ``.png``, ``.webp``, ``.jpg``; or
            ``.geojson``, ``.gpkg``, ``.fgb``, ``.csv``, ``.parquet``: objects. GDAL and GIS programs count the
            bands of a GeoTIFF from 1: class 0 is band 1.
        classes: by index among the network's classes or by name, one or several; all by default.
        labels: the class with the greatest score instead of the scores (TIFF, npy, pictures, zarr).
        resolution: ``"cells"``, a pixel a cell; ``"image"``, the original image's pixels; or height and width of the
            whole image in pixels (TIFF, npy, pictures).
        resample: ``"nearest"``, ``"bilinear"`` or ``"lanczos"``, where the resolution is not ``"cells"``. With
            ``labels`` the scores are interpolated, then compared.
        cog: Cloud-optimised GeoTIFF; ``False`` for a plain one.
        compression: ``"deflate"``, ``"zstd"``, ``"lzw"`` or ``"none"`` (GeoTIFF).
        detections: which cells are detections, and what an object is (GeoJSON, tables, vector files); by default the
            cells whose top class is one of ``classes`` as regions; in tables all windows.
        overwrite: replace an earlier file.
        budget: memory allowed, bytes or a text such as ``"150MB"``; 0.3 GB by default. ``.npz`` and pictures, of which
            all is in memory, are refused where they take more.
        progress: called after every block.

    Returns:
        Path and size of the file, and the number of its objects.

    Raises:
        FullfieldError: scores, options or a path that cannot be used; the text says where, what and how to mend it.
    """
    source = open_scores(scores) if isinstance(scores, (str, os.PathLike)) else scores
    return source.save(
        path,
        classes=classes,
        labels=labels,
        resolution=resolution,
        resample=resample,
        cog=cog,
        compression=compression,
        detections=detections,
        overwrite=overwrite,
        budget=budget,
        progress=progress,
    )
