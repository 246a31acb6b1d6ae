"""The record of a score map: what it holds and where it lies, as plain JSON that every reader accepts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from fullfield.errors import GeometryError, ImageError, first_line
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference, Origin
from fullfield.store.checksums import crc32c
from fullfield.store.maps import DTYPES, Activation, MapKind, MapSpec, check_spec
from fullfield.store.parse_json import LARGEST, integer, integers, mapping, number, numbers, one_of, text, texts

FORMAT = 1
ATTRIBUTE = "fullfield"
_MOST_CLASSES = 1 << 24  # each gets a colour
_AGAIN = "scan again: the file is damaged or of another program"
Record = dict[str, Any]
_PLAIN = ("shape", "dtype", "shard", "kind", "classes", "class_names", "activation", "scale", "offset", "mode", "mpp")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_record(spec: MapSpec, *, certificate: dict[str, Any] | None, complete: bool) -> Record:
    """A map's spec and certificate, and whether it is complete. NaN and infinity are text, as in Zarr."""
    y, x = spec.placement.centre(0, 0)
    record = {
        "format": FORMAT,
        "complete": complete,
        "spec": {name: getattr(spec, name) for name in _PLAIN} | {"fill": spec.fill},
        "placement": asdict(spec.placement),
        "centre": (y, x),  # of cell (0, 0) on the original image, in pixel edges
        "resized_by": spec.placement.scale,
        "georeference": None if spec.georeference is None else asdict(spec.georeference),
        "provenance": spec.provenance,
        "certificate": certificate,
    }
    if spec.origin != Origin():
        record["origin"] = asdict(spec.origin)
    plain: Record = plain_json(record)
    return plain | {"checksum": _checksum(plain)}


def check_record(record: object, where: str) -> Record:
    """The record, as it was written; those of 0.1.0 have no checksum.

    Raises:
        ImageError: it is none, or was changed since.
    """
    if not isinstance(record, dict) or not isinstance(record.get("complete"), bool) or "format" not in record:
        raise ImageError(where, "has no record of scores", fix=_AGAIN)
    certificate = record.get("certificate")
    if certificate is not None and not (isinstance(certificate, dict) and isinstance(certificate.get("verdict"), str)):
        raise ImageError(where, "the record's certificate is damaged", fix=_AGAIN)
    version = record["format"]
    newer = isinstance(version, int) and version > FORMAT  # may have another checksum
    try:
        same = newer or "checksum" not in record or record["checksum"] == _checksum(record)
    except (ValueError, TypeError, RecursionError):
        same = False
    if not same:
        raise ImageError(where, "its record was changed: its checksum is wrong", fix=_AGAIN)
    return record | {"certificate": certificate}


def _checksum(record: Record) -> str:
    """Of a record but for its checksum."""
    return crc32c(dumped({name: value for name, value in record.items() if name != "checksum"}).encode()).hex()


def from_record(record: Record, where: str) -> MapSpec:
    """The spec of a record that ``to_record`` made.

    Raises:
        ImageError: it was written in a newer format, or is damaged.
    """
    try:
        version = integer(record["format"], least=1)
        if version > FORMAT:
            what = f"was written in format {version}, this version reads {FORMAT}"
            raise ImageError(where, what, fix="upgrade fullfield")
        spec = _spec(record)
        check_spec(spec)
    except GeometryError as error:
        raise ImageError(where, f"its record is inconsistent: {error.what}", fix=_AGAIN) from error
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ImageError(where, f"its record cannot be read ({reason})", fix=_AGAIN) from error
    return spec


def _spec(record: Record) -> MapSpec:
    spec = record["spec"]
    return MapSpec(
        shape=integers(spec["shape"], 3, least=1),
        dtype=one_of(spec["dtype"], DTYPES),
        shard=integers(spec["shard"], 2, least=1),
        placement=_placement(record["placement"]),
        kind=one_of(spec["kind"], get_args(MapKind)),
        classes=integers(spec["classes"], most=_MOST_CLASSES),
        class_names=None if spec["class_names"] is None else texts(spec["class_names"]),
        activation=one_of(spec["activation"], (*get_args(Activation), None)),
        scale=number(spec["scale"]),
        offset=number(spec["offset"]),
        fill=float(_WORDS.get(spec["fill"], spec["fill"])),
        mode=one_of(spec["mode"], ("exact", "context")),
        georeference=_georeference(record["georeference"]),
        mpp=None if spec["mpp"] is None else numbers(spec["mpp"], 2, positive=True),
        provenance=mapping(record["provenance"]),
        origin=_origin(record.get("origin")),
    )


def difference(wanted: Record, found: Record) -> str | None:
    """The first difference between two records, with both values; provenance and certificate are not compared."""
    for part in ("format", "spec", "placement", "georeference"):
        ours, theirs = wanted.get(part), found.get(part)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            name = next(key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key))
            part, ours, theirs = name, ours.get(name), theirs.get(name)
        return f"its {part} is {_short(theirs)}, now it is {_short(ours)}"
    return None


def plain_json(value: object) -> Any:
    """A value as JSON returns it; values that JSON cannot store become numbers or text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        words = (word for word, number in _WORDS.items() if number == value or (number != number and value != value))
        return next(words, value)
    if isinstance(value, dict):
        return {str(key): plain_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def dumped(value: Record) -> str:
    """JSON text; equal values give equal text."""
    return json.dumps(value, indent=2, allow_nan=False)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _placement(record: Record) -> Placement:
    step, window, image, scanned = (
        integers(record[name], 2, least=1) for name in ("step", "window", "image", "scanned")
    )
    padding = integers(record.get("padding", (0, 0, 0, 0)), 4, least=-LARGEST)
    return Placement(step, window, image, scanned, padding=padding)


def _origin(record: Record | None) -> Origin:
    if record is None:
        return Origin()
    points, crs = record.get("points", []), record.get("points_crs")
    corner, first, spacing = (numbers(record[name], 2) for name in ("corner", "first", "spacing"))
    return Origin(
        corner,
        first,
        spacing,
        points=tuple(numbers(point, 5) for point in points),
        points_crs=None if crs is None else text(crs),
    )


def _georeference(record: Record | None) -> Georeference | None:
    if record is None:
        return None
    return Georeference(None if record["crs"] is None else text(record["crs"]), numbers(record["transform"], 6))
