"""``fullfield.scan``: the scores of every window of an image."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, overload

from fullfield.api.scores import Scores
from fullfield.arguments import checks_keywords
from fullfield.engine.progress import announce
from fullfield.errors import GeometryError
from fullfield.files import remove
from fullfield.importers.load import load
from fullfield.jobs.in_memory import scan_in_memory
from fullfield.jobs.request import Existing, OutputRequest, ScanRequest, StepLike, check_existing
from fullfield.jobs.to_file import clip_file, scan_to_file
from fullfield.jobs.to_store import scan_to_store
from fullfield.verification.target import Target

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.importers.load import ModelLike
    from fullfield.mask.where import Where
    from fullfield.planning.compute import Compute
    from fullfield.planning.mode import AnyMode
    from fullfield.store.encoding import Encoding


@overload
def scan(
    model: ModelLike,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    output: None = None,
    encoding: Encoding | None = None,
    compute: Compute | None = None,
    existing: Existing = "resume",
    verify: int = 0,
    progress: OnProgress | None = None,
) -> Scores: ...
@overload
def scan(
    model: ModelLike,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    output: str | os.PathLike[str],
    encoding: Encoding | None = None,
    compute: Compute | None = None,
    existing: Existing = "resume",
    verify: int = 0,
    progress: OnProgress | None = None,
) -> Scores | None: ...
@checks_keywords
def scan(
    model: ModelLike,
    image: object,
    *,
    step: StepLike | None = None,
    mode: AnyMode | Target = "exact",
    scale: float = 1.0,
    where: Where | None = None,
    output: str | os.PathLike[str] | None = None,
    encoding: Encoding | None = None,
    compute: Compute | None = None,
    existing: Existing = "resume",
    verify: int = 0,
    progress: OnProgress | None = None,
) -> Scores | None:
    """The scores of every window of an image.

        scores[k, i, j] == model(image[:, i*step : i*step + h, j*step : j*step + w])[k]

    in ``exact`` mode, up to the rounding of the arithmetic.

    With ``output`` image and scores are streamed: the budget bounds the memory, whatever their size. Finished blocks
    are recorded beside the output, and the same call resumes there after any end: an error, an interruption, a kill, a
    power loss. The final bytes are those of an uninterrupted run.

    Args:
        model: a ``Model``, an ``nn.Module`` or the path of a model file; ``load`` has more options.
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, path, or what ``open`` gives;
            several paths are one image, as for ``open``. Of a model of signals array or tensor ``(c, t)`` or ``(t,)``,
            or a file of samples.
        step: px between windows, one number or ``(y, x)``; by default the network's stride. Of signals samples.
        mode: ``"exact"`` gives the crops' scores. ``"context"`` gives those of the fully convolutional network: layers
            that pad see the neighbouring pixels, and gates slide with the window; it is cheaper, and differs. Between
            the two, ``b`` computes at most ``b`` cells at each edge of a window's map as the crop would, in every
            layer; ``(b, n)`` besides all border cells of maps of at most ``n`` cells a side. A ``Target`` finds the
            fastest mode that meets it on sampled windows of this image, and checks the scores on others.
        scale: factor on the image's size before the scan.
        where: selects windows: region, mask, background, coverage, and what lies beyond the image's edges.
        output: where the scores go: a store ``….zarr``; or a file that is made of one: ``.tif`` (GeoTIFF),
            ``.ome.tif``, ``.npy``, ``.npz``; ``.png``, which shows the encoding's class, else the one whose scores span
            the widest range; ``.geojson``, ``.gpkg`` and ``.fgb``, the detections of the encoding's classes; ``.csv``
            and ``.parquet``, a row a window. By default they are kept in memory.
            With ``where.skip_background=True`` a picture ``….content.png`` beside it shows what was found not
            to be background.
        encoding: which of the scores are stored, as which numbers; all as they are by default.
        compute: memory, tile, method, device, and this process's share of the work.
        existing: how an earlier result is treated: ``resume`` an unfinished one, and return a finished one of the same
            scan; ``restart`` an unfinished one; ``overwrite`` a finished one.
        verify: windows to run as crops afterwards, 0 for none; the result is ``scores.certificate``.
        progress: called with a ``Progress`` at every stage and after every tile, block and batch of crops.

    Returns:
        The scores. Those of an ``output`` that is not a store are read from a temporary store beside it, which is
        removed with them. ``None`` where other processes (``compute.world``) have yet to finish their blocks.

    Raises:
        ResumeError: an unfinished output was begun with another model, image or setting, or is being written.
        FullfieldError: a model, image or argument that cannot be used; the text says where, what and how to mend it.
    """
    check_existing(existing)
    place = None if output is None else OutputRequest.parse(output, existing)
    if isinstance(model, (str, os.PathLike)):
        announce(progress, "reading the model")
    request = ScanRequest.parse(
        load(model),
        image,
        step=step,
        mode="exact" if isinstance(mode, Target) else mode,
        scale=scale,
        where=where,
        encoding=encoding,
        compute=compute,
        samples=verify,
    )
    if isinstance(mode, Target):
        from fullfield.jobs.tuning import tuned

        request = tuned(request, mode, progress)
    if place is None or place.is_store:
        clip_file(request.where, None if place is None else place.path)
    if place is None:
        if request.compute.world > 1:
            raise GeometryError("world", "scores in memory are not shared by processes", fix="give an output")
        return Scores(scan_in_memory(request, progress))
    if place.is_store:
        stored = scan_to_store(request, place, progress)
        return None if stored is None else Scores(stored)
    stored = scan_to_file(request, place, progress)
    if stored is None:
        return None
    scores = Scores(stored)
    weakref.finalize(scores, remove, stored.path)
    return scores
