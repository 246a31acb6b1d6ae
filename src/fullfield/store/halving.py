"""Halves score maps: four cells become one, for the coarser levels of pyramids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def halved(numbers: NDArray[Any], fill: float, *, labels: bool) -> NDArray[Any]:
    """A band ``(y, x)`` with half the cells a side: the mean of the valid ones of four, or the most frequent label.

    Stored numbers are linear in the scores, so that their mean is that of the scores.
    Of equally frequent labels the first in reading order is taken.

    Args:
        numbers: stored numbers.
        fill: number of cells without a score.
        labels: whether the numbers are labels.
    """
    if labels:
        return _most_frequent(_fours(numbers, fill), fill)
    if numbers.dtype.kind == "f" and not any(side % 2 for side in numbers.shape):
        found = _plain_mean(numbers)
        if not np.isnan(found).any():
            return found
    return _mean(_fours(numbers, fill), fill)


def _fours(numbers: NDArray[Any], fill: float) -> list[NDArray[Any]]:
    """The four cells that become one; the fill value beyond the end."""
    rows, columns = numbers.shape
    if rows % 2 or columns % 2:
        numbers = np.pad(numbers, ((0, rows % 2), (0, columns % 2)), constant_values=numbers.dtype.type(fill))
    return [np.ascontiguousarray(numbers[i::2, j::2]) for i in (0, 1) for j in (0, 1)]


def _mean(four: list[NDArray[Any]], fill: float) -> NDArray[Any]:
    """Mean of the valid ones of four cells."""
    dtype = four[0].dtype
    total = np.full(four[0].shape, -0.0, np.float64 if dtype == np.float64 else np.float32)  # -0 + -0 is -0
    count = np.zeros(four[0].shape, np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite scores; float16 that overflows
        for one in four:
            valid = one == one if dtype.kind == "f" else one != dtype.type(fill)
            count += valid
            total += np.where(valid, one, dtype.type(0))
        total /= np.maximum(count, 1)
        if dtype.kind == "u":
            np.rint(total, out=total)
        total[count == 0] = fill
        return total.astype(dtype)


def _plain_mean(numbers: NDArray[Any]) -> NDArray[Any]:
    """The mean of four cells, NaN if one is; without NaN it equals ``_mean`` bit for bit, ten times as fast."""
    wide = np.float64 if numbers.dtype == np.float64 else np.float32
    with np.errstate(invalid="ignore", over="ignore"):
        total: NDArray[np.floating] = numbers[::2, ::2].astype(wide)
        for i, j in ((0, 1), (1, 0), (1, 1)):
            total += numbers[i::2, j::2]
        total /= 4
        found: NDArray[Any] = total.astype(numbers.dtype)
    return found


def _most_frequent(four: list[NDArray[Any]], fill: float) -> NDArray[Any]:
    """The most frequent of four labels: the first that occurs again, or the first label if none does."""
    none = four[0].dtype.type(fill)
    found = np.full_like(four[0], none)
    for one in reversed(four):
        np.copyto(found, one, where=one != none)
    for first in (2, 1, 0):
        one = four[first]
        again = one == four[first + 1]
        for other in four[first + 2 :]:
            again |= one == other
        np.copyto(found, one, where=again & (one != none))
    return found
