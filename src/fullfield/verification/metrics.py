"""How far scores are off, measured by how much they vary between windows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 64  # units in the last place of the greatest score by which equal windows may differ


def spread(crops: NDArray[np.floating]) -> float:
    """How much a score varies from window to window: the root of its variance, averaged over the classes.

        spread = sqrt(mean over classes of the variance over windows)

    What every window has alike, a bias between classes say, does not count. Classes with a score that is not finite
    are left out; so is what varies by no more than rounding. The spread is 0 where nothing else varies.

    Shape: ``(windows, k)``

    Examples:
        >>> spread(np.array([[0.0, 5.0], [2.0, 5.0]]))  # variances 1 and 0
        0.7071067811865476
        >>> spread(np.array([[1.0], [1.0 + 1e-15]]))
        0.0
    """
    finite = crops[:, np.isfinite(crops).all(axis=0)].astype(np.float64)
    if not finite.size:
        return 0.0
    found = math.sqrt(finite.var(axis=0).mean())
    return found if found > _ROUNDING * np.finfo(crops.dtype).eps * np.abs(finite).max() else 0.0


def errors(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each window's mean absolute difference over the spread of the crops, absolute where they have none.

    Equal scores that are not finite differ by nothing, others by infinity. Shape: ``(windows, k)`` -> ``(windows,)``
    """
    mean: NDArray[np.float64] = _differences(scan, crops).mean(axis=1)
    return mean / (spread(crops) or 1.0)


def largest(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> float:
    """The largest difference over the range of the crops' scores, as ``Certificate.relative``."""
    finite = crops[np.isfinite(crops)].astype(np.float64)
    span = float(np.ptp(finite)) if finite.size else 0.0
    return float(_differences(scan, crops).max()) / (span if span > 0 else 1.0)


def _differences(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> NDArray[np.float64]:
    a, b = scan.astype(np.float64), crops.astype(np.float64)
    with np.errstate(invalid="ignore"):
        found = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return np.where(np.isnan(found), np.inf, found)
