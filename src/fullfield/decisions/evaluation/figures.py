"""Figures of a confusion matrix and of tables of ranks: accuracy, recall, overlap, AUC, average precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.decisions.evaluation.ranks import UNDEFINED, Bounded, Ranks, thinned
from fullfield.decisions.evaluation.tally import Tally


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """How one class is recognised. A figure that is undefined is NaN.

    Args:
        name: of the class.
        labelled, predicted: samples whose label, and whose prediction, it is.
        precision: share of the predicted ones that are labelled so.
        recall: share of the labelled ones that are predicted so.
        iou: labelled and predicted over labelled or predicted (Jaccard).
        dice: twice labelled and predicted over the sum of both (F1).
        auc: area under the ROC curve of this class against all others; NaN without labels of both.
        ap: average precision, likewise.
        ece: calibration error of this class's probability.
        roc: false and true positive rate ``(2, n)``; ``None`` without labels of both.
        precision_recall: recall and precision ``(2, n)``.
    """

    name: str
    labelled: int
    predicted: int
    precision: float
    recall: float
    iou: float
    dice: float
    auc: Bounded = UNDEFINED
    ap: Bounded = UNDEFINED
    ece: float = math.nan
    roc: NDArray[np.float64] | None = None
    precision_recall: NDArray[np.float64] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON-able values."""
        found: dict[str, Any] = {name: getattr(self, name) for name in CLASS_FIGURES} | {"name": self.name}
        found |= {"auc": self.auc.value, "ap": self.ap.value}
        off = {"auc_off": self.auc.off, "ap_off": self.ap.off}
        curves = {
            "roc": None if self.roc is None else dict(zip(("fpr", "tpr"), self.roc.tolist(), strict=True)),
            "precision_recall": None
            if self.precision_recall is None
            else dict(zip(("recall", "precision"), self.precision_recall.tolist(), strict=True)),
        }
        return found | off | curves


CLASS_FIGURES = ("name", "labelled", "predicted", "precision", "recall", "iou", "dice", "auc", "ap", "ece")


def class_figures(tally: Tally, names: tuple[str, ...]) -> tuple[ClassFigures, ...]:
    """The figures of every class that is labelled or predicted, in the map's order."""
    matrix = tally.confusion
    labelled, predicted, both = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
    ranks = [table.ranks() for table in tally.ranks]
    found = []
    for number, name in enumerate(names):
        n, m, hit = int(labelled[number]), int(predicted[number]), int(both[number])
        if not (n or m):
            continue
        ranked = ranks[number] if number < len(ranks) else None
        found.append(
            ClassFigures(
                name,
                n,
                m,
                precision=_over(hit, m),
                recall=_over(hit, n),
                iou=_over(hit, n + m - hit),
                dice=_over(2 * hit, n + m),
                ece=tally.by_class[number].ece if number < len(tally.by_class) else math.nan,
                **_ranked(ranked),
            )
        )
    return tuple(found)


def _ranked(ranks: Ranks | None) -> dict[str, Any]:
    """Figures and curves of ranks; none without positives and negatives."""
    if ranks is None or not ranks.both:
        return {}
    return {
        "auc": ranks.auc(),
        "ap": ranks.average_precision(),
        "roc": thinned(ranks.roc()),
        "precision_recall": thinned(ranks.precision_recall()),
    }


def mean(values: list[float]) -> float:
    """The mean of the values that are defined; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _over(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
