"""Applies the scale and the offset that a file gives its bands, and says whether that was done."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.image.nodata import empty_values


def scaled_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The type of floats for numbers of a type with scale and offset applied.

    Examples:
        >>> scaled_type(np.dtype("uint16")), scaled_type(np.dtype("int64"))
        (dtype('float32'), dtype('float64'))
    """
    return np.dtype(np.float64 if stored.itemsize > 4 else np.float32)


def scaled_numbers(stored: NDArray[Any], scale: float, offset: float, nodata: float | None) -> NDArray[np.float64]:
    """Stored numbers with scale and offset applied; NaN for nodata, of the stored numbers."""
    numbers = stored * np.float64(scale) + offset
    empty = empty_values(stored, nodata)
    return numbers if empty is None else np.where(empty, np.nan, numbers)


def scale_note(pairs: Collection[tuple[float, float]], *, applied: bool) -> str:
    """What is done with the scales and offsets of bands; empty if they have none.

    Examples:
        >>> scale_note({(1.0, 0.0), (0.5, 2.0)}, applied=True), scale_note({(1.0, 0.0)}, applied=True)
        (', scale 0.5 and offset 2 applied', '')
    """
    found = set(pairs) - {(1.0, 0.0)}
    if not found:
        return ""
    scale, offset = sorted(found)[0]
    which = f"scale {scale:g} and offset {offset:g}" if len(found) == 1 else "scales and offsets of bands"
    return f", {which} " + ("applied" if applied else "not applied: pass scale_offset= (--scale-offset)")
