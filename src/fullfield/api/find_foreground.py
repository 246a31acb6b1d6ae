"""``fullfield.find_foreground``: what of an image is not background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, is_raster
from fullfield.mask.background import Foreground
from fullfield.mask.background import find_foreground as find

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress


@checks_keywords
def find_foreground(
    image: object, *, budget: int | str | None = None, progress: OnProgress | None = None
) -> Foreground:
    """What of an image is not background: tissue on a slide, cells in the dark, what a map does not leave empty.

    ``Where(skip_background=found)`` scans there only; ``found.picture()`` shows it, ``found.share`` is its part of the
    image. ``Where(skip_background=True)`` does both steps in one.

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
