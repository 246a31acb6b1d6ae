"""The result of an evaluation: figures and curves, as text, JSON and rows of a table."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullfield.decisions.evaluation.figures import CLASS_FIGURES, ClassFigures, class_figures, mean
from fullfield.decisions.evaluation.froc import RATES, Froc
from fullfield.decisions.evaluation.labels import OTHER
from fullfield.decisions.evaluation.reliability import Reliability
from fullfield.decisions.evaluation.tally import Tally
from fullfield.drawing.panels import CurvePanel, MatrixPanel, NamedCurve, Panel, ReliabilityPanel, draw_panels
from fullfield.text import WIDTH, html_text, shortened, table_lines

_SHOWN = 12  # classes of a confusion matrix in text
_NAME = 12  # characters of a name in its head


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How scores agree with labels. ``print(evaluation)`` shows tables; a figure that is undefined is NaN.

    Args:
        unit: what one sample is: ``cells``, ``points`` or ``images``.
        names: of the classes of ``confusion``: those that are labelled or predicted. ``"other"`` is none of the map's.
        confusion: samples by label (rows) and prediction (columns).
        classes: figures of each class of the map that is labelled or predicted.
        threshold: least score of a prediction; ``None`` where the top class is predicted.
        reliability: confidence against accuracy of the predictions; ``None`` where scores are no probabilities.
        froc: of each class with points, or with polygons that name everything of it.
        without_score: labelled samples without a score, which are left out.
        remarks: what is left out or undefined, and why.
    """

    unit: str
    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    classes: tuple[ClassFigures, ...]
    threshold: float | None = None
    reliability: Reliability | None = None
    froc: tuple[Froc, ...] = ()
    without_score: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Labelled samples that have a score."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the samples whose prediction is their label."""
        return float(self.confusion.trace() / self.samples)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that are labelled."""
        labelled = self.confusion.sum(axis=1)
        return float((self.confusion.diagonal()[labelled > 0] / labelled[labelled > 0]).mean())

    @property
    def auc(self) -> float:
        """Mean area under the ROC curve of the classes, each against all others, where it is defined."""
        return mean([each.auc.value for each in self.classes])

    @property
    def ap(self) -> float:
        """Mean average precision of the classes, where it is defined."""
        return mean([each.ap.value for each in self.classes])

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the classes."""
        return mean([each.iou for each in self.classes])

    @property
    def mean_dice(self) -> float:
        """Mean Dice coefficient of the classes."""
        return mean([each.dice for each in self.classes])

    @property
    def ece(self) -> float:
        """Expected calibration error of the predictions."""
        return math.nan if self.reliability is None else self.reliability.ece

    def __getitem__(self, name: str) -> ClassFigures:
        """The figures of a class by name."""
        return next(each for each in self.classes if each.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Every figure and curve as JSON-able values."""
        return {
            **self._summary(),
            "threshold": self.threshold,
            "without_score": self.without_score,
            "classes": [each.to_dict() for each in self.classes],
            "confusion": {"names": list(self.names), "counts": self.confusion.tolist()},
            "calibration": None if self.reliability is None else self.reliability.to_dict(),
            "froc": [each.to_dict() for each in self.froc],
            "remarks": list(self.remarks),
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row of figures for each class, and one for all together, as a table or a data frame takes them."""
        rows = [{name: each.to_dict()[name] for name in CLASS_FIGURES} for each in self.classes]
        froc = {each.name: each.score for each in self.froc}
        whole = {
            "name": "all",
            "labelled": self.samples,
            "predicted": self.samples,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "iou": self.mean_iou,
            "dice": self.mean_dice,
            "auc": self.auc,
            "ap": self.ap,
            "ece": self.ece,
        }
        columns = [*CLASS_FIGURES, "froc", "accuracy", "balanced_accuracy"]
        rows = [row | {"froc": froc.get(row["name"], math.nan)} for row in rows]
        return [{name: row.get(name, math.nan) for name in columns} for row in [*rows, whole]]

    def to_csv(self) -> str:
        """``to_rows`` as comma-separated text with a header; undefined figures are empty."""
        text = io.StringIO()
        rows = self.to_rows()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
        return text.getvalue()

    def picture(self) -> Image.Image:
        """The curves of ROC, precision and recall, and FROC, the reliability diagram and the confusion matrix.

        Raises:
            ImageError: matplotlib is not installed.
        """
        ranked = [each for each in self.classes if each.roc is not None]
        panels: list[Panel] = []
        if ranked:
            roc = tuple(_curve(each, "AUC", each.auc.value, each.roc) for each in ranked)
            found = tuple(_curve(each, "AP", each.ap.value, each.precision_recall) for each in ranked)
            panels.append(CurvePanel("ROC", "false positive rate", "true positive rate", roc, diagonal=True))
            panels.append(CurvePanel("Precision and recall", "recall", "precision", found))
        if self.reliability is not None:
            title = f"Reliability: ECE {self.ece:.3f}"
            panels.append(ReliabilityPanel(title, self.reliability.accuracy, self.reliability.counts))
        if self.froc:
            curves = tuple(NamedCurve(f"{each.name}, score {each.score:.3f}", each.curve) for each in self.froc)
            panels.append(CurvePanel("FROC", "false positives an image", "sensitivity", curves, logarithmic=True))
        title = f"Confusion matrix: accuracy {_percent(self.accuracy)}"
        return draw_panels([*panels, MatrixPanel(title, self.names, self.confusion)], self._head())

    def _summary(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "samples": self.samples,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "auc": self.auc,
            "ap": self.ap,
            "mean_iou": self.mean_iou,
            "mean_dice": self.mean_dice,
            "ece": self.ece,
        }

    def __repr__(self) -> str:
        return f"<Evaluation: {self._head()}>"

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        parts = [[self._head()], self._class_table(), self._confusion_table(), *map(_froc_lines, self.froc)]
        notes = [line for remark in self.remarks for line in textwrap.wrap(remark, WIDTH, subsequent_indent="  ")]
        return "\n\n".join("\n".join(part) for part in [*parts, notes] if part)

    def _head(self) -> str:
        figures = [f"accuracy {_percent(self.accuracy)}", f"balanced {_percent(self.balanced_accuracy)}"]
        figures += [f"{name} {value:.4f}" for name, value in (("AUC", self.auc), ("AP", self.ap)) if value == value]
        if self.reliability is not None:
            figures.append(f"ECE {self.ece:.4f} ({len(self.reliability.counts)} bins)")
        return f"{self.samples} labelled {self.unit}: {', '.join(figures)}"

    def _class_table(self) -> list[str]:
        titles = ["class", *CLASS_FIGURES[1:7], "AUC", "AP", "ECE"]
        rows = [titles]
        for each in self.classes:
            shares = [each.precision, each.recall, each.iou, each.dice]
            ranked = [each.auc.value, each.ap.value, each.ece]
            counts = [str(each.labelled), str(each.predicted)]
            rows.append([each.name, *counts, *map(_percent, shares), *map(_figure, ranked)])
        return table_lines(rows, left=1)

    def _confusion_table(self) -> list[str]:
        if len(self.names) > _SHOWN:
            return []
        names = [shortened(name, _NAME) for name in self.names]
        rows = [["label \\ predicted", *names]]
        rows += [[name, *map(str, row)] for name, row in zip(self.names, self.confusion.tolist(), strict=True)]
        return table_lines(rows, left=1)


def evaluation_of(
    tally: Tally, names: tuple[str, ...], *, unit: str, froc: tuple[Froc, ...] = (), remarks: tuple[str, ...] = ()
) -> Evaluation:
    """The result of what was counted.

    Args:
        tally: of at least one sample.
        names: of the map's classes.
        unit: what one sample is.
        froc: of detections.
        remarks: on labels that were left out.
    """
    every = (*names, OTHER)
    some = np.flatnonzero(tally.confusion.any(axis=0) | tally.confusion.any(axis=1))
    classes = class_figures(tally, names)
    undefined = [each.name for each in classes if math.isnan(each.auc.value)]
    said = list(remarks)
    if tally.rule.is_labels:
        said.append("AUC, AP and ECE: undefined, as the map holds the top class alone.")
    elif undefined:
        said.append(f"AUC and AP of {', '.join(undefined)}: undefined without labels of it and of others.")
    off = max((each.auc.off for each in classes), default=0.0), max((each.ap.off for each in classes), default=0.0)
    if any(off):
        said.append(f"So many different scores are ranked to {off[0]:.1g} of the AUC and {off[1]:.1g} of the AP.")
    if tally.reliability is None and not tally.rule.is_labels:
        said.append("ECE: undefined, as the scores are no probabilities; activation softmax or sigmoid makes them.")
    if tally.without_score:
        said.append(f"Labelled {unit} without a score, left out: {tally.without_score}.")
    return Evaluation(
        unit=unit,
        names=tuple(every[code] for code in some),
        confusion=tally.confusion[np.ix_(some, some)],
        classes=classes,
        threshold=tally.rule.threshold,
        reliability=tally.reliability,
        froc=froc,
        without_score=tally.without_score,
        remarks=tuple(said),
    )


def _curve(figures: ClassFigures, measure: str, value: float, points: NDArray[np.float64] | None) -> NamedCurve:
    assert points is not None
    return NamedCurve(f"{figures.name}, {measure} {value:.3f}", points)


def _froc_lines(froc: Froc) -> list[str]:
    found = "by a maximum inside" if not froc.distance else f"within {froc.distance:g} px"
    head = f"FROC of {froc.name}: {froc.score:.4f} (targets: {froc.targets}, images: {froc.images}; found {found})"
    rows = [["false positives an image", *(f"{rate:g}" for rate in RATES)]]
    rows.append(["sensitivity", *(_figure(value) for value in froc.sensitivities)])
    return [head, *table_lines(rows, left=1)]


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
