"""``fullfield.verify``: a scan compared with the crops."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fullfield.api.scan import certify, check_verifiable, scan
from fullfield.api.scores import Scores, open_scores
from fullfield.errors import GeometryError
from fullfield.importers.load import load
from fullfield.jobs.prepare import read_image
from fullfield.store.maps import ScoreMap
from fullfield.verification.certificate import Certificate
from fullfield.verification.crops import check_samples

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike


def verify(
    net: ModelLike,
    image: object,
    *,
    scores: Scores | str | os.PathLike[str] | None = None,
    samples: int = 64,
    seed: int = 0,
    **settings: Any,
) -> Certificate:
    """The original network run on sampled windows as crops, beside the scan's scores of the same windows.

    Args:
        net: as for ``scan``.
        image: as for ``scan``.
        scores: what an earlier scan of the same image gave, in memory or on disk; by default the image is scanned.
        samples: windows to compare: the four corners of the map and others drawn at random.
        seed: of the draw.
        settings: ``scan``'s own arguments, where it is to be scanned.

    Raises:
        FullfieldError: as for ``scan``; scores that do not belong to this network or image.
    """
    check_samples("samples", samples)
    classifier = load(net)
    found: ScoreMap
    if scores is None:
        found = scan(classifier, image, **settings).map
    else:
        found = (open_scores(scores) if isinstance(scores, (str, os.PathLike)) else scores).map
    spec = found.spec
    check_verifiable(spec, classifier)
    used = spec.provenance.get("settings", {})
    place = spec.placement
    source = read_image(
        classifier,
        image,
        scale=used.get("scale", 1.0),
        edge=used.get("edge", "valid"),
        step=place.step,
        region=used.get("where", {}).get("region"),
    )
    pairs = (
        ("window", classifier.window, place.window),
        ("image size", source.scanned_size, place.scanned),
        ("number of classes", classifier.classes, max(classifier.classes, max(spec.classes) + 1)),
        ("model", classifier.hash, spec.provenance.get("model_hash", classifier.hash)),
    )
    for name, wanted, seen in pairs:
        if wanted != seen:
            raise GeometryError(
                "scores", f"{name} {seen} is not the {wanted} of this network and image", fix="scan again"
            )
    return certify(classifier, found, source, samples=samples, seed=seed)
