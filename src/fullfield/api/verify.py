"""``fullfield.verify``: scores compared with the crops."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fullfield.api.scan import scan
from fullfield.api.scores import Scores, open_scores
from fullfield.arguments import checks_keywords
from fullfield.errors import GeometryError
from fullfield.importers.load import load
from fullfield.jobs.certify import certify, check_comparable
from fullfield.jobs.source import open_source
from fullfield.mask.where import Where
from fullfield.store.record import plain_json
from fullfield.verification.certificate import Certificate
from fullfield.verification.crops import check_samples

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.image.windowed import WindowedSource
    from fullfield.importers.load import ModelLike
    from fullfield.jobs.request import StepLike
    from fullfield.model.model import Model
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode
    from fullfield.store.maps import MapSpec


@checks_keywords
def verify(
    model: ModelLike,
    image: object,
    *,
    scores: Scores | str | os.PathLike[str] | None = None,
    samples: int = 64,
    seed: int = 0,
    step: StepLike | None = None,
    mode: AnyMode = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    compute: Compute | None = None,
    progress: OnProgress | None = None,
) -> Certificate:
    """Scores of sampled windows compared with those of the original network, run on the same windows as crops.

    Args:
        model: as for ``scan``.
        image: as for ``scan``.
        scores: of an earlier scan of the same image, in memory or on disk; by default the image is scanned.
        samples: windows to compare: the four corners of the map and others drawn at random.
        seed: of the draw.
        step, mode, scale, where, compute: as for ``scan``, where the image is to be scanned.
        progress: called with a ``Progress`` after every tile and every batch of crops.

    Raises:
        GeometryError: scores that do not belong to this model or image, or cannot be compared.
        FullfieldError: as for ``scan``.
    """
    check_samples("samples", samples)
    net = load(model)
    if scores is None:
        scores = scan(net, image, step=step, mode=mode, scale=scale, where=where, compute=compute, progress=progress)
    elif isinstance(scores, (str, os.PathLike)):
        scores = open_scores(scores)
    spec = scores.map.spec
    check_comparable(spec, net)
    source = scanned_source(net, image, spec)
    check_same_scan(net, source, spec)
    return certify(net, scores.map, source, samples=samples, seed=seed, progress=progress)


def scanned_source(model: Model, image: object, spec: MapSpec) -> WindowedSource:
    """The image as it was scanned for a map, as the map's provenance says."""
    used = spec.provenance.get("settings", {})
    where = used.get("where", {})
    edge = where.get("edge", used.get("edge", "valid"))  # maps of 0.1.0 say the edge beside ``where``
    return open_source(
        model,
        image,
        step=spec.placement.step,
        scale=used.get("scale", 1.0),
        where=Where(region=where.get("region"), edge=edge),
    )


def check_same_scan(model: Model, source: WindowedSource, spec: MapSpec) -> None:
    """Checks that a map can be one of this model and image.

    Raises:
        GeometryError: it is not; the text says what differs.
    """
    place, used = spec.placement, spec.provenance.get("settings", {})
    span = source.image.original.metadata.value_range
    pairs = (
        ("window", model.window, place.window),
        ("image size", source.scanned_size, place.scanned),
        ("number of classes", model.classes, max(model.classes, max(spec.classes) + 1)),
        ("model", model.hash, spec.provenance.get("model_hash", model.hash)),
        ("value range", plain_json(span), used.get("value_range", plain_json(span))),
    )
    for name, wanted, seen in pairs:
        if wanted != seen:
            raise GeometryError(
                "scores", f"{name} {seen} is not the {wanted} of this model and image", fix="scan again"
            )
