"""Differences between the scores of a scan and of the crops, absolute and relative to the scores' variation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 64  # units in the last place of the greatest score by which equal windows may differ


def score_spread(crops: NDArray[np.floating]) -> float:
    """How much a score varies from window to window: the root of its variance, averaged over the classes.

        spread = sqrt(mean over classes of the variance over windows)

    A bias that all windows share does not count. Classes with a score that is not finite are left out, as is a
    variation that rounding explains. The spread is 0 if nothing else varies.

    Shape: ``(windows, k)``

    Examples:
        >>> score_spread(np.array([[0.0, 5.0], [2.0, 5.0]]))  # variances 1 and 0
        0.7071067811865476
        >>> score_spread(np.array([[1.0], [1.0 + 1e-15]]))
        0.0
    """
    finite = crops[:, np.isfinite(crops).all(axis=0)].astype(np.float64)
    if not finite.size:
        return 0.0
    found = math.sqrt(finite.var(axis=0).mean())
    return found if found > _ROUNDING * np.finfo(crops.dtype).eps * np.abs(finite).max() else 0.0


def score_range(crops: NDArray[np.floating]) -> float:
    """Greatest minus least finite score; 0 if none is finite."""
    finite = crops[np.isfinite(crops)].astype(np.float64)
    return float(np.ptp(finite)) if finite.size else 0.0


def absolute_differences(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> NDArray[np.float64]:
    """``|scan - crops|`` of each score; of equal scores that are not finite 0, of different ones infinity."""
    a, b = scan.astype(np.float64), crops.astype(np.float64)
    with np.errstate(invalid="ignore"):
        found = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return np.where(np.isnan(found), np.inf, found)


def window_errors(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each window's mean absolute difference over the spread of the crops; not divided if the spread is 0.

    Shape: ``(windows, k)`` -> ``(windows,)``
    """
    mean: NDArray[np.float64] = absolute_differences(scan, crops).mean(axis=1)
    return mean / (score_spread(crops) or 1.0)


def relative_difference(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> float:
    """The largest difference over the range of the crops' scores, as ``Certificate.relative``."""
    return float(absolute_differences(scan, crops).max()) / (score_range(crops) or 1.0)
