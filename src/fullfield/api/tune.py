"""``fullfield.tune``: what each mode between context and exact costs and gives on the user's own image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullfield.arguments import checks_keywords
from fullfield.decisions.evaluation.labels import parse_labels
from fullfield.importers.load import load
from fullfield.jobs.candidates import Tuning
from fullfield.jobs.request import ScanRequest, StepLike
from fullfield.jobs.tuning import tune_modes
from fullfield.verification.crops import check_samples
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.importers.load import ModelLike
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute


@checks_keywords
def tune(
    model: ModelLike,
    image: object,
    *,
    tolerance: float | None = None,
    agreement: float | None = None,
    samples: int = 64,
    seed: int = 0,
    step: StepLike | None = None,
    scale: float = 1.0,
    where: Where | None = None,
    compute: Compute | None = None,
    labels: object = None,
    progress: OnProgress | None = None,
) -> Tuning:
    """The cost and the error of each mode between ``context`` and ``exact``, measured on sampled windows of this image.

    Tried are borders of 0, 1, 2, 3, 4, 6, 8, … cells, alone and with the network's smallest maps whole, as far as they
    should be faster than ``exact``. The sampled windows are computed as a scan of the whole image would compute them,
    from the pixels around them, and compared with their crops.

    Args:
        model, image, step, scale, where, compute: as for ``scan``.
        tolerance: of the target: mean error over the spread of the scores, at most; 0.02 where no target is given.
        agreement: of the target: share of windows whose top class is the crop's, at least.
        samples: windows to compare, about; the same for every mode. More where the agreement wanted takes more: 396 for
            0.99, at most 1024.
        seed: of their draw.
        labels: of the image, as for ``evaluate``: adds how accurate each mode's predictions are, at about ``samples``
            labelled windows drawn besides. The target stays one of error or agreement with the crops.
        progress: called with a ``Progress`` after every mode.

    Raises:
        FullfieldError: as for ``scan``; a target that cannot be one.
    """
    check_samples("samples", samples)
    request = ScanRequest.parse(load(model), image, step=step, scale=scale, where=where, compute=compute)
    given = None if labels is None else parse_labels(labels)
    return tune_modes(
        request, Target(tolerance, agreement), samples=samples, seed=seed, labels=given, progress=progress
    )
