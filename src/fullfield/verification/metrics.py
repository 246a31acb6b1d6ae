"""Differences between the scores of a scan and of the crops, absolute and relative to the scores' variation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STANDARD_ERRORS = 2.0
"""By so many a sample may be off by chance."""
MOST_WINDOWS = 1024
"""That an agreement makes a sample hold, unless more are asked for."""

_LARGE = 30.0  # exponent: the sample shows nothing
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


def top_agreement(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> float:
    """Share of the windows whose greatest score is of the same class. Shape: ``(windows, k)``"""
    return float(np.mean(scan.argmax(axis=1) == crops.argmax(axis=1)))


def window_errors(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each window's mean absolute difference over the spread of the crops; not divided if the spread is 0.

    Shape: ``(windows, k)`` -> ``(windows,)``
    """
    mean: NDArray[np.float64] = absolute_differences(scan, crops).mean(axis=1)
    return mean / (score_spread(crops) or 1.0)


def error_noise(
    scan: NDArray[np.floating], crops: NDArray[np.floating], groups: Sequence[int], *, measured: float
) -> float:
    """By how much the mean of ``window_errors`` may be below all windows' by chance: two standard errors, by jackknife.

        noise = e (exp(t s / e) - 1),   s**2 = (1 - measured) (m - 1) / m * sum over groups (e_g - mean e)**2

    where ``e_g`` is the error e, with its own spread, without group g of m, and t, about 2, Student's for m - 1.
    Windows of a group lie side by side and err alike. Few windows have large errors, so that it is the error's
    logarithm that samples vary by about evenly.

    Args:
        scan, crops: scores ``(windows, k)``, the groups one after the other.
        groups: windows of each.
        measured: share of all windows that these are.

    Returns:
        0 if these are all windows, infinity if they are a single group.
    Source: Efron & Stein 1981 (doi 10.1214/aos/1176345462); Cochran 1977, sections 2.6 and 6.17
    """
    if measured >= 1:
        return 0.0
    if len(groups) < 2:
        return math.inf
    stops = np.cumsum(groups)
    parts = (np.r_[0 : stop - size, stop : len(scan)] for stop, size in zip(stops, groups, strict=True))
    left = np.array([window_errors(scan[part], crops[part]).mean() for part in parts])
    count = len(groups)
    deviation = math.sqrt((1 - measured) * (count - 1) / count * float(((left - left.mean()) ** 2).sum()))
    error = float(window_errors(scan, crops).mean())
    off = STANDARD_ERRORS * (1 + (STANDARD_ERRORS**2 + 1) / (4 * (count - 1))) * deviation
    return error * math.expm1(min(off / error, _LARGE)) if error else off


def agreement_noise(agreement: float, windows: int, *, measured: float) -> float:
    """By how much an agreement may be too high by chance: down to the end of its score interval, two standard errors.

    Args:
        agreement: share of the windows.
        windows: number of them.
        measured: share of all windows that these are.

    Source: Wilson 1927 (doi 10.1080/01621459.1927.10502953)
    Examples:
        >>> round(agreement_noise(1.0, 396, measured=0.0), 9), agreement_noise(0.8, 10, measured=1.0)
        (0.01, 0.0)
    """
    z = STANDARD_ERRORS * math.sqrt(max(0.0, 1 - measured))
    share = z * z / windows
    half = z * math.sqrt(agreement * (1 - agreement) / windows + share / (4 * windows))
    return max(0.0, agreement - (agreement + share / 2 - half) / (1 + share))


def windows_for(agreement: float) -> int:
    """Windows that show an agreement if it holds at all of them; at most ``MOST_WINDOWS``.

    Examples:
        >>> windows_for(0.5), windows_for(0.99), windows_for(1.0)
        (4, 396, 1024)
    """
    needed = math.inf if agreement >= 1 else STANDARD_ERRORS**2 * agreement / (1 - agreement)
    return math.ceil(min(MOST_WINDOWS, needed - 1e-9))


def relative_difference(scan: NDArray[np.floating], crops: NDArray[np.floating]) -> float:
    """The largest difference over the range of the crops' scores, as ``Certificate.relative``."""
    return float(absolute_differences(scan, crops).max()) / (score_range(crops) or 1.0)
