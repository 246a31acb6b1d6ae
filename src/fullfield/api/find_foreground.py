"""``fullfield.find_foreground`` and ``save_foreground``: what of an image is not background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.exporters.foreground import write_foreground
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, is_raster
from fullfield.mask.background import Foreground
from fullfield.mask.background import find_foreground as find

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters import Exported
    from fullfield.exporters.coordinates import Coordinates


@checks_keywords
def find_foreground(
    image: object, *, budget: int | str | None = None, progress: OnProgress | None = None
) -> Foreground:
    """What of an image is not background: tissue on a slide, cells in the dark, what a map does not leave empty.

    ``Where(skip_background=found)`` scans there only; ``found.picture()`` shows it, ``found.share`` is its part of the
    image, ``save_foreground`` writes it. ``Where(skip_background=True)`` finds and scans in one.

    Args:
        image: path, array ``(y, x)`` or ``(y, x, c)``, PIL image, or what ``open`` returns.
        budget: memory allowed, bytes or a text such as ``"2GB"``.
        progress: called with a ``Progress`` after every block, where the image has no thumbnail and is read.

    Raises:
        ImageError: the image cannot be read, or all of it is background.
        BudgetError: it takes more memory than allowed, or the budget is no size.
    """
    if isinstance(image, (str, os.PathLike)):
        image = open(image)
    raster = image if is_raster(image) else ArrayRaster(np.atleast_3d(np.asarray(image)))
    return find(raster, progress=progress, budget_bytes=parse_bytes(budget))


@checks_keywords
def save_foreground(
    found: Foreground,
    path: str | os.PathLike[str],
    *,
    coordinates: Coordinates = "auto",
    overwrite: bool = False,
) -> Exported:
    """Writes what ``find_foreground`` found, at the size of the thumbnail and the place of the image.

    Args:
        found: the foreground.
        path: ``.geojson``, ``.gpkg`` or ``.fgb`` for its parts as polygons; ``.tif`` (GeoTIFF) or ``.ome.tif`` for 1
            inside and 0 outside; a picture for the thumbnail with the background tinted. All but pictures are masks
            that ``Where(mask=)`` takes.
        coordinates: of polygons: ``image``, px of the finest level; ``map``, the image's coordinate system; ``wgs84``,
            degrees; ``auto`` is ``map`` where the image has a place on one.
        overwrite: replace an earlier file.

    Raises:
        ImageError: unknown suffix, a file is there already, a package is missing, no space.
    """
    return write_foreground(found, path, coordinates=coordinates, overwrite=overwrite)
