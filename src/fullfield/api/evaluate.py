"""``fullfield.evaluate``: how scores agree with the user's labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fullfield.api.scores import Scores, open_scores
from fullfield.arguments import checks_keywords
from fullfield.decisions.evaluation.evaluate import evaluate_maps
from fullfield.decisions.evaluation.images import NamedMap, evaluate_images, named_map
from fullfield.decisions.evaluation.label_table import names_images
from fullfield.decisions.evaluation.labels import Labels, parse_labels
from fullfield.decisions.evaluation.reliability import check_bins
from fullfield.decisions.evaluation.tally import PredictionRule
from fullfield.decisions.rule import DecisionRule
from fullfield.errors import ArgumentError, ImageError
from fullfield.files import image_name
from fullfield.store.check import is_result

if TYPE_CHECKING:
    from fullfield.decisions.evaluation.evaluation import Evaluation
    from fullfield.engine.progress import OnProgress
    from fullfield.store.maps import Activation, MapSpec

OneScores = Scores | str | os.PathLike[str]


@checks_keywords
def evaluate(
    scores: OneScores | Sequence[OneScores],
    labels: object,
    *,
    decide: str | DecisionRule | None = None,
    threshold: float | None = None,
    activation: Activation | None = None,
    bins: int = 15,
    progress: OnProgress | None = None,
) -> Evaluation:
    """How scores agree with labels: accuracy, AUC, average precision, overlap, calibration, FROC, confusion matrix.

    A cell has the label in which its window's centre lies; a point is a sample of the cell nearest to it. Cells
    without a label, or without a score, are left out, and these are counted. Chunks of a map are in memory at a time.

    Args:
        scores: of a scan, in memory or on disk, or their path; several of these, or a folder of them.
        labels: a file of points (GeoJSON or CSV), polygons (GeoJSON) or pixels (a raster of class indices), such a
            raster as an array, or a ``Labels``, which also says what names and numbers mean. Of several maps one each,
            or a folder with a file of the name of each image. Or a CSV of whole images with the columns ``image`` and
            ``class``: then each map is decided, and a sample is an image.
        decide: how, for labels of whole images: ``"mean"``, the default, or as ``Scores.decide`` takes it, or a
            ``DecisionRule``.
        threshold: least score of a prediction: where the greatest score is lower, the prediction is ``"other"``. By
            default the top class is predicted; of one class, at a probability of 0.5 or a logit of 0.
        activation: ``"softmax"`` or ``"sigmoid"``, for cells whose scores are logits: what is ranked and compared with
            accuracy are then probabilities.
        bins: of the confidence, of equal width, for the calibration error.
        progress: called after every block.

    Raises:
        ImageError: labels that cannot be read, are empty, lie outside the map, or name an unknown class; maps of
            different classes; a map whose labelled cells have no score.
        ArgumentError: an argument that is not for such labels, or another number of labels than of maps.
        GeometryError: bins that are no positive number.
    """
    check_bins(bins)
    maps = _maps(scores)
    spec = maps[0].scores.spec
    if not isinstance(labels, (list, tuple)):
        table = parse_labels(labels)
        if names_images(table):
            if activation is not None:
                what, fix = "is for labels of cells", 'write decide=DecisionRule("mean", on="softmax")'
                raise ArgumentError("activation", what, fix=fix)
            rule = decide if isinstance(decide, DecisionRule) else DecisionRule(decide or "mean")
            return evaluate_images(maps, table, rule, threshold=threshold, bins=bins, progress=progress)
    if decide is not None:
        what = "is for labels of whole images, and these are of cells"
        raise ArgumentError("decide", what, fix="leave it out, or give a CSV with the columns image and class")
    each = _labels_of(labels, maps)
    rule_of_cells = PredictionRule.of(spec, activation=activation, threshold=threshold)
    return evaluate_maps([m.scores for m in maps], each, rule=rule_of_cells, bins=bins, progress=progress)


def _maps(scores: OneScores | Sequence[OneScores]) -> list[NamedMap]:
    """The maps, which have the same classes.

    Raises:
        ImageError: a folder without maps, or maps of different classes.
    """
    given = [scores] if isinstance(scores, (Scores, str, os.PathLike)) else list(scores)
    every = [found for each in given for found in _of_folder(each)]
    if not every:
        raise ImageError("scores", "there are none", fix="give the result of a scan, several, or a folder of them")
    maps = [named_map((each if isinstance(each, Scores) else open_scores(each)).map) for each in every]
    first = _classes(maps[0].scores.spec)
    for each in maps:
        if _classes(each.scores.spec) != first:
            what = f"has other classes than {_name(maps[0])}"
            raise ImageError(_name(each), what, fix="compare the maps of one model, stored in one way")
    return maps


def _of_folder(scores: OneScores) -> list[OneScores]:
    """A map, or the maps in a folder."""
    if isinstance(scores, Scores) or not Path(scores).is_dir() or is_result(Path(scores)):
        return [scores]
    found: list[OneScores] = [path for path in sorted(Path(scores).iterdir()) if is_result(path)]
    if not found:
        raise ImageError(str(scores), "is a folder without results of scans", fix="give the folder that holds them")
    return found


def _classes(spec: MapSpec) -> tuple[object, ...]:
    return spec.kind, spec.classes, spec.class_names, spec.went_through


def _name(scores: NamedMap) -> str:
    return str(getattr(scores.scores, "path", None) or (scores.names[0] if scores.names else "scores"))


def _labels_of(labels: object, maps: list[NamedMap]) -> list[Labels]:
    """The labels of each map.

    Raises:
        ArgumentError: another number of labels than of maps.
        ImageError: a folder without a file for an image.
    """
    if isinstance(labels, (list, tuple)):
        if len(labels) != len(maps):
            what = f"{len(labels)} labels for {len(maps)} maps"
            raise ArgumentError("labels", what, fix="give one for each map, in the same order")
        return [parse_labels(each) for each in labels]
    one = parse_labels(labels)
    source = one.source
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        files = {image_name(path.name): path for path in sorted(Path(source).iterdir()) if path.is_file()}
        return [replace(one, source=_file_of(each, files, Path(source))) for each in maps]
    if len(maps) > 1:
        what = f"are one for {len(maps)} maps"
        raise ArgumentError("labels", what, fix="give a folder with a file for each image, or a CSV of whole images")
    return [one]


def _file_of(scores: NamedMap, files: dict[str, Path], folder: Path) -> Path:
    found = next((files[name] for name in scores.names if name in files), None)
    if found is None:
        what = f"holds no labels of {_name(scores)}"
        raise ImageError(str(folder), what, fix=f"name a file {scores.names[0] if scores.names else 'IMAGE'}.geojson")
    return found
