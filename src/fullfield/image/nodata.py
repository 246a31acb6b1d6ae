"""Replaces invalid pixels (nodata, NaN) by a value that a network can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError


def fill_nodata(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    value: float | tuple[float, ...] = 0.0,
    *,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` with ``value`` in place of invalid ones; the array itself if all are valid.

    ``nodata`` in a single channel of a valid pixel is replaced too: convolutions would spread -9999 or NaN over their
    whole window.

    Args:
        pixels: as they are read.
        valid: mask ``(y, x)`` of the valid pixels; ``None`` for all.
        value: pixel value of the image, one number or one per channel.
        nodata: the image's nodata value.

    Raises:
        ImageError: the pixels cannot hold ``value``.
    """
    invalid = np.zeros((1, 1, 1), np.bool_) if valid is None else ~valid[:, :, None]
    if nodata is not None:
        invalid = invalid | (np.isnan(pixels) if np.isnan(nodata) else pixels == nodata)
    if not invalid.any():
        return pixels
    value_of = np.asarray(value, np.float64)
    _check_value(value_of, pixels)
    out: NDArray[Any] = np.where(invalid, value_of.astype(pixels.dtype), pixels)
    return out


def _check_value(value: NDArray[np.float64], pixels: NDArray[Any]) -> None:
    whole = pixels.dtype.kind in "ui"
    span = np.iinfo(pixels.dtype) if whole else np.finfo(pixels.dtype)
    fits = np.isfinite(value).all() and (value >= float(span.min)).all() and (value <= float(span.max)).all()
    if fits and value.shape in ((), (pixels.shape[2],)) and not (whole and (value % 1).any()):
        return
    raise ImageError(
        "nodata",
        f"{value.tolist()} cannot replace missing pixels of {pixels.shape[2]} channels of {pixels.dtype}",
        fix=f"use one number, or one per channel, from {span.min} to {span.max}",
    )
