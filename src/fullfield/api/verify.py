"""``fullfield.verify``: a scan compared with the crops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fullfield.api.nets import as_classifier
from fullfield.api.prepare import Step, read_image
from fullfield.api.scan import certify, scan
from fullfield.capture.preprocessing import Preprocessing
from fullfield.engine.run import Progress
from fullfield.errors import GeometryError
from fullfield.io.scores import Scores
from fullfield.verify.certificate import Certificate

if TYPE_CHECKING:
    from fullfield.api.nets import Net


def verify(
    net: Net,
    image: object,
    *,
    scores: Scores | None = None,
    step: Step | None = None,
    mode: str = "exact",
    samples: int = 64,
    seed: int = 0,
    scale: float = 1.0,
    window: int | tuple[int, int] | None = None,
    preprocessing: str | Preprocessing | None = None,
    budget: int | str | None = None,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    trust: bool = False,
) -> Certificate:
    """The original network run on sampled windows as crops, beside the scan's scores of the same windows.

    Args:
        net: a classifier, an ``nn.Module`` or the path of a model file.
        image: as for ``scan``.
        scores: what an earlier ``scan`` of the same image gave; scanned anew by default.
        samples: windows to compare: the four corners of the map and others drawn at random.
        seed: of the draw.
        step, mode, scale, window, preprocessing, budget, device, progress, trust: as for ``scan``.

    Raises:
        FullfieldError: as for ``scan``; scores that do not belong to this network or image.
    """
    if samples < 1:
        raise GeometryError("samples", f"{samples} is not a positive number", fix="use 64, say")
    classifier = as_classifier(net, window=window, preprocessing=preprocessing, trust=trust)
    if device is not None:
        classifier = classifier.to(torch.device(device))
    if scores is None:
        scores = scan(classifier, image, step=step, mode=mode, scale=scale, budget=budget, progress=progress)
        source = read_image(classifier, image, scale=scale)
    else:
        source = read_image(classifier, image, scale=scores.provenance.get("settings", {}).get("scale", scale))
        _check_same(classifier.window, classifier.classes, source.scanned_size, scores)
    return certify(classifier, scores, source, samples=samples, seed=seed)


def _check_same(window: tuple[int, int], classes: int, size: tuple[int, int], scores: Scores) -> None:
    """Passes if the scores can come from this network and image."""
    placement = scores.placement
    pairs = (
        ("window", window, placement.window),
        ("image size", size, placement.scanned),
        ("number of classes", classes, scores.array.shape[0]),
    )
    for name, wanted, found in pairs:
        if wanted != found:
            raise GeometryError(
                "scores", f"{name} {found} is not the {wanted} of this network and image", fix="scan again"
            )
