"""Writes what of an image is not background: as polygons, as a raster, or as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.drawing.pictures import save_picture
from fullfield.exporters import Exported, format_of
from fullfield.exporters.coordinates import Coordinates
from fullfield.exporters.detections import Detections
from fullfield.exporters.geotiff import write_geotiff
from fullfield.exporters.grid import ExportGrid
from fullfield.exporters.layers import write_rows
from fullfield.exporters.ometiff import write_ometiff
from fullfield.files import LAYERS, PICTURES, TABLES, check_writable
from fullfield.mask.background import Foreground

SUFFIXES = (*(suffix for suffix in LAYERS if suffix not in TABLES), ".tif", ".tiff", *PICTURES)
_COLOURS = (((128, 128, 128), "background"), ((213, 94, 0), "foreground"))
_INSIDE = 1


def write_foreground(
    found: Foreground, path: str | os.PathLike[str], *, coordinates: Coordinates = "auto", overwrite: bool = False
) -> Exported:
    """Writes the foreground in the format of the suffix.

    ``.geojson``, ``.gpkg`` and ``.fgb`` hold its parts as polygons, ``.tif`` (GeoTIFF) and ``.ome.tif`` 1 inside and 0
    outside, pictures the thumbnail with the background tinted. All but pictures are masks that ``Where`` takes.

    Args:
        found: by ``find_foreground``.
        path: where to.
        coordinates: of polygons.
        overwrite: replace an earlier file.

    Raises:
        ImageError: unknown suffix, a file is there already, a package is missing, no space.
    """
    target = check_writable(path, overwrite, suffixes=SUFFIXES)
    kind, count = format_of(target), None
    if kind == "picture":
        save_picture(found.picture(), target, overwrite=overwrite)
    elif kind in ("geotiff", "ometiff"):
        (write_geotiff if kind == "geotiff" else write_ometiff)(_grid(found), target, overwrite=overwrite)
    else:
        chosen = Detections(rows="regions", coordinates=coordinates)
        count = write_rows(_grid(found), target, (_INSIDE,), chosen, overwrite=overwrite)
    return Exported(Path(target), target.stat().st_size, count)


def _grid(found: Foreground) -> ExportGrid:
    """The mask as a map of two labels."""
    cells = found.inside.astype(np.uint8)
    rows, columns = cells.shape

    def read(top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        return cells[None, top:bottom, left:right]

    def valid(top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
        return np.ones((bottom - top, right - left), np.bool_)

    return ExportGrid(
        (1, rows, columns),
        cells.dtype,
        255.0,
        (0.0, 0.0),
        (found.size[0] / rows, found.size[1] / columns),
        ("class",),
        (0, _INSIDE),
        read,
        valid,
        1,
        colours=_COLOURS,
        georeference=found.georeference,
        mpp=found.mpp,
        image=found.image,
        image_origin=found.origin,
    )
