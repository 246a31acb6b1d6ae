"""``fullfield.scan``: the scores of every window of an image."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fullfield.api.nets import as_classifier
from fullfield.api.prepare import Border, Prepared, Settings, Step, provenance, set_up
from fullfield.capture.classifier import Classifier
from fullfield.engine.protocols import Source
from fullfield.engine.run import Progress, run
from fullfield.io.memory import ArraySink
from fullfield.io.scores import Scores
from fullfield.plan import Method, Plan
from fullfield.verify.certificate import Certificate, compare
from fullfield.verify.crops import check_samples, run_crops, sample_cells

if TYPE_CHECKING:
    from fullfield.api.nets import Net


def scan(
    net: Net,
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
    verify: int = 0,
    progress: Progress | None = None,
) -> Scores:
    """The scores of every window of ``image``.

        scores.array[k, i, j] == net(image[:, i*step : i*step + h, j*step : j*step + w])[k]

    in ``exact`` mode, up to the rounding of the arithmetic.

    Args:
        net: a classifier, or a module or model file that carries its window; else ``capture`` or ``load`` it first.
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
        budget: memory allowed, bytes or a text such as ``"2GB"``, above that of the image, the network and the scores.
        tile: rows and columns of windows computed together; chosen by the plan by default.
        method: how steps that the network's stride does not divide are run: ``atrous`` spreads operators over one
            fine map, ``fragments`` runs them on its interleaved parts, ``shifted`` scans the image several times. The
            scores are the same; by default the cheapest is taken.
        verify: windows to run as crops afterwards, 0 for none; what is found becomes the scores' ``certificate``.
        progress: called with windows done, windows in all, and pixels done.

    Raises:
        FullfieldError: a network, image or argument that cannot be used; the text says where, what and how to mend it.
    """
    if verify:
        check_samples("verify", verify)
    settings = Settings(step, mode, border, edge, scale, budget, tile, method)
    work = set_up(as_classifier(net), image, settings)
    started = time.perf_counter()
    array = run_plan(work.prepared, work.plan, work.source, progress=progress)
    made_by = provenance(work) | {"seconds": round(time.perf_counter() - started, 3)}
    classifier = work.prepared.net
    scores = Scores(array, work.placement, classifier.class_names, work.plan.mode, made_by)
    if verify:
        certificate = certify(classifier, scores, work.source, samples=verify, seed=0)
        return replace(scores, certificate=certificate.to_dict())
    return scores


def run_plan(
    prepared: Prepared, plan: Plan, source: Source, *, progress: Progress | None = None
) -> NDArray[np.floating]:
    """The scores of a plan in memory. Shape: ``(k, y, x)``"""
    kind = "float32" if prepared.net.dtype == torch.bfloat16 else str(prepared.net.dtype).removeprefix("torch.")
    sink = ArraySink(prepared.net.classes, plan.shape, kind)
    run(plan, prepared.canonical, source, sink, progress=progress)
    return sink.array


def certify(net: Classifier, scores: Scores, source: Source, *, samples: int, seed: int) -> Certificate:
    """The scores beside those of the original network on sampled windows."""
    shape = scores.placement.shape
    cells = sample_cells(shape, samples, seed)
    crops = run_crops(net, source, cells, scores.placement.step)
    found = scores.array[:, [i for i, _ in cells], [j for _, j in cells]].T
    return compare(
        found,
        crops,
        cells,
        mode=scores.mode,
        windows=shape[0] * shape[1],
        dtype=str(net.dtype).removeprefix("torch."),
        seed=seed,
    )
