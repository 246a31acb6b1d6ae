"""The guided filter: scores that follow the edges of the image. Window sums are of integers, hence exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GUIDE_LEVELS = 4095
"""Greatest value of the guide's integers."""
_SCORE_LEVELS = 1 << 20  # greatest value of the scores' integers
_ONE = float(1 << 30)  # 1 in the fixed-point numbers of slopes and offsets

_Integers = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Windows:
    """What all classes share: of the windows around each pixel.

    Args:
        guide: ``(channels, y, x)``, 0 where ``there`` is false.
        there: pixels that count ``(y, x)``, 0 or 1.
        count: number of these in the window.
        means: of each channel of the guide.
        inverse: rows of the inverse of the guide's covariance matrix plus epsilon.
    """

    guide: _Integers
    there: _Integers
    count: _Floats
    means: list[_Floats]
    inverse: list[list[_Floats]]


def guided(
    guide: NDArray[np.integer], there: NDArray[np.bool_], planes: Iterator[_Floats], *, radius: int, epsilon: float
) -> Iterator[_Floats]:
    """Planes of scores, each filtered along the edges of a guide of one or three channels.

    In every window of ``2 * radius + 1`` px the scores are fitted as a linear function of the guide; a pixel takes the
    mean of the fits of all windows around it:

        a = (cov(I) + epsilon)^-1 cov(I, p)     b = mean(p) - a mean(I)     q = mean(a) I + mean(b)

    Sums are of integers (guide in 12 bits, scores in 20, slopes in 30 behind the point), so that a pixel has the same
    bits in every block that has ``2 * radius`` px around it.

    Shape: planes ``(y + 4 * radius, x + 4 * radius)`` -> ``(y, x)``

    Args:
        guide: from 0 to ``GUIDE_LEVELS`` ``(channels, y + 4 * radius, x + 4 * radius)``.
        there: which pixels count; outside the image none does.
        planes: scores of each class, from 0 to 1 where ``there`` is true.
        radius: px.
        epsilon: of the variance of the guide, whose range is 1; edges of less than its root are smoothed.

    Source: He, Sun & Tang 2013, doi 10.1109/TPAMI.2012.213, equations 5, 6, 8 (grey), 14, 15 and 18 (colour)
    """
    windows = _windows(guide.astype(np.int64), there.astype(np.int64), radius, epsilon)
    shrunk = slice(radius, -radius), slice(radius, -radius)
    inner = slice(2 * radius, -2 * radius), slice(2 * radius, -2 * radius)
    centres = windows.there[shrunk]
    fits = np.maximum(window_sums(centres, radius), 1).astype(np.float64) * _ONE
    for plane in planes:
        slopes, offset = _fit(windows, plane, radius)
        found = window_sums(_fixed(offset, _ONE) * centres, radius) / fits
        for channel, slope in zip(windows.guide, slopes, strict=True):
            summed = window_sums(_fixed(slope, _ONE) * centres, radius)
            found += summed / fits * (channel[inner] / GUIDE_LEVELS)
        yield found


def window_sums(values: _Integers, radius: int) -> _Integers:
    """Sums over the square windows that lie in an array.

    Shape: ``(y + 2 * radius, x + 2 * radius)`` -> ``(y, x)``

    Examples:
        >>> window_sums(np.arange(12).reshape(3, 4), 1)
        array([[45, 54]])
    """
    side, (height, width) = 2 * radius + 1, values.shape
    total = np.zeros((height, width + 1), np.int64)
    np.cumsum(values, axis=1, out=total[:, 1:])
    across = total[:, side:] - total[:, :-side]
    found = np.empty((height - 2 * radius, width - 2 * radius), np.int64)
    np.sum(across[:side], axis=0, out=found[0])
    for row in range(1, len(found)):  # row by row: NumPy's sums along columns take four times as long
        np.add(found[row - 1], across[row + 2 * radius], out=found[row])
        found[row] -= across[row - 1]
    return found


def _fixed(numbers: _Floats, one: float) -> _Integers:
    """Numbers in fixed point."""
    wide = numbers * one
    return np.rint(wide, out=wide).astype(np.int64)


def _windows(guide: _Integers, there: _Integers, radius: int, epsilon: float) -> _Windows:
    guide = guide * there
    count = np.maximum(window_sums(there, radius), 1).astype(np.float64)
    means = [window_sums(channel, radius) / count / GUIDE_LEVELS for channel in guide]
    covariance = []  # the upper triangle, row by row
    for k, own in enumerate(guide):
        for n in range(k, len(guide)):
            mixed = window_sums(own * guide[n], radius) / count / GUIDE_LEVELS**2 - means[k] * means[n]
            covariance.append(mixed + epsilon if n == k else mixed)
    return _Windows(guide, there, count, means, _inverse(covariance))


def _inverse(triangle: list[_Floats]) -> list[list[_Floats]]:
    """The inverse of symmetric matrices of one or three rows, given as their upper triangle, element by element."""
    if len(triangle) == 1:
        return [[1 / triangle[0]]]
    a, b, c, d, e, f = triangle
    minors = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    determinant = a * minors[0] + b * minors[1] + c * minors[2]
    p, q, r, s, t, u = (minor / determinant for minor in minors)
    return [[p, q, r], [q, s, t], [r, t, u]]


def _fit(windows: _Windows, plane: _Floats, radius: int) -> tuple[list[_Floats], _Floats]:
    """Slopes and offset of the linear fit of one plane in every window."""
    scores = _fixed(plane, _SCORE_LEVELS) * windows.there
    mean = window_sums(scores, radius) / windows.count / _SCORE_LEVELS
    shared = [
        window_sums(channel * scores, radius) / windows.count / (GUIDE_LEVELS * _SCORE_LEVELS) - own * mean
        for channel, own in zip(windows.guide, windows.means, strict=True)
    ]
    slopes = []
    for row in windows.inverse:
        slope = row[0] * shared[0]
        for weight, value in zip(row[1:], shared[1:], strict=True):
            slope = slope + weight * value
        slopes.append(slope)
    offset = mean
    for slope, own in zip(slopes, windows.means, strict=True):
        offset = offset - slope * own
    return slopes, offset
