"""``fullfield.evaluate``: how scores agree with the user's labels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fullfield.api.scores import Scores, open_scores
from fullfield.arguments import checks_keywords
from fullfield.decisions.evaluation.evaluate import evaluate_maps
from fullfield.decisions.evaluation.labels import parse_labels
from fullfield.decisions.evaluation.reliability import check_bins
from fullfield.decisions.evaluation.tally import PredictionRule

if TYPE_CHECKING:
    from fullfield.decisions.evaluation.evaluation import Evaluation
    from fullfield.engine.progress import OnProgress
    from fullfield.store.maps import Activation


@checks_keywords
def evaluate(
    scores: Scores | str | os.PathLike[str],
    labels: object,
    *,
    threshold: float | None = None,
    activation: Activation | None = None,
    bins: int = 15,
    progress: OnProgress | None = None,
) -> Evaluation:
    """How scores agree with labels: accuracy, AUC, average precision, overlap, calibration, FROC, confusion matrix.

    A cell has the label in which its window's centre lies; a point is a sample of the cell nearest to it. Cells
    without a label, or without a score, are left out, and these are counted. Chunks of the map are in memory at a time.

    Args:
        scores: of a scan, in memory or on disk, or their path.
        labels: a file of points (GeoJSON or CSV), polygons (GeoJSON) or pixels (a raster of class indices), such a
            raster as an array, or a ``Labels``, which also says what names and numbers mean.
        threshold: least score of a prediction: a cell whose greatest score is lower is predicted as ``"other"``. By
            default the top class is predicted; of a map of one class, a probability of 0.5, or a logit of 0.
        activation: ``"softmax"`` or ``"sigmoid"``, for scores that are logits: what is ranked and compared with
            accuracy are then probabilities.
        bins: of the confidence, of equal width, for the calibration error.
        progress: called after every block.

    Raises:
        ImageError: labels that cannot be read, are empty, lie outside the map, or name an unknown class; a map whose
            labelled cells have no score.
        GeometryError: bins that are no positive number.
    """
    source = open_scores(scores) if isinstance(scores, (str, os.PathLike)) else scores
    rule = PredictionRule.of(source.map.spec, activation=activation, threshold=threshold)
    check_bins(bins)
    return evaluate_maps([source.map], [parse_labels(labels)], rule=rule, bins=bins, progress=progress)
