"""Weights of resizing along one axis, as OpenCV and Pillow define them. Imports no torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_LOBES = 3


def resize_matrix(interpolation: Literal["area", "lanczos"], count: int, cells: int) -> NDArray[np.float64]:
    """The weights of one axis' ``count`` px in each of ``cells`` results.

    Shape: ``(cells, count)``
    Source: OpenCV ``computeResizeAreaTab``; Pillow ``precompute_coeffs`` with the kernel of Duchon 1979
        (doi 10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2)
    """
    return _area(count, cells) if interpolation == "area" else _lanczos(count, cells)


def _area(count: int, cells: int) -> NDArray[np.float64]:
    """The part of each result that each px covers."""
    first, scale = np.arange(cells)[:, None] * count, 1 / count  # in parts of a px, as many as there are cells
    px = np.arange(count) * cells
    covered = np.minimum(first + count, px + cells) - np.maximum(first, px)
    weights: NDArray[np.float64] = np.maximum(0, covered) * scale
    return weights


def _lanczos(count: int, cells: int) -> NDArray[np.float64]:
    """The kernel over the px within its reach, the weights of px beyond the edge given to the others."""
    widened = max(1.0, count / cells)
    twice = (2 * np.arange(count) + 1) * cells - (2 * np.arange(cells)[:, None] + 1) * count  # in parts of half a px
    away = twice / (2 * cells) / widened
    weights: NDArray[np.float64] = np.where(np.abs(away) < _LOBES, np.sinc(away) * np.sinc(away / _LOBES), 0.0)
    weights /= weights.sum(1, keepdims=True)
    return weights
