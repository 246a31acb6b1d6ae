"""Counts positives and negatives at each different score, in bounded memory: AUC, average precision, ROC and PR curves.

Scores are counted by their bit pattern, ordered as the numbers are. While there are few different ones, figures are
exact; otherwise the last bits are dropped, and the figures say how far off they may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.ordered_bits import from_ordered_bits, ordered_bits, unsigned

MOST_SCORES = 1 << 20
"""Different scores that are kept apart, of all classes together."""
_FEWEST = 1 << 12  # of one class
_SHOWN = 512  # points of a curve for people


class Bounded(NamedTuple):
    """A figure, and by how much the true one may lie below or above it; 0 where it is exact."""

    value: float
    off: float = 0.0


UNDEFINED = Bounded(math.nan)


@dataclass(eq=False)
class RankTable:
    """Positives and negatives at each different score.

    Args:
        dtype: of the scores: float32 or float64.
        most: different scores that are kept apart.
        dropped: last bits of the scores that are not kept apart.
    """

    dtype: np.dtype[Any]
    most: int = MOST_SCORES
    dropped: int = 0
    _keys: NDArray[Any] = field(init=False)
    _counts: NDArray[np.int64] = field(init=False)
    _new: list[tuple[NDArray[Any], NDArray[np.bool_]]] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._keys = np.empty(0, unsigned(self.dtype))
        self._counts = np.empty((2, 0), np.int64)

    def add(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        """Counts scores ``(n,)``, none of them NaN, and which of them are positives."""
        self._new.append((ordered_bits(scores.astype(self.dtype, copy=False)), positive.copy()))
        self._waiting += len(scores)
        if self._waiting >= self.most:
            self._merge()

    def ranks(self) -> Ranks:
        """What was counted, from the greatest score down."""
        self._merge()
        keys = self._keys << self._keys.dtype.type(self.dropped)
        order = slice(None, None, -1)
        positives, negatives = self._counts[:, order]
        return Ranks(from_ordered_bits(keys[order], self.dtype), positives, negatives, exact=self.dropped == 0)

    def _merge(self) -> None:
        """Sorts what is waiting into the table, and drops bits while the table is too long."""
        if not self._new:
            return
        keys = np.concatenate([k for k, _ in self._new]) >> self._keys.dtype.type(self.dropped)
        positive = np.concatenate([p for _, p in self._new])
        self._new, self._waiting = [], 0
        (some, more), (others, less) = _counted(keys[positive]), _counted(keys[~positive])
        zeros = np.zeros(len(some) + len(others), np.int64)
        counts = np.stack([zeros, zeros])
        counts[0, : len(some)], counts[1, len(some) :] = more, less
        every = np.concatenate([self._keys, some, others])
        order = np.argsort(every, kind="stable")  # of three sorted runs: they are merged
        self._keys, self._counts = _summed(every[order], np.concatenate([self._counts, counts], axis=1)[:, order])
        while len(self._keys) > self.most:
            self.dropped += 1
            self._keys, self._counts = _summed(self._keys >> self._keys.dtype.type(1), self._counts)


def rank_tables(classes: int, dtype: np.dtype[Any]) -> list[RankTable]:
    """A table for each class, which share the memory."""
    wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    return [RankTable(wide, max(_FEWEST, MOST_SCORES // classes)) for _ in range(classes)]


@dataclass(frozen=True, eq=False)
class Ranks:
    """Positives and negatives at each different score, from the greatest down.

    Args:
        scores: ``(n,)``, different ones.
        positives, negatives: ``(n,)``, how many have that score.
        exact: whether no two scores of one entry differ.
    """

    scores: NDArray[np.floating]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    exact: bool = True

    @property
    def both(self) -> bool:
        """Whether there are positives and negatives."""
        return bool(self.positives.any() and self.negatives.any())

    def auc(self) -> Bounded:
        """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

        Needs both. Source: Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747
        """
        p, n = self.positives.astype(np.float64), self.negatives.astype(np.float64)
        pairs = p.sum() * n.sum()
        above = np.cumsum(p) - p
        return Bounded(float((n * (above + p / 2)).sum() / pairs), self._off(float((n * p / 2).sum() / pairs)))

    def average_precision(self) -> Bounded:
        """The mean, over the positives, of the precision at their score: sum of (recall's increase) × precision."""
        p, tp, fp = self.positives, np.cumsum(self.positives), np.cumsum(self.negatives)
        some = p > 0
        p, tp, fp, n = p[some], tp[some], fp[some], self.negatives[some]
        found = float((p * (tp / (tp + fp))).sum() / tp[-1])
        if self.exact:
            return Bounded(found)
        first = tp - p + 1
        low = float((p * (first / (first + fp))).sum() / tp[-1])
        high = float((p * (tp / (tp + fp - n))).sum() / tp[-1])
        return Bounded(found, max(found - low, high - found))

    def roc(self) -> NDArray[np.float64]:
        """False and true positive rate ``(2, n + 1)``, from (0, 0) to (1, 1)."""
        return np.stack([_shares(self.negatives), _shares(self.positives)])

    def precision_recall(self) -> NDArray[np.float64]:
        """Recall and precision ``(2, n)``, from the greatest score down."""
        tp, fp = np.cumsum(self.positives), np.cumsum(self.negatives)
        return np.stack([tp / tp[-1], tp / (tp + fp)])

    def _off(self, off: float) -> float:
        return 0.0 if self.exact else off


def thinned(curve: NDArray[np.float64], most: int = _SHOWN) -> NDArray[np.float64]:
    """At most about ``most`` points of a curve ``(2, n)``, spread evenly along both axes; its ends stay."""
    if curve.shape[1] <= most:
        return curve
    along = np.abs(np.diff(curve, axis=1)).sum(axis=0).cumsum()
    wanted = np.linspace(0, along[-1], most)
    return curve[:, np.unique(np.concatenate([[0], np.searchsorted(along, wanted).clip(0, len(along) - 1) + 1]))]


def _counted(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Keys in order without repeats, and how often each occurs."""
    keys = np.sort(keys)
    first = _firsts(keys)
    return keys[first], np.diff(np.append(first, len(keys))).astype(np.int64)


def _summed(keys: NDArray[Any], counts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Of keys in order those without repeats, and the sums of the counts of equal ones."""
    first = _firsts(keys)
    return keys[first], np.add.reduceat(counts, first, axis=1)


def _firsts(keys: NDArray[Any]) -> NDArray[np.intp]:
    """Where each different one of some sorted keys begins."""
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(begins)


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Running shares of a total, from 0 to 1; NaN where there is none."""
    total = int(counts.sum())
    return np.concatenate([[0.0], np.cumsum(counts) / (total or math.nan)])
