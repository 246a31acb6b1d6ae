"""Pictures of maps that lie over images too large to draw pixel for pixel."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from fullfield.api.scores import Scores
from fullfield.api.stored import StoredScores
from fullfield.image.open import open
from fullfield.image.raster import ArrayRaster, Raster, is_raster
from fullfield.mask.thumbnail import small_image

_WHOLE = 1 << 26  # pixels of an image that is drawn as it is
_COARSE = 256  # cells a side of the level at which the liveliest class is looked for


def draw_over(stored: StoredScores, image: object, cls: int | str | None = None, *, side: int = 4096) -> Image.Image:
    """A stored map of one class over the image that was scanned, or over its thumbnail where it is large.

    Args:
        stored: a map of scores.
        image: what was scanned.
        cls: index among the network's classes, or name; the one whose scores span the widest range if left out.
        side: px of the picture's longer side, of a large image.

    Raises:
        ImageError: labels, no such class, another image's size.
    """
    band = liveliest_band(stored) if cls is None else stored.band(cls)
    chosen = stored.spec.classes[band]
    raster = open(image) if isinstance(image, (str, os.PathLike)) else image
    if not is_raster(raster):
        raster = ArrayRaster(np.atleast_3d(np.asarray(raster)))
    large = raster.shape[0] * raster.shape[1] > _WHOLE
    photo = _small(raster, side) if large else raster.read(0, raster.shape[0], 0, raster.shape[1])
    level = 0
    if large:
        level = next((k for k, a in enumerate(stored.levels) if max(a.shape[1:]) <= side), len(stored.levels) - 1)
    _, rows, columns = stored.levels[level].shape
    values = stored.scores(0, rows, 0, columns, cls=chosen, level=level)
    place = replace(stored.placement_at(level), image=(photo.shape[0], photo.shape[1]))
    names = None if stored.class_names is None else (stored.class_names[band],)
    return Scores(values, place, class_names=names, mode=stored.spec.mode).overlay(photo, 0)


def liveliest_band(stored: StoredScores) -> int:
    """The band whose scores span the widest range on a coarse level: `widest`."""
    _, values = stored.coarse(_COARSE)
    flat = values.reshape(values.shape[0], -1)
    low, high = (f.reduce(flat, axis=1).astype(np.float64) for f in (np.fmin, np.fmax))
    return widest(low, high)


def widest(low: Any, high: Any) -> int:
    """The band of the widest range of scores; of several about as wide the last: "face", not "background".

    Args:
        low, high: least and greatest score of every band, float; NaN, or ``high < low``, of a band without scores.
    """
    with np.errstate(over="ignore"):  # of infinite scores
        span = np.where(high < low, 0, np.nan_to_num(high) - np.nan_to_num(low))
    return int(np.flatnonzero(span >= 0.999 * span.max())[-1])


def _small(raster: Raster, side: int) -> Any:
    """The image at no more than ``side`` px a side, in its own type."""
    cheap = raster.thumbnail(side)
    if cheap is not None:
        return cheap
    small = small_image(raster, side)
    return np.rint(small).astype(raster.dtype) if raster.dtype.kind in "ui" else small
