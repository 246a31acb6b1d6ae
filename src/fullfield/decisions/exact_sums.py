"""Exact sums of float64 numbers, so that the order in which they come does not matter."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_FRACTION, _HALF = 52, 26  # bits of a float64 behind its leading one, and of each half of these
_LEAST = 1074  # the least number above 0 is 2^-1074: every sum is counted in it
_MOST = 1 << 20  # numbers added together: sums of so many halves are whole numbers below 2^53
_INFINITE = 0x7FF


class ExactSums:
    """The sums of several series of float64 numbers, without rounding.

    A number is a fraction of 53 bits times a power of 2: fractions of equal powers are added as integers.

    Args:
        count: of the series.

    Examples:
        >>> sums = ExactSums(1)
        >>> sums.add(0, np.array([1e100, 1.0, -1e100]))
        >>> sums.value(0)
        1.0
    """

    def __init__(self, count: int) -> None:
        self._whole = [0] * count
        self._infinite = [0.0] * count

    def add(self, series: int, numbers: NDArray[np.float64]) -> None:
        """Adds numbers ``(n,)`` to one series; NaN and infinite ones make the sum NaN or infinite."""
        numbers = np.ascontiguousarray(numbers)
        for first in range(0, len(numbers), _MOST):
            part = numbers[first : first + _MOST]
            bits = part.view(np.uint64)
            place = (bits >> np.uint64(_FRACTION)).astype(np.intp)  # sign and exponent
            counts = np.bincount(place)
            high, low = binned_halves(place, bits & np.uint64((1 << _FRACTION) - 1))
            for at in np.flatnonzero(counts).tolist():
                exponent = at & _INFINITE
                if exponent == _INFINITE:
                    self._infinite[series] += float(part[place == at].sum())
                    continue
                whole = from_halves(high[at], low[at]) + ((int(counts[at]) << _FRACTION) if exponent else 0)
                whole <<= max(exponent, 1) - 1
                self._whole[series] += -whole if at > _INFINITE else whole

    def whole(self, series: int) -> int:
        """The sum in units of ``2^-1074``, without what is infinite."""
        return self._whole[series]

    def value(self, series: int) -> float:
        """The sum, rounded once."""
        return self.over(series, 1)

    def over(self, series: int, divisor: int | ExactSums) -> float:
        """The sum divided by a positive integer, or by the same series of other sums, rounded once; NaN over 0."""
        below = divisor.whole(series) if isinstance(divisor, ExactSums) else divisor << _LEAST
        if below == 0:
            return math.nan
        return self._infinite[series] or quotient(self._whole[series], below)


def halves(whole: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and the lower 26 bits of integers below 2^52, whose sums fit 64 bits where theirs may not."""
    return whole >> np.uint64(_HALF), whole & np.uint64((1 << _HALF) - 1)


def binned_halves(place: NDArray[np.intp], whole: NDArray[np.uint64], count: int = 0) -> NDArray[np.int64]:
    """Exact sums of the halves of up to 2^27 integers below 2^52 at each place. Shape: ``(2, places)``

    Args:
        place: of each integer.
        whole: the integers.
        count: least number of places.
    """
    sums = [np.bincount(place, weights=half.astype(np.float64), minlength=count) for half in halves(whole)]
    return np.array(sums).astype(np.int64)


def from_halves(high: np.integer, low: np.integer) -> int:
    """The sum of integers whose halves have these sums."""
    return (int(high) << _HALF) + int(low)


def units(number: float) -> int:
    """A finite number in units of ``2^-1074``."""
    over, under = number.as_integer_ratio()
    return (over << _LEAST) // under


def quotient(over: int, under: int) -> float:
    """Two integers' quotient, rounded once; infinite where it is beyond all numbers."""
    try:
        return over / under
    except OverflowError:
        return math.inf if (over < 0) == (under < 0) else -math.inf
