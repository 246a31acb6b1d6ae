"""Says which pixels hold nothing (nodata, NaN), and replaces them by a value that a network can take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError

_NEAR_LIMIT = 1e-5  # a nodata value so close to the limit of float32 is the limit, written with fewer digits


def nodata_of(value: float | None, dtype: np.dtype[Any]) -> float | None:
    """The nodata value that pixels can have; ``None`` for one that the type cannot hold, which no pixel has.

    NaN needs no value: pixels of floats that are NaN never hold anything.

    Examples:
        >>> nodata_of(-3.40282e38, np.dtype("float32")) == float(np.finfo("float32").min)
        True
        >>> [nodata_of(value, np.dtype("uint8")) for value in (float("nan"), -9999, 0)]
        [None, None, 0.0]
    """
    if value is None:
        return None
    if dtype.kind != "f":
        span = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        whole = np.isfinite(value) and value == int(value) and span.min <= value <= span.max
        return float(value) if whole else None
    if np.isnan(value):
        return float("nan")
    limit = float(np.finfo(np.float32).max)
    if dtype == np.float32 and abs(abs(value) - limit) <= _NEAR_LIMIT * limit:
        return limit if value > 0 else -limit
    with np.errstate(over="ignore"):
        return float(np.float64(value).astype(dtype))


def check_nodata(value: float | None, dtype: np.dtype[Any], where: str) -> float | None:
    """The nodata value that the user declares.

    Raises:
        ImageError: pixels of this type cannot have it.
    """
    found = nodata_of(value, dtype)
    if value is not None and found is None:
        raise ImageError(
            where, f"nodata {value:g}: no pixel of {dtype} has this value", fix="give a value that pixels have"
        )
    return found


def empty_values(pixels: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Which values are nodata or NaN; ``None`` if there can be none."""
    if pixels.dtype.kind == "f":
        empty: NDArray[np.bool_] = np.isnan(pixels)
        if nodata is not None and not np.isnan(nodata):
            empty |= pixels == pixels.dtype.type(nodata)
        return empty
    return None if nodata is None or np.isnan(nodata) else np.asarray(pixels == nodata)


def data_mask(pixels: NDArray[Any], nodata: float | None, *, every: bool = False) -> NDArray[np.bool_] | None:
    """Mask ``(y, x)`` of the pixels that hold data in some channel, or in ``every`` one; ``None`` if all must."""
    empty = empty_values(pixels, nodata)
    if empty is None:
        return None
    return ~np.asarray(empty.any(axis=2) if every else empty.all(axis=2))


def fill_nodata(
    pixels: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    value: float | tuple[float, ...] = 0.0,
    *,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` with ``value`` in place of invalid ones; the array itself if all are valid.

    Nodata and NaN in a single channel of a valid pixel are replaced too: convolutions would spread -9999 or NaN over
    their whole window.

    Args:
        pixels: as they are read.
        valid: mask ``(y, x)`` of the valid pixels; ``None`` for all.
        value: pixel value of the image, one number or one per channel.
        nodata: the image's nodata value.

    Raises:
        ImageError: the pixels cannot hold ``value``.
    """
    invalid = np.zeros((1, 1, 1), np.bool_) if valid is None else ~valid[:, :, None]
    empty = empty_values(pixels, nodata)
    if empty is not None:
        invalid = invalid | empty
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
