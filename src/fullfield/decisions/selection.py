"""Exact quantiles and means of the k greatest of streamed values, in bounded memory.

The values' order is that of integers, their bits. Each pass counts the values between two such integers in bins; the
bin that holds the one looked for is what the next pass divides, until few enough values are left to be sorted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.exact_sums import ExactSums, binned_halves, from_halves, halves, quotient, units
from fullfield.decisions.ordered_bits import from_ordered_bits, ordered_bits
from fullfield.decisions.values import DecidedValues

_COUNTERS = 1 << 21  # of all bins of all classes: 32 MiB
_SORTED = 1 << 20  # values of all classes that are kept to be sorted: 16 MiB


def quantile(values: DecidedValues, part: float) -> NDArray[np.float64]:
    """The least value such that values up to it make up ``part`` of all weights.

    Source: Hyndman & Fan 1996, definition 1, 10.1080/00031305.1996.10473566
    """
    unit = 2.0**-values.coverage.unit_bits
    searches = _searched(values, unit, lambda total: Fraction(repr(part)) * total)
    return np.array([search.value for search in searches])


def top_k(values: DecidedValues, number: float, *, share: bool) -> NDArray[np.float64]:
    """The mean of the k greatest values, each of which counts once; of all where there are fewer.

    Args:
        values: of the windows.
        number: k, or how many percent of the windows, of which at least one counts.
        share: which of the two.
    """
    part = Fraction(repr(number)) / 100

    def wanted(count: int) -> int:
        return min(count, max(1, math.ceil(part * count)) if share else int(number))

    searches = _searched(values, None, lambda n: n - wanted(n) + 1)
    sums, above = ExactSums(len(values.bands)), np.zeros(len(values.bands), np.int64)
    for series, numbers, _ in values.parts(weighed=False):
        greater = numbers[numbers > searches[series].value]
        sums.add(series, greater)
        above[series] += len(greater)
    found = np.full(len(values.bands), np.nan)
    for series, search in enumerate(searches):
        if search.total:
            k, least = wanted(search.total), search.value
            if math.isfinite(least) and math.isfinite(sums.value(series)):
                whole = sums.whole(series) + (k - int(above[series])) * units(least)
                found[series] = quotient(whole, k * units(1.0))
            else:
                found[series] = sums.value(series) + (0 if k == above[series] else least)
    return found


@dataclass
class _Search:
    """The search for the least value up to which the weights reach a target.

    Args:
        low, high: the value lies between these keys, both included.
        total: weights of all values.
        target: sum of weights to be reached.
        below: weights of the values under ``low``.
    """

    low: int = 2**64
    high: int = -1
    total: int = 0
    target: Fraction | int = 0
    below: int = 0
    left: int = 0

    @property
    def done(self) -> bool:
        return self.low >= self.high

    @property
    def value(self) -> float:
        if not self.total:
            return math.nan
        return float(from_ordered_bits(np.array([self.low], np.uint64), np.dtype(np.float64))[0])


def _searched(values: DecidedValues, unit: float | None, target: Callable[[int], Fraction | int]) -> list[_Search]:
    """The searches of all classes, done.

    Args:
        values: of the windows.
        unit: that weights are whole multiples of, px; ``None`` where each value counts once.
        target: the sum of weights to be reached, by that of all.
    """
    searches = [_Search() for _ in values.bands]
    for series, numbers, weights in _weighed(values, unit):
        search, keys = searches[series], ordered_bits(numbers)
        search.low, search.high = min(search.low, int(keys.min())), max(search.high, int(keys.max()))
        search.total += _sum(weights)
        search.left += len(keys)
    for search in searches:
        search.target = target(search.total) if search.total else 0
    while open_ := [search for search in searches if not search.done]:
        if sum(search.left for search in open_) <= _SORTED:
            _sort(values, unit, searches)
        else:
            _narrow(values, unit, searches)
    return searches


def _weighed(
    values: DecidedValues, unit: float | None
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.uint64]]]:
    """Class, values and weights as whole numbers below 2^52."""
    for series, numbers, weights in values.parts(weighed=unit is not None):
        yield series, numbers, (weights if unit is None else weights / unit).astype(np.uint64)


def _narrow(values: DecidedValues, unit: float | None, searches: list[_Search]) -> None:
    """Restricts each search to one of the bins between its ends."""
    count = 1 << max(4, (_COUNTERS // len(searches)).bit_length() - 1)
    count = min(count, 1 << 16)
    shifts = [max(0, (s.high - s.low).bit_length() - count.bit_length() + 1) for s in searches]
    counters = np.zeros((len(searches), 3, count), np.int64)
    for series, numbers, weights in _weighed(values, unit):
        search = searches[series]
        if not search.done:
            keys, inside = _between(numbers, search)
            bins = ((keys - np.uint64(search.low)) >> np.uint64(shifts[series])).astype(np.intp)
            counters[series, :2] += binned_halves(bins, weights[inside], count)
            counters[series, 2] += np.bincount(bins, minlength=count)
    for search, shift, (high, low, counted) in zip(searches, shifts, counters, strict=True):
        if not search.done:
            used = np.flatnonzero(counted).tolist()
            sums = accumulate((from_halves(high[b], low[b]) for b in used), initial=search.below)
            before = next(sums)
            for place, after in zip(used, sums, strict=True):
                if after >= search.target or place == used[-1]:
                    start = search.low + (place << shift)
                    search.low, search.high = start, min(search.high, start + (1 << shift) - 1)
                    search.below, search.left = before, int(counted[place])
                    break
                before = after


def _sort(values: DecidedValues, unit: float | None, searches: list[_Search]) -> None:
    """Ends each search by sorting the values between its ends."""
    kept: list[list[tuple[NDArray[np.uint64], NDArray[np.uint64]]]] = [[] for _ in searches]
    for series, numbers, weights in _weighed(values, unit):
        if not searches[series].done:
            keys, inside = _between(numbers, searches[series])
            kept[series].append((keys, weights[inside]))
    for search, pairs in zip(searches, kept, strict=True):
        if not search.done:
            keys, weights = (np.concatenate(each) for each in zip(*pairs, strict=True))
            order = np.argsort(keys, kind="stable")
            reached = search.below
            for place in order.tolist():
                reached += int(weights[place])
                if reached >= search.target:
                    break
            search.low = search.high = int(keys[place])


def _between(numbers: NDArray[np.float64], search: _Search) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The keys of the values between the ends of a search, and which values these are."""
    keys = ordered_bits(numbers)
    inside = (keys >= np.uint64(search.low)) & (keys <= np.uint64(search.high))
    return keys[inside], inside


def _sum(weights: NDArray[np.uint64]) -> int:
    """The sum of whole numbers below 2^52, of fewer than 2^37."""
    high, low = halves(weights)
    return from_halves(high.sum(), low.sum())
