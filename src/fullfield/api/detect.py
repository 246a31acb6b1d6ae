"""``fullfield.detect``: objects in score maps, as boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fullfield.api.boxes import DetectedBoxes, detect_in_maps
from fullfield.api.scores import Scores, open_scores
from fullfield.arguments import checks_keywords, parse_bytes
from fullfield.decisions.boxes import BoxRule

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.grid import Classes

ScoresLike = Scores | str | os.PathLike[str]


@checks_keywords
def detect(
    scores: ScoresLike | Sequence[ScoresLike],
    *,
    threshold: float | None = None,
    classes: Classes = None,
    nms: float | None = None,
    merge: float | None = None,
    min_distance: float | None = None,
    across_classes: bool = False,
    budget: int | str | None = None,
    progress: OnProgress | None = None,
) -> DetectedBoxes:
    """Objects in one or several maps of an image, as boxes: the windows that detect them.

    A window is a candidate of a class if its score is at least ``threshold``; NaN never is. Candidates are ordered by
    score, the greatest first; of equal ones the least class comes first, then the least y, then the least x of the
    centre. One of three rules chooses among them:

    - ``nms=0.3``, the default: greedy non-maximum suppression. A candidate is kept unless its intersection over union
      with a kept one before it is more than that.
    - ``merge=0.5``: as in OverFeat, the two candidates of a class with the least match score are replaced by their
      average and the sum of their scores, until no match score is at most that. The match score of two boxes is the
      distance of their centres in box sides, and 1 less their intersection over union.
    - ``min_distance=24``: local maxima. A candidate is kept if its map has no greater one of its class within so many
      px; equal ones, linked in a chain of such distances, are one plateau, which keeps its first in reading order. Of
      the maxima of several maps within the distance the first in the order above remains.

    Memory besides the result is bounded by ``budget``, and the result does not depend on it.

    Args:
        scores: a map, in memory or on disk, or its path; or several of one image, scanned with different ``scale``.
        threshold: least score; by default every window is a candidate of its top class alone.
        classes: by index among the network's classes or by name, one or several; all by default.
        nms, merge, min_distance: the rule, one of the three.
        across_classes: candidates suppress those of other classes too.
        budget: memory allowed, bytes or a text such as ``"150MB"``; 0.3 GB by default.
        progress: called after every strip.

    Raises:
        FullfieldError: maps of different images or of labels, arguments that mean nothing, more to merge than fits.

    Source: Sermanet et al. 2014, section 4.3, arXiv 1312.6229 (merging)
    """
    several = scores if isinstance(scores, Sequence) and not isinstance(scores, str) else [scores]
    opened = [open_scores(each) if isinstance(each, (str, os.PathLike)) else each for each in several]
    maps, rule = [each.map for each in opened], BoxRule.parse(nms, merge, min_distance, across_classes)
    return detect_in_maps(maps, threshold, classes, rule, budget_bytes=parse_bytes(budget), progress=progress)
