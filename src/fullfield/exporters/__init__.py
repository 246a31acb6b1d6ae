"""Score maps in the formats of other programs, each written in one pass with bounded memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fullfield.engine.progress import OnProgress
from fullfield.errors import ImageError
from fullfield.exporters.geojson import Coordinates, Detections, Geometry, write_geojson
from fullfield.exporters.geotiff import Compression, write_geotiff
from fullfield.exporters.grid import Grid, band_indices, cells
from fullfield.exporters.labels import labelled, stored_labels
from fullfield.exporters.npy import write_npy
from fullfield.exporters.ometiff import write_ometiff
from fullfield.exporters.picture import write_png
from fullfield.exporters.resample import Method, resampled
from fullfield.exporters.store import in_memory, write_store
from fullfield.files import check_writable
from fullfield.store.maps import ScoreMap

SUFFIXES = (".tif", ".tiff", ".npy", ".geojson", ".png", ".zarr", ".npz")
Resolution = Literal["cells", "image"] | tuple[int, int]


@dataclass(frozen=True)
class Options:
    """How a map is exported; what a format has no use for must stay as it is.

    Args:
        labels: the class with the greatest score instead of the scores (TIFF, npy, PNG, zarr).
        resolution: ``cells``, a pixel a cell; ``image``, the original image's pixels; or height and width of the whole
            image in pixels (TIFF, npy, PNG).
        resample: ``nearest``, ``bilinear`` or ``lanczos``, where the resolution is not ``cells``.
        cog: Cloud-optimised GeoTIFF, by default; ``False`` for a plain one (TIFF).
        compression: ``deflate``, ``zstd``, ``lzw`` or ``none`` (TIFF).
        threshold, geometry, coordinates, min_distance: of detections, see ``Detections`` (GeoJSON).
    """

    labels: bool = False
    resolution: Resolution = "cells"
    resample: Method = "nearest"
    cog: bool = True
    compression: Compression = "deflate"
    threshold: float | None = None
    geometry: Geometry = "polygons"
    coordinates: Coordinates = "image"
    min_distance: float | None = None


_USES = {
    "geotiff": {"labels", "resolution", "resample", "cog", "compression"},
    "ometiff": {"labels", "resolution", "resample"},
    "npy": {"labels", "resolution", "resample"},
    "png": {"labels", "resolution", "resample"},
    "geojson": {"threshold", "geometry", "coordinates", "min_distance"},
    "zarr": {"labels"},
    "npz": set[str](),
}


def export(
    scores: ScoreMap,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[int | str] | None = None,
    overwrite: bool = False,
    options: Options | None = None,
    progress: OnProgress | None = None,
) -> None:
    """Writes a map in the format of the suffix: ``.tif .ome.tif .npy .geojson .png .zarr .npz``.

    The file appears whole or not at all. Memory is bounded whatever the map's size; ``.npz`` and ``.png``, which hold
    it, take no more than 4 GiB.

    Args:
        scores: a map in memory or on disk.
        path: where to; ``.ome.tif`` and ``.ome.tiff`` are OME-TIFF, other TIFFs are GeoTIFF.
        classes: those wanted, by index among the network's classes or by name; all by default.
        overwrite: replace what is there.
        options: how; each format has its own.
        progress: called after every block.

    Raises:
        FullfieldError: the text says where, what and how to mend it.
    """
    target = check_writable(path, overwrite, suffixes=SUFFIXES)
    options = options or Options()
    kind = format_of(target)
    _check_options(kind, options)
    if kind == "geojson":
        _write_detections(scores, target, classes, options, overwrite=overwrite, progress=progress)
    elif kind == "npz":
        in_memory(scores, classes, str(target)).save(target, overwrite=overwrite)
    elif kind == "zarr":
        write_store(_grid(scores, classes, options), target, scores, overwrite=overwrite, progress=progress)
    else:
        _write_grid(_grid(scores, classes, options), target, options, overwrite=overwrite, progress=progress)


def format_of(path: Path) -> str:
    """The format that a name says.

    Examples:
        >>> format_of(Path("a.ome.tiff")), format_of(Path("a.TIF")), format_of(Path("a.npy"))
        ('ometiff', 'geotiff', 'npy')
    """
    name = path.name.lower()
    if name.endswith((".tif", ".tiff")):
        return "ometiff" if name.endswith((".ome.tif", ".ome.tiff")) else "geotiff"
    return path.suffix.lower().removeprefix(".")


def _check_options(kind: str, options: Options) -> None:
    """Raises where an option says something that the format has no use for."""
    plain = Options()
    for name in options.__dataclass_fields__:
        value = getattr(options, name)
        if value != getattr(plain, name) and name not in _USES[kind]:
            fits = ", ".join(sorted(k for k, used in _USES.items() if name in used))
            raise ImageError(name, f"{value!r} has no meaning for {kind}", fix=f"leave it out; it is for {fits}")


def _grid(scores: ScoreMap, classes: Sequence[int | str] | None, options: Options) -> Grid:
    """What is written: stored labels, chosen bands, or their top class, at the resolution wanted."""
    stored = scores.spec.kind == "labels"
    if stored and classes is not None:
        band_indices(scores, classes)  # says why not
    grid = stored_labels(scores) if stored else cells(scores, classes)
    labels = options.labels and not stored
    if options.resolution == "cells":
        return labelled(grid) if labels else grid
    image = scores.spec.placement.image
    size = image if options.resolution == "image" else options.resolution
    if isinstance(size, str):
        raise ImageError("resolution", f"{size!r} is not known", fix="use cells, image, or (height, width)")
    return resampled(grid, image, size, options.resample, labels=labels)


def _write_grid(grid: Grid, target: Path, options: Options, *, overwrite: bool, progress: OnProgress | None) -> None:
    kind = format_of(target)
    if kind == "geotiff":
        write_geotiff(
            grid, target, overwrite=overwrite, progress=progress, cog=options.cog, compression=options.compression
        )
        return
    write = {"ometiff": write_ometiff, "npy": write_npy, "png": write_png}[kind]
    write(grid, target, overwrite=overwrite, progress=progress)


def _write_detections(
    scores: ScoreMap,
    target: Path,
    classes: Sequence[int | str] | None,
    options: Options,
    *,
    overwrite: bool,
    progress: OnProgress | None,
) -> None:
    """The top class is sought among all that the map holds, whatever classes are wanted."""
    stored = scores.spec.kind == "labels"
    grid = stored_labels(scores) if stored else cells(scores)
    if stored:
        names = {name: value for value, (_, name) in enumerate(grid.colours or ())}
        wanted = grid.classes if classes is None else tuple(_label(cls, grid.classes, names) for cls in classes)
    else:
        wanted = tuple(grid.classes[band] for band in band_indices(scores, classes))
    detections = Detections(options.threshold, options.geometry, options.coordinates, options.min_distance)
    write_geojson(grid, target, wanted, detections, overwrite=overwrite, progress=progress)


def _label(cls: int | str, classes: tuple[int, ...], names: dict[str, int]) -> int:
    """The value of a class in a map of labels."""
    if isinstance(cls, str):
        value = names.get(cls, int(cls) if cls.isdecimal() else -1)
    else:
        value = cls
    if value not in classes:
        raise ImageError("class", f"{cls!r} is none of the map's {len(classes)} classes", fix="give one of its classes")
    return value
