"""``fullfield.info``: what a file is, whether an image, a model or the result of a scan."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fullfield.arguments import checks_keywords
from fullfield.errors import FullfieldError, ImageError
from fullfield.image.colour_profile import profile_name
from fullfield.image.open import PathLike, open, parse_files
from fullfield.image.ranges import band_ranges
from fullfield.importers.checkpoints.names import parse_network_name
from fullfield.model.window_resize import Interpolation
from fullfield.model.window_standardise import STANDARDISED, Standardise
from fullfield.store.archive import read_npz_record
from fullfield.store.check import check_result, is_result
from fullfield.store.ome_zarr import read_record
from fullfield.store.record import from_record, plain_json
from fullfield.text import html_text

if TYPE_CHECKING:
    from fullfield.image.raster import Raster
    from fullfield.model.model import Model
    from fullfield.store.record import Record

Kind = Literal["image", "model", "result"]


@dataclass(frozen=True)
class FileInfo:
    """What a file is.

    Args:
        path: the file.
        kind: ``image``, ``model`` or ``result``.
        facts: by title, as plain JSON.
    """

    path: str
    kind: Kind
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {"file": self.path, "kind": self.kind, **self.facts}

    def _repr_html_(self) -> str:
        return html_text(str(self))

    def __str__(self) -> str:
        shown = {title.replace("_", " "): text for title, text in _lines(self.to_dict())}
        width = max(map(len, shown))
        return "\n".join(f"{title:{width}}  {text}" for title, text in shown.items())


@checks_keywords
def info(
    path: PathLike | Sequence[PathLike],
    *,
    check: bool = False,
    trust: bool = False,
    window: int | tuple[int, int] | None = None,
    score: int | str | None = None,
    weights: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    channels: int | None = None,
    resize: int | tuple[int, int] | None = None,
    interpolation: Interpolation | None = None,
    antialias: bool | None = None,
    standardise: Standardise | None = None,
) -> FileInfo:
    """What a file is and what it says of itself; its content decides, not its name.

    Args:
        path: an image, or several files that are one; a model's file or name; or a result that ``scan`` or ``export``
            wrote (``.zarr``, ``.npz``).
        check: read all of it: of a result every checksum is compared, of an image every pixel is decoded.
        trust: allow a model file to run code, as ``.pt2`` files and pickles can, and a VRT to name any file.
        window, score, weights, arch, channels, resize, interpolation, antialias, standardise: of a model, as
            for ``load``.

    Raises:
        FullfieldError: the file is none of these, or damaged.
    """
    name, *others = parse_files(path)
    if others:
        return _image_info(open([name, *others], trust=trust), check=check)
    options = {"trust": trust, "window": window, "score": score, "weights": weights, "arch": arch, "channels": channels}
    options |= {"resize": resize, "interpolation": interpolation, "antialias": antialias, "standardise": standardise}
    if parse_network_name(name) is not None:
        from fullfield.importers.load import load

        return FileInfo(name, "model", _model(load(name, **options)))  # type: ignore[arg-type]
    try:
        found = _result(_record(Path(name)), name)
    except ImageError:
        if is_result(Path(name)):
            raise
    else:
        return FileInfo(name, "result", found | ({"checked": str(check_result(Path(name)))} if check else {}))
    try:
        raster = open(name, trust=trust)
    except ImageError as error:
        return FileInfo(name, "model", _model(_loaded(name, error, **options)))
    return _image_info(raster, check=check)


def _image_info(raster: Raster, *, check: bool) -> FileInfo:
    try:
        checked = {"checked": _decoded(raster)} if check else {}
        return FileInfo(raster.name, "image", _image(raster) | checked)
    finally:
        raster.close()


def _record(path: Path) -> Record:
    """What a result says of itself; one that is not finished, too."""
    return read_record(path) if path.is_dir() else read_npz_record(path)


def _decoded(raster: Raster) -> str:
    """Decodes every pixel, some rows of tiles at a time."""
    height, width, bands = raster.shape
    rows = raster.metadata.tile[0] * max(1, _AT_ONCE // (raster.metadata.tile[0] * width * bands))
    for top in range(0, height, rows):
        raster.read(top, min(top + rows, height), 0, width)
    return f"{height}x{width} px: all can be decoded"


def _loaded(path: str, no_image: ImageError, **options: Any) -> Model:
    """The model in a file that is no image.

    Raises:
        FullfieldError: it cannot be read; where it is no model's file either, the text says why it is no image.
    """
    from fullfield.importers.detect import detect  # imports torch, which images and results do not need
    from fullfield.importers.load import load

    kind = detect(Path(path))[0] if Path(path).exists() else "other"
    if kind == "other":
        raise no_image
    try:
        return load(path, **options)
    except FullfieldError as error:
        if (
            kind != "onnx"
            or error.where != path
            or Path(path).suffix.lower() in (".onnx", ".prototxt", ".t7", ".pt", ".pt2", ".pth")
        ):
            raise
        what = f"is no result, image or model that can be read; as an image: {no_image.what}; as a model: {error.what}"
        raise ImageError(path, what, fix="give an image, a model, or the result of a scan") from error


def _image(raster: Raster) -> dict[str, Any]:
    metadata, (height, width, bands) = raster.metadata, raster.shape
    if metadata.sample_rate is not None:
        return {
            "channels": bands,
            "samples": width,
            "sample_rate_hz": metadata.sample_rate,
            "duration_s": width / metadata.sample_rate,
            "dtype": str(raster.dtype),
            "reader": metadata.reader,
        }
    place, ranges = metadata.georeference, band_ranges(raster)
    return {
        "size": [height, width],
        "bands": bands,
        "band_names": list(metadata.band_names),
        "dtype": str(raster.dtype),
        "um_per_px": None if metadata.mpp is None else list(metadata.mpp),
        "levels": [list(level) for level in metadata.levels],
        "tile": list(metadata.tile),
        "nodata": metadata.nodata,
        "alpha": "is no band: says which pixels are shown" if metadata.alpha else None,
        "colour_profile": None if metadata.profile is None else profile_name(metadata.profile),
        "ranges": None if ranges is None else [None if span is None else list(span) for span in ranges.ranges],
        "ranges_of": None if ranges is None else ranges.source,
        "value_range": None if metadata.value_range is None else list(metadata.value_range),
        "place": metadata.place,
        "origin": metadata.origin.text,
        "crs": None if place is None else place.crs,
        "transform": None if place is None else list(place.transform),
        "reader": metadata.reader,
    }


def _model(model: Model) -> dict[str, Any]:
    names = model.class_names
    return {
        "name": model.name,
        "window": list(model.window),
        "channels": model.channels,
        "classes": model.classes,
        "features": model.features,
        "class_names": [] if names is None else list(names),
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in model.graph.parameters()),
        "preprocessing": plain_json(model.preprocessing.to_dict()),
        **({} if model.standardise is None else {"windows_standardised": STANDARDISED[model.standardise]}),
        **({} if model.resize is None else {"windows_resized": f"from {model.resize}"}),
        **dict(model.about),
        "hash": model.hash,
    }


def _result(record: Record, where: str) -> dict[str, Any]:
    spec = from_record(record, where)
    certificate = record["certificate"]
    facts = {
        "complete": record["complete"],
        "scores": list(spec.shape),
        "holds": spec.kind,
        "dtype": spec.dtype,
        "mode": spec.mode,
        "step": list(spec.placement.step),
        "window": list(spec.placement.window),
        "image_size": list(spec.placement.image),
        "scanned_size": list(spec.placement.scanned),
        "classes": list(spec.classes),
        "class_names": list(spec.class_names or ()),
        "features": spec.features,
        "activation": spec.went_through,
        "um_per_px": spec.mpp,
        "crs": None if spec.georeference is None else spec.georeference.crs,
        "verified": None if certificate is None else certificate["verdict"],
        "provenance": {name: value for name, value in spec.provenance.items() if name != "job"},
    }
    plain: dict[str, Any] = plain_json(facts)
    return plain


_SHOWN = 8  # entries of a list
_AT_ONCE = 16 << 20  # numbers decoded together for a check
_SIZES = ("size", "tile", "scores", "step", "window", "image_size", "scanned_size")


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and text of every fact that there is; those of a group one by one."""
    for title, value in facts.items():
        if isinstance(value, dict):
            yield from ((f"{title}.{inner}" if title != "provenance" else inner, text) for inner, text in _lines(value))
        elif title in _SIZES and isinstance(value, list):
            yield title, " x ".join(map(str, value))
        elif title == "levels" and value:
            yield title, ", ".join(" x ".join(map(str, size)) for size in value)
        elif title == "transform" and value:
            yield title, ", ".join(f"{number:.12g}" for number in value)
        elif title == "ranges" and value:
            yield title, _ranges_text(facts, value)
        elif title == "ranges_of":
            pass
        elif isinstance(value, list) and value:
            more = f", ... ({len(value)})" if len(value) > _SHOWN else ""
            yield title, ", ".join(map(_text, value[:_SHOWN])) + more
        elif value is not None and value != []:
            yield title, _text(value)


def _ranges_text(facts: Mapping[str, Any], ranges: list[Any]) -> str:
    """The range of each band by its name; said to be about that where it is not of all pixels."""
    names = facts.get("band_names") or [str(number) for number in range(len(ranges))]
    spans = ["no data" if span is None else f"{span[0]:g}..{span[1]:g}" for span in ranges[:_SHOWN]]
    told = spans[:1] if len(ranges) == 1 else [" ".join(filter(None, pair)) for pair in zip(names, spans, strict=False)]
    more = f", ... ({len(ranges)})" if len(ranges) > _SHOWN else ""
    source = facts["ranges_of"]
    about = "" if source in ("statistics", "all pixels") else "about "
    return f"{about}{', '.join(told)}{more} ({source})"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
