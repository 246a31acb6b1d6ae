"""Compares one decision an image with the labels of whole images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fullfield.decisions.decide import check_rule, decide_selected
from fullfield.decisions.evaluation.evaluation import Evaluation, evaluation_of
from fullfield.decisions.evaluation.label_table import columns_of, read_label_table
from fullfield.decisions.evaluation.labels import UNLABELLED, ClassCodes, Labels
from fullfield.decisions.evaluation.tally import PROBABILITIES, PredictionRule, Tally
from fullfield.decisions.rule import DecisionRule
from fullfield.decisions.selected import select
from fullfield.engine.progress import OnProgress, StageReporter
from fullfield.errors import ArgumentError, ImageError
from fullfield.files import image_name
from fullfield.store.maps import MapSpec, ScoreMap

_SUMS = ("log-sum-exp",)  # functions of probabilities that are none


@dataclass(frozen=True, eq=False)
class NamedMap:
    """A map and what its image may be called in a table, the likeliest name first."""

    scores: ScoreMap
    names: tuple[str, ...]


def named_map(scores: ScoreMap) -> NamedMap:
    """A map with the names of its image, as it was scanned, and of its own file."""
    given = [scores.spec.provenance.get("image"), getattr(scores, "path", None)]
    return NamedMap(scores, tuple(dict.fromkeys(image_name(os.fspath(each)) for each in given if each)))


def evaluate_images(
    maps: Sequence[NamedMap],
    labels: Labels,
    decision: DecisionRule,
    *,
    threshold: float | None = None,
    bins: int = 15,
    progress: OnProgress | None = None,
) -> Evaluation:
    """How decisions agree with a table of the classes of images.

    An image is found by its name without folder and suffix.

    Args:
        maps: of the same classes.
        labels: the table, with columns ``image`` and ``class``.
        decision: how a map becomes one score a class.
        threshold: least score of a prediction; ``None`` for the top class.
        bins: of confidences.
        progress: called after every map.

    Raises:
        ArgumentError: a decision of some classes, or of regions.
        ImageError: a table that names none of the images, or an unknown class.
    """
    if decision.classes is not None or decision.regions is not None:
        raise ArgumentError("decide", "classes and regions are not for labels of images", fix="leave them out")
    spec = maps[0].scores.spec
    table, codes = Path(str(labels.source)), ClassCodes(spec, labels.rename, str(labels.source))
    known = _classes(table, codes)
    tally = Tally(_rule(spec, decision, threshold), np.dtype(np.float64), bins)
    stage, unnamed, used = StageReporter(progress, "evaluating", len(maps), "images"), 0, set[str]()
    for number, each in enumerate(maps, 1):
        name = next((name for name in each.names if name in known), None)
        if name is None:
            unnamed += 1
        elif known[name] != UNLABELLED:
            used.add(name)
            tally.add(_scores(each.scores, decision, tally.rule.classes), np.array([known[name]]))
        stage.report(number)
    if not used:
        some = maps[0].names[0] if maps[0].names else "a map without a name"
        what = f"names none of the {len(maps)} images, such as {some}; it has {', '.join(list(known)[:3])}"
        raise ImageError(str(table), what, fix="write the names of the images in the column image")
    if not tally.confusion.any():
        raise ImageError("scores", f"none of the {len(used)} labelled images has a score", fix="scan them again")
    unused = sum(code != UNLABELLED for code in known.values()) - len(used)
    said = {"Images without a label, left out": unnamed, "Labels without an image, left out": unused}
    remarks = [f"One decision an image: {decision.how} of {decision.on}."]
    remarks += [f"{text}: {count}." for text, count in said.items() if count]
    return evaluation_of(tally, codes.names, unit="images", remarks=tuple(remarks))


def _classes(table: Path, codes: ClassCodes) -> dict[str, int]:
    """The code of each image of a table.

    Raises:
        ImageError: an image has two classes.
    """
    found: dict[str, int] = {}
    images, names = columns_of(read_label_table(table), ("image", "class"), table)
    for image, name in zip(images, names, strict=True):
        code = codes.code(name)
        if found.setdefault(image_name(image), code) != code:
            raise ImageError(str(table), f"gives {image} two classes", fix="give every image one, by its file's name")
    return found


def _scores(
    scores: ScoreMap, decision: DecisionRule, classes: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The decision of a map ``(k, 1)``; NaN where no window has a score."""
    selected = select(scores)
    if not selected.count:
        return np.full((classes, 1), np.nan)
    check_rule(scores.spec, decision)
    return decide_selected(scores, decision, selected).scores[:, None]


def _rule(spec: MapSpec, decision: DecisionRule, threshold: float | None) -> PredictionRule:
    """How a decision's scores become a prediction: as those of a map, which they are a mean or quantile of."""
    went = spec.went_through if decision.on in ("scores", "probabilities") else None
    ends_in = "softmax" if spec.kind == "labels" else decision.on if decision.on in ("softmax", "sigmoid") else went
    if decision.statistic.function in _SUMS or ends_in not in PROBABILITIES:
        ends_in = None
    classes = len(spec.classes) if spec.kind == "labels" else spec.shape[0]
    return PredictionRule.of_classes(classes, ends_in, threshold)
