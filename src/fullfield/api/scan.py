"""``fullfield.scan``: the scores of every window of an image."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from fullfield._version import __version__
from fullfield.api.nets import as_classifier, parse_bytes
from fullfield.api.prepare import Prepared, Step, parse_mode, parse_step, place, plan_scan, prepare, read_image
from fullfield.capture.classifier import Classifier
from fullfield.capture.preprocessing import Preprocessing
from fullfield.engine.protocols import Source
from fullfield.engine.run import Progress, run
from fullfield.io.memory import ArraySink
from fullfield.io.scores import Scores
from fullfield.plan import Plan
from fullfield.verify.certificate import Certificate, compare
from fullfield.verify.crops import run_crops, sample_cells

if TYPE_CHECKING:
    from fullfield.api.nets import Net


def scan(
    net: Net,
    image: object,
    *,
    step: Step | None = None,
    mode: str = "exact",
    scale: float = 1.0,
    window: int | tuple[int, int] | None = None,
    preprocessing: str | Preprocessing | None = None,
    budget: int | str | None = None,
    tile: tuple[int, int] | None = None,
    batch: int | None = None,
    device: str | torch.device | None = None,
    verify: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    trust: bool = False,
) -> Scores:
    """The scores of every window of ``image``.

        scores.array[k, i, j] == net(image[:, i*step : i*step + h, j*step : j*step + w])[k]

    in ``exact`` mode, up to the rounding of the arithmetic.

    Args:
        net: a classifier, an ``nn.Module`` or the path of a model file.
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, or path.
        step: px between windows, one number or ``(y, x)``; by default the network's stride.
        mode: ``exact`` gives the crops' scores; ``context`` those of the fully convolutional network, in which layers
            that pad see the neighbouring pixels. It is cheaper, and differs.
        scale: factor on the image's size before scanning.
        window: height and width of the window, px, where the network does not carry it.
        preprocessing: a preset's name or a value, where it is not the network's own.
        budget: memory allowed, bytes or a text such as ``"2GB"``.
        tile: rows and columns of windows computed together; chosen by the plan by default.
        batch: windows at a time where the network runs per window; chosen by the plan by default.
        device: where to compute; by default where the network lies.
        verify: windows to run as crops afterwards; the result is the scores' ``certificate``.
        seed: of the sample to verify.
        progress: called with windows done, windows in all, and pixels done.
        trust: allow model files that can run code.

    Raises:
        FullfieldError: a network, image or argument that cannot be used; the text says where, what and how to mend it.
    """
    classifier = as_classifier(net, window=window, preprocessing=preprocessing, trust=trust)
    if device is not None:
        classifier = classifier.to(torch.device(device))
    chosen = parse_mode(mode)
    source = read_image(classifier, image, scale=scale)
    prepared = prepare(classifier)
    plan = plan_scan(
        prepared,
        source,
        step=parse_step(step, prepared.stride),
        mode=chosen,
        budget=None if budget is None else parse_bytes(budget),
        tile=tile,
        batch=batch,
    )
    started = time.perf_counter()
    array = run_plan(prepared, plan, source, progress=progress)
    seconds = time.perf_counter() - started
    provenance = _provenance(prepared, plan, scale) | {"seconds": round(seconds, 3)}
    scores = Scores(array, place(classifier, source, plan.step), classifier.class_names, chosen, provenance)
    if verify:
        return replace(scores, certificate=certify(classifier, scores, source, samples=verify, seed=seed).to_dict())
    return scores


def run_plan(prepared: Prepared, plan: Plan, source: Source, *, progress: Progress | None = None) -> Any:
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


def _provenance(prepared: Prepared, plan: Plan, scale: float) -> dict[str, Any]:
    return {
        "fullfield": __version__,
        "model": prepared.net.name,
        "model_hash": prepared.net.hash,
        "settings": {
            "step": list(plan.step),
            "mode": plan.mode,
            "scale": scale,
            "window": list(prepared.net.window),
            "preprocessing": prepared.net.preprocessing.to_json(),
            "tile": list(plan.tile),
        },
    }
