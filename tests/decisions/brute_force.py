"""Decisions by brute force: weights pixel by pixel, sums in fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.geometry.placement import Placement


def boxes(place: Placement) -> list[tuple[int, int, slice, slice]]:
    """Every window's cell, and its rows and columns of the scanned image."""
    (rows, columns), (height, width) = place.shape, place.scanned

    def span(cell: int, axis: int, length: int) -> slice:
        low = cell * place.step[axis] - place.padding[2 * axis]
        return slice(max(0, low), max(0, min(length, low + place.window[axis])))

    return [(i, j, span(i, 0, height), span(j, 1, width)) for i in range(rows) for j in range(columns)]


def weights(place: Placement, scored: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Each window's sum over its pixels of 1 / (windows with scores that cover the pixel); and covered pixels."""
    count = np.zeros(place.scanned)
    for i, j, y, x in boxes(place):
        count[y, x] += scored[i, j]
    found = np.zeros(place.shape)
    with np.errstate(divide="ignore"):
        share = np.where(count > 0, 1 / count, 0)
    for i, j, y, x in boxes(place):
        found[i, j] = share[y, x].sum() if scored[i, j] else 0
    return found, int((count > 0).sum())


def weighted_mean(values: NDArray[Any], weight: NDArray[np.float64]) -> float:
    """Without rounding but of the products, and once at the end."""
    values, weight = values.ravel(), weight.ravel()
    there = (weight > 0) & ~np.isnan(values)
    products = (values[there].astype(np.float64) * weight[there]).tolist()
    over = sum(map(Fraction, products), Fraction(0))
    return float(over / sum(map(Fraction, weight[there].tolist()), Fraction(0)))


def weighted_quantile(values: NDArray[Any], weight: NDArray[np.float64], part: float) -> float:
    """The least value whose weights and those of lesser values make up ``part`` of all."""
    pairs = sorted(
        (float(v), Fraction(float(w))) for v, w in zip(values.ravel(), weight.ravel(), strict=True) if w and v == v
    )
    target, reached = Fraction(repr(part)) * sum(w for _, w in pairs), Fraction(0)
    for value, weigh in pairs:
        reached += weigh
        if reached >= target:
            return value
    raise AssertionError


def top_mean(values: NDArray[Any], k: int) -> float:
    """The mean of the k greatest values, rounded once."""
    kept = np.sort(values[~np.isnan(values)].astype(np.float64).ravel())[::-1][:k].tolist()
    return float(sum(map(Fraction, kept), Fraction(0)) / len(kept))
