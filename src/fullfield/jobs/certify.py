"""Compares a score map with the scores of the original network, run on sampled windows as crops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fullfield.engine.progress import OnProgress
from fullfield.engine.protocols import Source
from fullfield.errors import GeometryError
from fullfield.image.input_summary import input_summary
from fullfield.image.turned import ScannedSource
from fullfield.jobs.job import ScanJob
from fullfield.model.model import Model
from fullfield.store.maps import MapSpec, ScoreMap
from fullfield.verification.certificate import Certificate, compare
from fullfield.verification.crops import Cell, crops_alone, run_crops, sample_valid
from fullfield.verification.target import Target, TargetCheck


def check_comparable(spec: MapSpec, model: Model) -> None:
    """Passes if what a map holds can be compared with the crops' scores.

    Raises:
        GeometryError: it holds labels, probabilities or rounded numbers.
    """
    whole = spec.dtype in ("float32", "float64") or spec.dtype == str(model.dtype).removeprefix("torch.")
    if spec.kind == "scores" and spec.activation is None and whole:
        return
    what = "labels" if spec.kind == "labels" else f"{spec.activation or 'scores'} in {spec.dtype}"
    raise GeometryError(
        "verify",
        f"{what} cannot be compared with the crops' scores",
        fix="verify a scan that stores the scores as they are",
    )


def certify(
    model: Model,
    scores: ScoreMap,
    source: ScannedSource,
    *,
    samples: int,
    seed: int = 0,
    target: Target | None = None,
    progress: OnProgress | None = None,
) -> Certificate:
    """The scores of sampled windows against those of the original network.

    Args:
        model: the original network.
        scores: the map.
        source: the image as it was scanned.
        samples: windows to compare: the corners of the map and others drawn at random, all of them with scores.
        seed: of the draw.
        target: what the windows are to show; ``None`` for what the map's mode promises.
        progress: called after every batch of crops.
    """
    spec = scores.spec
    cells = sample_valid(spec.shape[1:], samples, seed, lambda i, j: bool(scores.valid(i, i + 1, j, j + 1).all()))
    found, crops = scores_and_crops(model, scores, source, cells, progress=progress)
    certificate = compare(
        found,
        crops,
        cells,
        mode=spec.mode,
        windows=math.prod(spec.placement.shape),
        dtype=str(model.dtype).removeprefix("torch."),
        seed=seed,
        precision=spec.precision,
        alone=_scores_alone(model, spec, source, cells),
    )
    features = model.features is not None
    check = None if target is None else TargetCheck.of(target, found, crops, features=features)
    if features:
        certificate = replace(certificate, top1_agreement=None)
    return replace(certificate, check=check, input=str(input_summary(source.image, model.resize, model.standardise)))


def certify_scan(job: ScanJob, scores: ScoreMap, progress: OnProgress | None = None) -> Certificate:
    """The certificate that a scan's request asks for, of the scores that it gave."""
    request = job.request
    return certify(
        request.model,
        scores,
        job.source,
        samples=request.samples,
        seed=request.seed,
        target=request.target,
        progress=progress,
    )


def scores_and_crops(
    model: Model, scores: ScoreMap, source: Source, cells: list[Cell], *, progress: OnProgress | None = None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Scores ``(cells, bands)`` of some cells of a map, and those of the original network."""
    spec = scores.spec
    found = np.stack([scores.read(i, i + 1, j, j + 1)[:, 0, 0] for i, j in cells])
    crops = run_crops(model, source, cells, spec.placement.step, progress=progress)
    return found, crops[:, list(spec.classes)]


def _scores_alone(model: Model, spec: MapSpec, source: Source, cells: list[Cell]) -> dict[int, NDArray[np.floating]]:
    """Scores ``(bands,)`` of some cells' crops, run alone, by their index among the cells."""
    chosen = crops_alone(len(cells))
    if not chosen:
        return {}
    rows = run_crops(model, source, [cells[k] for k in chosen], spec.placement.step, batch=1)
    return dict(zip(chosen, rows[:, list(spec.classes)], strict=True))
