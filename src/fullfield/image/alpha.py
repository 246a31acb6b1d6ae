"""Blends colours with white where they are partly transparent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIP = 1 << 17  # values blended together: they fit a core's cache


def opaque_value(dtype: np.dtype[Any]) -> float:
    """The value of full opacity: the greatest of an integer type, 1 of floats."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def on_white(colours: NDArray[Any], alpha: NDArray[Any], *, premultiplied: bool = False) -> NDArray[Any]:
    """Colours ``(y, x, c)`` of 8 or 16 bits over white, by their opacity ``(y, x)``; the same array if all are opaque.

    Args:
        colours: as stored.
        alpha: of the same type.
        premultiplied: whether the colours were multiplied by their opacity.
    """
    full = int(opaque_value(colours.dtype))
    if (alpha == full).all():
        return colours
    out = np.empty_like(colours)
    rows = max(1, _STRIP // math.prod(colours.shape[1:]))
    for top in range(0, len(colours), rows):
        part, opacity = (v[top : top + rows].astype(np.uint32) for v in (colours, alpha))
        white = (full - opacity)[:, :, None]
        over = part if premultiplied else (part * opacity[:, :, None] + full // 2) // full
        out[top : top + rows] = np.minimum(over + white, full)
    return out
