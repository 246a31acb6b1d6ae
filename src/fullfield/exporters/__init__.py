"""Writes score maps in the formats of other programs, each in one pass with bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fullfield.errors import ImageError
from fullfield.files import LAYERS, PICTURES, TABLES, check_writable
from fullfield.text import number_of

if TYPE_CHECKING:
    from fullfield.engine.progress import OnProgress
    from fullfield.exporters.detections import Detections
    from fullfield.exporters.geotiff import Compression
    from fullfield.exporters.grid import Classes, ExportGrid
    from fullfield.exporters.resample import ResampleMethod
    from fullfield.store.maps import ScoreMap

SUFFIXES = (".zarr", ".npz", ".tif", ".tiff", ".npy", *LAYERS, *PICTURES)
Resolution = Literal["cells", "image"] | tuple[int, int]


@dataclass(frozen=True)
class Options:
    """How a map is exported; options that the format does not use must keep their defaults.

    Args:
        labels: the class with the greatest score instead of the scores (TIFF, npy, pictures, zarr).
        resolution: ``cells``, a pixel a cell; ``image``, the original image's pixels; or height and width of the whole
            image in pixels (TIFF, npy, pictures).
        resample: ``nearest``, ``bilinear`` or ``lanczos``, where the resolution is not ``cells``.
        cog: write a Cloud-optimised GeoTIFF; ``False`` for a plain one.
        compression: of GeoTIFF: ``deflate``, ``zstd``, ``lzw`` or ``none``.
        detections: which cells are detections, and what an object is (GeoJSON, tables, vector files).
    """

    labels: bool = False
    resolution: Resolution = "cells"
    resample: ResampleMethod = "nearest"
    cog: bool = True
    compression: Compression = "deflate"
    detections: Detections | None = None


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Args:
        path: of the file or folder.
        bytes: its size.
        detections: number of objects in a GeoJSON, a table or a vector file; ``None`` for other formats.
    """

    path: Path
    bytes: int
    detections: int | None = None

    def __str__(self) -> str:
        found = "" if self.detections is None else f", {number_of(self.detections, 'object')}"
        return f"{self.path}, {self.bytes} bytes{found}"


_USES = {
    "geotiff": {"labels", "resolution", "resample", "cog", "compression"},
    "ometiff": {"labels", "resolution", "resample"},
    "npy": {"labels", "resolution", "resample"},
    "picture": {"labels", "resolution", "resample"},
    **{suffix[1:]: {"detections"} for suffix in LAYERS},
    "zarr": {"labels"},
    "npz": set[str](),
}


def export(
    scores: ScoreMap,
    path: str | os.PathLike[str],
    *,
    classes: Classes = None,
    overwrite: bool = False,
    options: Options | None = None,
    budget_bytes: int | None = None,
    progress: OnProgress | None = None,
) -> Exported:
    """Writes a map in the format of the suffix: ``.zarr .npz .tif .ome.tif .npy``, a picture, or objects of the map.

    The file appears whole or not at all. Memory is bounded whatever the map's size; ``.npz`` and pictures, of which all
    is in memory, take no more than 4 GiB, and are refused where the budget is less than they take.

    Args:
        scores: a map in memory or on disk.
        path: where to; ``.ome.tif`` and ``.ome.tiff`` are OME-TIFF, other TIFFs are GeoTIFF.
        classes: by index among the network's classes or by name; all by default.
        overwrite: replace an earlier file.
        options: how; each format has its own.
        budget_bytes: memory allowed; 0.3 GB by default.
        progress: called after every block.

    Raises:
        FullfieldError: the text says where, what and how to mend it.
    """
    target = check_writable(path, overwrite, suffixes=SUFFIXES)
    options = options or Options()
    kind = format_of(target)
    _check_options(kind, options)
    if scores.spec.of_signal:
        check_signal_format(target)
    detections = None
    if f".{kind}" in LAYERS:
        detections = _write_rows(
            scores,
            target,
            classes,
            options.detections,
            overwrite=overwrite,
            budget_bytes=budget_bytes,
            progress=progress,
        )
    elif kind == "npz":
        from fullfield.exporters.store import write_archive

        write_archive(scores, target, classes, overwrite=overwrite, budget_bytes=budget_bytes)
    elif kind == "zarr":
        from fullfield.exporters.store import write_store

        write_store(
            _grid(scores, classes, options, budget_bytes), target, scores, overwrite=overwrite, progress=progress
        )
    else:
        grid = _grid(scores, classes, options, budget_bytes)
        write = _grid_writer(kind, options, of_signal=grid.signal is not None)
        write(grid, target, overwrite=overwrite, progress=progress)
    return Exported(target, _size(target), detections)


def check_output(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The path as a ``Path``, if a map could be written there now: for a check before a long scan.

    Raises:
        ImageError: a suffix that names no format, or a place that cannot be written to; of a picture also its legend's.
    """
    target = check_writable(path, overwrite, suffixes=SUFFIXES)
    if format_of(target) == "picture":
        from fullfield.exporters.picture import legend_path

        check_writable(legend_path(target), overwrite, suffixes=(".json",))
    return target


def check_signal_format(path: Path) -> None:
    """Passes if the scores of a signal can be written in the format of a suffix; those of maps are for images.

    Raises:
        ImageError: they cannot, or what draws a plot is not installed.
    """
    kind = format_of(path)
    if f".{kind}" not in (".zarr", ".npz", ".npy", ".picture", *TABLES):
        what = f"a signal has no place on a map or image, which {path.suffix} needs"
        raise ImageError(str(path), what, fix="write .csv, .parquet, .npy, .npz or .zarr, or a plot: .png")
    if kind == "picture":
        from fullfield.drawing.chart import check_matplotlib

        check_matplotlib()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def format_of(path: Path) -> str:
    """The format of a file's suffix.

    Examples:
        >>> format_of(Path("a.ome.tiff")), format_of(Path("a.TIF")), format_of(Path("a.npy")), format_of(Path("a.jpg"))
        ('ometiff', 'geotiff', 'npy', 'picture')
    """
    name = path.name.lower()
    if name.endswith((".tif", ".tiff")):
        return "ometiff" if name.endswith((".ome.tif", ".ome.tiff")) else "geotiff"
    return "picture" if path.suffix.lower() in PICTURES else path.suffix.lower().removeprefix(".")


def _check_options(kind: str, options: Options) -> None:
    """Raises where an option is given that the format does not use."""
    plain = Options()
    for name in options.__dataclass_fields__:
        value = getattr(options, name)
        if value != getattr(plain, name) and name not in _USES[kind]:
            fits = ", ".join(sorted(k for k, used in _USES.items() if name in used))
            raise ImageError(name, f"{value!r} has no meaning for {kind}", fix=f"leave it out; it is for {fits}")


def _grid(scores: ScoreMap, classes: Classes, options: Options, budget_bytes: int | None) -> ExportGrid:
    """The numbers to write: stored labels, chosen bands, or their top class, at the chosen resolution."""
    from fullfield.exporters.grid import band_indices, cells
    from fullfield.exporters.labels import labelled, stored_labels

    stored = scores.spec.kind == "labels"
    if stored and classes is not None:
        band_indices(scores, classes)  # raises
    grid = replace(stored_labels(scores) if stored else cells(scores, classes), budget_bytes=budget_bytes)
    labels = options.labels and not stored
    if options.resolution == "cells":
        return labelled(grid) if labels else grid
    image = scores.spec.placement.image
    size = image if options.resolution == "image" else options.resolution
    if isinstance(size, str):
        raise ImageError("resolution", f"{size!r} is not known", fix="use cells, image, or (height, width)")
    from fullfield.exporters.resample import resampled

    return resampled(grid, image, size, options.resample, labels=labels)


def _grid_writer(kind: str, options: Options, *, of_signal: bool) -> Callable[..., None]:
    """What writes a grid in a format; no other format is imported."""
    if kind == "geotiff":
        from fullfield.exporters.geotiff import write_geotiff

        return partial(write_geotiff, cog=options.cog, compression=options.compression)
    if kind == "ometiff":
        from fullfield.exporters.ometiff import write_ometiff

        return write_ometiff
    if kind == "npy":
        from fullfield.exporters.npy import write_npy

        return write_npy
    if of_signal:
        from fullfield.exporters.plot import write_plot

        return write_plot
    from fullfield.exporters.picture import write_picture

    return write_picture


def _write_rows(
    scores: ScoreMap,
    target: Path,
    classes: Classes,
    detections: Detections | None,
    *,
    overwrite: bool,
    budget_bytes: int | None,
    progress: OnProgress | None,
) -> int:
    """Writes objects of some classes; the top class is that of all classes of the map. Returns their number."""
    from fullfield.exporters.detections import Detections
    from fullfield.exporters.grid import band_indices, cells
    from fullfield.exporters.labels import stored_labels
    from fullfield.exporters.layers import write_rows

    stored = scores.spec.kind == "labels"
    grid = replace(stored_labels(scores) if stored else cells(scores), budget_bytes=budget_bytes)
    if stored:
        names = {name: value for value, (_, name) in enumerate(grid.colours or ())}
        some = [classes] if isinstance(classes, (int, str)) else classes
        wanted = grid.classes if some is None else tuple(_label(cls, grid.classes, names) for cls in some)
    else:
        wanted = tuple(grid.classes[band] for band in band_indices(scores, classes))
    return write_rows(
        grid, target, wanted, detections or Detections(), spec=scores.spec, overwrite=overwrite, progress=progress
    )


def _label(cls: int | str, classes: tuple[int, ...], names: dict[str, int]) -> int:
    """The value of a class in a map of labels."""
    if isinstance(cls, str):
        value = names.get(cls, int(cls) if cls.isdecimal() else -1)
    else:
        value = cls
    if value not in classes:
        raise ImageError("class", f"{cls!r} is none of the map's {len(classes)} classes", fix="give one of its classes")
    return value
