"""Runs a scan whose scores become a file: they go to a store next to it first, which is then converted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fullfield.drawing.score_pictures import widest_band
from fullfield.engine.progress import OnProgress, announce
from fullfield.errors import GeometryError, ImageError
from fullfield.exporters import Options, check_signal_format, export, format_of
from fullfield.exporters.detections import Detections
from fullfield.files import LAYERS
from fullfield.jobs.job import encoder_of
from fullfield.jobs.request import OutputRequest, ScanRequest
from fullfield.jobs.to_store import scan_to_store
from fullfield.mask.geojson import holds_shapes, parse_coordinates
from fullfield.mask.where import Where
from fullfield.store.stored_map import StoredMap


def scan_to_file(request: ScanRequest, output: OutputRequest, progress: OnProgress | None = None) -> StoredMap | None:
    """The scores of every window in a file.

    A picture shows one class, by default the one whose scores span the widest range; of a signal all. Objects (GeoJSON,
    tables, vector files) are those of the encoding's classes; the top class of a cell is that of all classes of the
    model.

    Returns:
        The finished map in the store next to the file, which the caller removes; ``None`` where other processes have
        yet to finish their blocks.

    Raises:
        FullfieldError: as for ``scan_to_store``; or the map cannot be written in the file's format.
    """
    kind, encoder = format_of(output.path), encoder_of(request)
    objects = output.path.suffix.lower() in LAYERS
    classes = request.encoding.classes
    signals = request.model.of_signals
    if signals:
        check_signal_format(output.path)
    if kind == "picture" and not signals and classes is not None and encoder.bands != 1:
        what = f"a picture shows one class, {encoder.bands} are given"
        raise ImageError("classes", what, fix="give one class, or write labels")
    clip = clip_file(request.where, output.path)
    coordinates = parse_coordinates(request.where.coordinates)
    options = Options(detections=Detections(clip=clip, clip_coordinates=coordinates))
    stored = request
    if objects:
        stored = replace(request, encoding=replace(request.encoding, classes=None))
    intermediate = replace(
        output, path=intermediate_store(output.path), existing="resume" if output.overwrite else output.existing
    )
    found = scan_to_store(stored, intermediate, progress, name=output.path)
    if found is None:
        return None
    if kind == "picture" and not signals and found.spec.kind == "scores":
        classes = (found.spec.classes[widest_band(found)],)
    elif not objects:
        classes = None
    budget = request.compute.budget_bytes
    written = export(
        found,
        output.path,
        classes=classes,
        overwrite=output.overwrite,
        options=options if objects else None,
        budget_bytes=budget,
        progress=progress,
    )
    if written.detections is not None:
        announce(progress, "exporting", str(written))
    return found


def clip_file(where: Where, output: Path | None) -> str | None:
    """The file of polygons that objects are cut to; ``None`` where they are not cut.

    Args:
        where: of the scan; its mask's file has the polygons.
        output: that is written, if any.

    Raises:
        GeometryError: the output holds no objects, or the mask is no file of polygons.
    """
    if not where.clip:
        return None
    if output is None or output.suffix.lower() not in LAYERS:
        what = "cuts objects, " + ("and no file is written" if output is None else f"and {output} holds none")
        raise GeometryError("clip", what, fix=f"write {', '.join(LAYERS)}, or leave it out")
    mask = where.mask
    if not isinstance(mask, (str, os.PathLike)) or not holds_shapes(Path(mask)):
        found = "and no mask is given" if mask is None else "and this mask has none"
        what = f"cuts objects to the polygons of the mask, {found}"
        raise GeometryError("clip", what, fix="give mask= (--mask) a GeoJSON or vector file")
    return os.fspath(mask)


def intermediate_store(path: Path) -> Path:
    """The store from which a file is made."""
    return path.with_name(path.name + ".zarr")
