"""Weights of resizing along one axis, as OpenCV and Pillow define them. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_LOBES = 3
_LEAST = 1e-9  # part of a px below which it is rounding


def resize_matrix(interpolation: Literal["area", "lanczos"], count: int, cells: int) -> NDArray[np.float64]:
    """The weights of one axis' ``count`` px in each of ``cells`` results.

    Shape: ``(cells, count)``
    Source: OpenCV ``computeResizeAreaTab``; Pillow ``precompute_coeffs`` with the kernel of Duchon 1979
        (doi 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2)
    """
    return _area(count, cells) if interpolation == "area" else _lanczos(count, cells)


def _area(count: int, cells: int) -> NDArray[np.float64]:
    """The part of each result that each px covers."""
    scale = count / cells
    low = np.arange(cells)[:, None] * scale
    px = np.arange(count)
    covered = np.minimum(low + scale, px + 1) - np.maximum(low, px)
    return np.where(covered > _LEAST, covered, 0) / scale


def _lanczos(count: int, cells: int) -> NDArray[np.float64]:
    """The kernel over the px within its reach, the weights of px beyond the edge given to the others."""
    ratio = count / cells
    widened = max(1.0, ratio)
    weights = np.zeros((cells, count))
    for cell in range(cells):
        centre, reach = (cell + 0.5) * ratio, _LOBES * widened
        first, stop = max(0, math.floor(centre - reach + 0.5)), min(count, math.floor(centre + reach + 0.5))
        away = (np.arange(first, stop) + 0.5 - centre) / widened
        line = np.sinc(away) * np.sinc(away / _LOBES)
        weights[cell, first:stop] = line / line.sum()
    return weights
