"""``fullfield.verify``: a scan compared with the crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullfield.api.nets import as_classifier
from fullfield.api.prepare import read_image
from fullfield.api.scan import certify, scan
from fullfield.errors import GeometryError
from fullfield.io.scores import Scores
from fullfield.verify.certificate import Certificate
from fullfield.verify.crops import check_samples

if TYPE_CHECKING:
    from fullfield.api.nets import Net


def verify(
    net: Net, image: object, *, scores: Scores | None = None, samples: int = 64, seed: int = 0, **settings: Any
) -> Certificate:
    """The original network run on sampled windows as crops, beside the scan's scores of the same windows.

    Args:
        net: as for ``scan``.
        image: as for ``scan``.
        scores: what an earlier ``scan`` of the same image gave; by default the image is scanned.
        samples: windows to compare: the four corners of the map and others drawn at random.
        seed: of the draw.
        settings: ``scan``'s own arguments, where it is to be scanned.

    Raises:
        FullfieldError: as for ``scan``; scores that do not belong to this network or image.
    """
    check_samples("samples", samples)
    classifier = as_classifier(net)
    if scores is None:
        scores = scan(classifier, image, **settings)
    used = scores.provenance.get("settings", {})
    source = read_image(
        classifier,
        image,
        scale=used.get("scale", 1.0),
        edge=used.get("edge", "valid"),
        step=scores.placement.step,
        region=used.get("where", {}).get("region"),
    )
    placement = scores.placement
    pairs = (
        ("window", classifier.window, placement.window),
        ("image size", source.scanned_size, placement.scanned),
        ("number of classes", classifier.classes, scores.array.shape[0]),
        ("model", classifier.hash, scores.provenance.get("model_hash", classifier.hash)),
    )
    for name, wanted, found in pairs:
        if wanted != found:
            raise GeometryError(
                "scores", f"{name} {found} is not the {wanted} of this network and image", fix="scan again"
            )
    return certify(classifier, scores, source, samples=samples, seed=seed)
