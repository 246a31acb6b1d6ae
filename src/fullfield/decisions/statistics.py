"""Means, maxima, log-sum-exp and noisy-or of streamed values; each in one or two passes, exact but for one rounding."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.exact_sums import ExactSums
from fullfield.decisions.rule import Statistic
from fullfield.decisions.selection import quantile, top_k
from fullfield.decisions.values import DecidedValues
from fullfield.errors import ImageError


def evaluate(values: DecidedValues, statistic: Statistic) -> NDArray[np.float64]:
    """One score for each class; NaN where a class has no values. Shape: ``(classes,)``

    Raises:
        ImageError: no class has a score.
    """
    found = _evaluated(values, statistic)
    if np.isnan(found).all():
        what = "no class has one: all of a class's are NaN, or infinite ones cancel"
        raise ImageError("score", what, fix="check the network's output, or decide on other classes")
    return found


def _evaluated(values: DecidedValues, statistic: Statistic) -> NDArray[np.float64]:
    match statistic.function:
        case "mean":
            return mean(values)
        case "max":
            return greatest(values)
        case "log-sum-exp":
            return log_sum_exp(values, statistic.number)
        case "top-k":
            assert statistic.number is not None
            return top_k(values, statistic.number, share=statistic.share)
        case "quantile":
            assert statistic.number is not None
            return quantile(values, statistic.number)
        case "noisy-or":
            return noisy_or(values)


def mean(values: DecidedValues) -> NDArray[np.float64]:
    """The mean over the covered pixels: ``sum(w v) / sum(w)`` over windows."""
    over, under = _sums(values), _sums(values)
    for series, numbers, weights in values.parts():
        over.add(series, numbers * weights)
        under.add(series, weights)
    return np.array([over.over(k, under) for k in range(len(values.bands))])


def greatest(values: DecidedValues) -> NDArray[np.float64]:
    """The greatest value."""
    found = np.full(len(values.bands), np.nan)
    for series, numbers, _ in values.parts(weighed=False):
        found[series] = np.fmax(found[series], numbers.max())
    return found


def log_sum_exp(values: DecidedValues, beta: float | None) -> NDArray[np.float64]:
    """``log(sum(w exp(beta v)) / sum(w)) / beta``: from the mean at 0 to the maximum at infinity.

    Args:
        values: of the windows.
        beta: by default the logarithm of the number of windows.

    Source: Pinheiro & Collobert 2015, eq. 6, 10.1109/CVPR.2015.7298780
    """
    most, counts = np.full(len(values.bands), np.nan), np.zeros(len(values.bands), np.int64)
    for series, numbers, _ in values.parts(weighed=False):
        most[series] = np.fmax(most[series], numbers.max())
        counts[series] += len(numbers)
    over, under = _sums(values), _sums(values)
    betas = [math.log(max(int(count), 1)) if beta is None else beta for count in counts]
    for series, numbers, weights in values.parts():
        if math.isfinite(most[series]):
            over.add(series, np.exp((numbers - most[series]) * betas[series]) * weights)
            under.add(series, weights)
    return np.array([
        top + _log(over.over(k, under)) / betas[k] if math.isfinite(top) and betas[k] else top
        for k, top in enumerate(most.tolist())
    ])  # fmt: skip


def _log(number: float) -> float:
    return math.log(number) if number else -math.inf


def noisy_or(values: DecidedValues) -> NDArray[np.float64]:
    """``1 - prod(1 - p)``: the probability that some window shows the class, if they were independent.

    Raises:
        ImageError: values that are no probabilities.

    Source: Pearl 1988, Probabilistic Reasoning in Intelligent Systems, section 4.3.2
    """
    logs, seen = _sums(values), np.zeros(len(values.bands), np.bool_)
    for series, numbers, _ in values.parts(weighed=False):
        if numbers.min() < 0 or numbers.max() > 1:
            low, high = numbers.min(), numbers.max()
            what = f"needs probabilities, and the map's scores reach from {low:.4g} to {high:.4g}"
            raise ImageError("noisy-or", what, fix='decide on="softmax" or on="sigmoid"')
        with np.errstate(divide="ignore"):  # of certain windows
            logs.add(series, np.log1p(-numbers))
        seen[series] = True
    return np.array([-math.expm1(logs.value(k)) if seen[k] else math.nan for k in range(len(values.bands))])


def _sums(values: DecidedValues) -> ExactSums:
    return ExactSums(len(values.bands))
