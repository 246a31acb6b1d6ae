"""Compares how confident predictions are with how often they are right: the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import GeometryError

_MOST_BINS = 10_000


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions by confidence, in bins ``((m - 1)/M, m/M]`` of equal width.

        ECE = sum over bins of share of the predictions * abs(share of right ones - mean confidence)

    Args:
        counts: ``(bins,)``, predictions.
        right: of them, right ones.
        confidence: sums of their confidences.

    Source: Guo et al. 2017, section 2, arXiv 1706.04599
    """

    counts: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int) -> Reliability:
        """Of predictions ``(n,)``: their confidences, 0 to 1, and whether they are right."""
        wide = confidence.astype(np.float64)
        place = np.searchsorted(np.arange(1, bins) / bins, wide, side="left")
        counts = np.bincount(place, minlength=bins)
        hits = np.bincount(place[right], minlength=bins)
        sums = np.bincount(place, weights=wide, minlength=bins).astype(np.float64)
        return cls(counts, hits, sums)

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.counts + other.counts, self.right + other.right, self.confidence + other.confidence)

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        return float(np.abs(self.right - self.confidence).sum() / self.counts.sum())

    @property
    def mce(self) -> float:
        """Greatest calibration error of a bin."""
        return float(np.nanmax(np.abs(self.accuracy - self.mean_confidence)))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share that is right in each bin; NaN in an empty one."""
        return np.where(self.counts > 0, self.right / np.maximum(self.counts, 1), np.nan)

    @property
    def mean_confidence(self) -> NDArray[np.float64]:
        """Mean confidence in each bin; NaN in an empty one."""
        return np.where(self.counts > 0, self.confidence / np.maximum(self.counts, 1), np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Errors and bins as JSON-able values; empty bins have counts only."""
        bins = len(self.counts)
        rows = zip(self.counts.tolist(), self.accuracy.tolist(), self.mean_confidence.tolist(), strict=True)
        return {
            "ece": self.ece,
            "mce": self.mce,
            "bins": [
                {"from": m / bins, "to": (m + 1) / bins, "count": n}
                | ({"accuracy": right, "confidence": mean} if n else {})
                for m, (n, right, mean) in enumerate(rows)
            ],
        }


def check_bins(bins: int) -> None:
    """Raises unless a number of bins is one.

    Raises:
        GeometryError: it is not a positive integer, or too many.
    """
    if not isinstance(bins, int) or isinstance(bins, bool) or not 1 <= bins <= _MOST_BINS:
        raise GeometryError("bins", f"{bins!r} is not an integer from 1 to {_MOST_BINS}", fix="use 15, for example")
