"""``fullfield.scan``: the scores of every window of an image."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.api.scores import Scores
from fullfield.engine.progress import OnProgress
from fullfield.engine.protocols import Source, WantedCells
from fullfield.engine.run import run
from fullfield.errors import GeometryError
from fullfield.geometry.placement import Placement
from fullfield.importers.load import load
from fullfield.jobs.prepare import AnyRegion, Border, Prepared, Settings, Step, image_of, provenance, set_up
from fullfield.mask.background import Foreground
from fullfield.model.model import Model
from fullfield.planning import Method, Plan
from fullfield.store.maps import MapSpec, ScoreMap
from fullfield.store.memory import MemorySink
from fullfield.verification.certificate import Certificate, compare
from fullfield.verification.crops import Cell, check_samples, run_crops, sample_valid

if TYPE_CHECKING:
    from fullfield.importers.load import ModelLike


def scan(
    net: ModelLike,
    image: object,
    *,
    step: Step | None = None,
    mode: str = "exact",
    border: Border = None,
    edge: str = "valid",
    scale: float = 1.0,
    budget: int | str | None = None,
    tile: tuple[int, int] | None = None,
    method: Method = "auto",
    region: AnyRegion = None,
    mask: object = None,
    coordinates: str = "auto",
    skip_background: bool | Foreground = False,
    min_coverage: float = 0.0,
    verify: int = 0,
    progress: OnProgress | None = None,
) -> Scores:
    """The scores of every window of ``image``.

        scores.array[k, i, j] == net(image[:, i*step : i*step + h, j*step : j*step + w])[k]

    in ``exact`` mode, up to the rounding of the arithmetic.

    Args:
        net: a model, or a module or model file that states its window; else ``load`` it first.
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, or path.
        step: px between windows, one number or ``(y, x)``; by default the network's stride.
        mode: ``exact`` gives the crops' scores; ``context`` those of the fully convolutional network, in which layers
            that pad see the neighbouring pixels, and gates slide with the window. It is cheaper, and differs.
        border: between the two: recompute at most so many cells at each edge of a window's map as the crop would, in
            every layer. 0 is ``context``; the more, the dearer and the nearer to ``exact``. A pair ``(2, 14)`` also
            keeps all border cells of maps of at most 14 cells a side.
        edge: ``valid`` scores windows inside the image; ``reflect``, ``replicate`` and ``constant`` (black) continue
            the image so that a window is centred on every step of it, corner to corner.
        scale: factor on the image's size before scanning.
        budget: memory allowed, bytes or a text such as ``"2GB"``, above that of the image, the network and the scores;
            2 GiB by default, or what one window takes where that is more.
        tile: rows and columns of windows computed together; chosen by the plan by default.
        method: how steps that the network's stride does not divide are run: ``atrous`` spreads operators over one
            fine map, ``fragments`` runs them on its interleaved parts, ``shifted`` scans the image several times. The
            scores are the same; by default the cheapest is taken.
        region: part of the image to scan: ``"y0:y1,x0:x1"`` or ``(y0, y1, x0, x1)``, px of the original image.
        mask: where to look: a file (a picture that is not 0 there, or GeoJSON) or an array ``(y, x)``. Windows that
            touch none of it are not computed; their scores are NaN.
        coordinates: of a GeoJSON mask: ``image`` (px), ``map``, or ``auto``.
        skip_background: find what holds tissue or other content on a thumbnail, and look only there.
        min_coverage: least part of a window that mask, content or valid pixels must cover, 0 to 1; 0 asks for a touch.
        verify: windows to run as crops afterwards, 0 for none; what is found becomes the scores' ``certificate``.
        progress: called after every tile, and after every batch of crops.

    Raises:
        FullfieldError: a network, image or argument that cannot be used; the text says where, what and how to mend it.
    """
    if verify:
        check_samples("verify", verify)
    settings = Settings(
        step, mode, border, edge, scale, budget, tile, method, region, mask, coordinates, skip_background, min_coverage
    )
    work = set_up(load(net), image, settings)
    started = time.perf_counter()
    array = run_plan(work.prepared, work.plan, work.source, where=work.where, progress=progress)
    made_by = provenance(work) | {"seconds": round(time.perf_counter() - started, 3)}
    classifier = work.prepared.net
    about = image_of(work.source).original.about
    scores = Scores.from_array(
        array,
        work.placement,
        class_names=classifier.class_names,
        mode=work.plan.mode,
        provenance=made_by,
        georeference=about.georeference,
        mpp=about.mpp,
    )
    if verify:
        certificate = certify(classifier, scores.map, work.source, samples=verify, seed=0, progress=progress)
        return scores.with_certificate(certificate)
    return scores


def run_plan(
    prepared: Prepared,
    plan: Plan,
    source: Source,
    *,
    where: WantedCells | None = None,
    progress: OnProgress | None = None,
) -> NDArray[np.floating]:
    """The scores of a plan in memory, NaN where they are not wanted. Shape: ``(k, y, x)``"""
    kind = "float32" if prepared.net.dtype == torch.bfloat16 else str(prepared.net.dtype).removeprefix("torch.")
    sink = MemorySink(prepared.net.classes, plan, kind)
    run(plan, prepared.canonical, source, sink, where=where, progress=progress)
    return sink.array


def check_verifiable(spec: MapSpec, net: Model) -> None:
    """Passes if what a map holds can be compared with the crops' scores.

    Raises:
        GeometryError: it is something else.
    """
    whole = spec.dtype in ("float32", "float64") or spec.dtype == str(net.dtype).removeprefix("torch.")
    if spec.kind == "scores" and spec.activation is None and whole:
        return
    what = "labels" if spec.kind == "labels" else f"{spec.activation or 'scores'} in {spec.dtype}"
    raise GeometryError(
        "verify",
        f"{what} cannot be compared with the crops' scores",
        fix="verify a scan that keeps the scores as they are",
    )


def certify(
    net: Model, scores: ScoreMap, source: Source, *, samples: int, seed: int, progress: OnProgress | None = None
) -> Certificate:
    """The scores beside those of the original network on sampled windows."""
    spec = scores.spec
    cells = sample_valid(spec.shape[1:], samples, seed, lambda i, j: bool(scores.valid(i, i + 1, j, j + 1).all()))
    found = np.stack([scores.read(i, i + 1, j, j + 1)[:, 0, 0] for i, j in cells])
    return certificate_of(
        net,
        found,
        cells,
        source,
        place=spec.placement,
        mode=spec.mode,
        classes=spec.classes,
        seed=seed,
        progress=progress,
    )


def certificate_of(
    net: Model,
    found: NDArray[np.floating],
    cells: list[Cell],
    source: Source,
    *,
    place: Placement,
    mode: str,
    classes: tuple[int, ...] | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Certificate:
    """Scores ``(cells, k)`` of some cells beside those of the original network, of all classes or some."""
    crops = run_crops(net, source, cells, place.step, progress=progress)
    return compare(
        found,
        crops if classes is None else crops[:, list(classes)],
        cells,
        mode=mode,
        windows=math.prod(place.shape),
        dtype=str(net.dtype).removeprefix("torch."),
        seed=seed,
    )
