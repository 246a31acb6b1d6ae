"""Replaces pixels that hold nothing by a value that a network can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError


def filled(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    value: float | tuple[float, ...] = 0.0,
    *,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` with ``value`` where there are none; the array itself where all are there.

    ``nodata`` in some channels of a pixel is no value either, although the others make it valid: no network is to meet
    -9999 or NaN, which a convolution would spread over all that it touches.

    Args:
        pixels: as they are read.
        valid: which pixels ``(y, x)`` hold something; ``None`` for all.
        value: of all channels, or one a channel, as a pixel value of the image.
        nodata: the image's value for nothing.

    Raises:
        ImageError: the pixels cannot hold ``value``.
    """
    gone = np.zeros((1, 1, 1), np.bool_) if valid is None else ~valid[:, :, None]
    if nodata is not None:
        gone = gone | (np.isnan(pixels) if np.isnan(nodata) else pixels == nodata)
    if not gone.any():
        return pixels
    value_of = np.asarray(value, np.float64)
    _check_value(value_of, pixels)
    out: NDArray[Any] = np.where(gone, value_of.astype(pixels.dtype), pixels)
    return out


def _check_value(value: NDArray[np.float64], pixels: NDArray[Any]) -> None:
    whole = pixels.dtype.kind in "ui"
    span = np.iinfo(pixels.dtype) if whole else np.finfo(pixels.dtype)
    fits = np.isfinite(value).all() and (value >= float(span.min)).all() and (value <= float(span.max)).all()
    if fits and value.shape in ((), (pixels.shape[2],)) and not (whole and (value % 1).any()):
        return
    raise ImageError(
        "nodata",
        f"{value.tolist()} cannot stand for missing pixels of {pixels.shape[2]} channels of {pixels.dtype}",
        fix=f"use one number, or one a channel, from {span.min} to {span.max}",
    )
