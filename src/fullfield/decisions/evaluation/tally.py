"""Counts labelled samples, block by block: which class is predicted, how scores rank, how confident they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.ranks import RankTable, rank_tables
from fullfield.decisions.evaluation.reliability import Reliability
from fullfield.errors import ImageError
from fullfield.store.encoding import activated, still_to_apply
from fullfield.store.maps import MapSpec

if TYPE_CHECKING:
    from fullfield.model.final_activation import FinalActivation
    from fullfield.store.maps import Activation

PROBABILITIES = ("softmax", "sigmoid", "log_softmax", "log_sigmoid")


@dataclass(frozen=True)
class PredictionRule:
    """How scores become a prediction and a probability.

    Args:
        classes: number of the map's classes; a class of a higher code is none of them.
        is_labels: the map holds the top class alone.
        activation: applied to the scores first.
        ends_in: what the scores went through then; ``None`` if they are no probabilities.
        threshold: least score of a prediction of one of the classes; ``None`` for the top class, whatever its score.
    """

    classes: int
    is_labels: bool
    activation: Activation | None
    ends_in: FinalActivation | None
    threshold: float | None

    @classmethod
    def of(
        cls, spec: MapSpec, *, activation: Activation | None = None, threshold: float | None = None
    ) -> PredictionRule:
        """The rule for a map.

        Raises:
            ImageError: an activation that the scores went through already, or a threshold that is no number or for a
                map of labels.
        """
        if activation not in (None, "softmax", "sigmoid"):
            raise ImageError("activation", f"{activation!r} is not known", fix="use softmax, sigmoid or None")
        is_labels = spec.kind == "labels"
        if is_labels and (activation is not None or threshold is not None):
            name = "threshold" if activation is None else "activation"
            raise ImageError(name, "a map of labels has no scores", fix="leave it out, or scan for scores")
        if is_labels:
            return cls(len(spec.classes), is_labels, None, None, None)
        missing = still_to_apply(activation, spec)
        found = cls.of_classes(spec.shape[0], missing or spec.went_through, threshold)
        return replace(found, activation=missing)

    @classmethod
    def of_classes(cls, classes: int, ends_in: FinalActivation | None, threshold: float | None) -> PredictionRule:
        """The rule for scores that went through an activation; a single class has a threshold in any case.

        Raises:
            ImageError: a threshold that is no number.
        """
        if threshold is not None and not math.isfinite(threshold):
            raise ImageError("threshold", f"{threshold} is no number", fix="give the least score of a class")
        if threshold is None and classes == 1:
            threshold = _even(ends_in)
        return cls(classes, False, None, ends_in, threshold)

    def predicted(self, scores: NDArray[np.floating]) -> NDArray[np.intp]:
        """The class of each sample; ``classes`` for none of them. Shape: ``(k, n)`` -> ``(n,)``"""
        top: NDArray[np.intp] = scores.argmax(axis=0)
        if self.threshold is None:
            return top
        found: NDArray[np.intp] = np.where(scores.max(axis=0) >= self.threshold, top, self.classes)
        return found


def _even(ends_in: FinalActivation | None) -> float:
    """The score at which a single class is as likely as not."""
    if ends_in is None:
        return 0.0
    return math.log(0.5) if ends_in.startswith("log_") else 0.5


@dataclass(eq=False)
class Tally:
    """What was counted of labelled samples.

    Args:
        rule: of predictions.
        dtype: of the scores.
        bins: of confidences.
        confusion: samples by label and prediction; the last row and column is none of the map's classes.
        ranks: a table for each class; none of a map of labels.
        reliability: of the predictions; ``None`` where scores are no probabilities.
        by_class: of each class's probability.
        without_score: labelled samples without a score, which are left out.
    """

    rule: PredictionRule
    dtype: np.dtype[Any]
    bins: int = 15
    confusion: NDArray[np.int64] = field(init=False)
    ranks: list[RankTable] = field(init=False)
    reliability: Reliability | None = None
    by_class: list[Reliability] = field(default_factory=list)
    without_score: int = 0

    def __post_init__(self) -> None:
        count = self.rule.classes + 1
        self.confusion = np.zeros((count, count), np.int64)
        self.ranks = [] if self.rule.is_labels else rank_tables(self.rule.classes, self.dtype)

    def add(self, scores: NDArray[np.floating], codes: NDArray[np.intp]) -> None:
        """Counts samples: their scores ``(k, n)``, of a map of labels the index ``(1, n)``, and labels ``(n,)``."""
        known = ~np.isnan(scores).any(axis=0)
        self.without_score += int((~known).sum())
        scores, codes = scores[:, known], codes[known]
        if not len(codes):
            return
        if self.rule.is_labels:
            self._confuse(codes, scores[0].astype(np.intp))
            return
        if self.rule.activation is not None:
            scores = activated(scores, self.rule.activation).astype(self.dtype)
        predicted = self.rule.predicted(scores)
        self._confuse(codes, predicted)
        for number, (table, band) in enumerate(zip(self.ranks, scores, strict=True)):
            table.add(band, codes == number)
        if self.rule.ends_in in PROBABILITIES:
            self._calibrate(np.exp(scores) if self.rule.ends_in.startswith("log_") else scores, codes)

    def _confuse(self, codes: NDArray[np.intp], predicted: NDArray[np.intp]) -> None:
        count = len(self.confusion)
        self.confusion += np.bincount(codes * count + predicted, minlength=count**2).reshape(count, count)

    def _calibrate(self, probabilities: NDArray[np.floating], codes: NDArray[np.intp]) -> None:
        """Of the top class, of a single class whether it is that one; and of each class by itself."""
        whole = probabilities.clip(0, 1)  # stored bytes and rounding
        by_class = [Reliability.of(band, codes == number, self.bins) for number, band in enumerate(whole)]
        self.by_class = [a + b for a, b in zip(self.by_class, by_class, strict=True)] if self.by_class else by_class
        if len(whole) == 1:
            self.reliability = self.by_class[0]
            return
        now = Reliability.of(whole.max(axis=0), probabilities.argmax(axis=0) == codes, self.bins)
        self.reliability = now if self.reliability is None else self.reliability + now
