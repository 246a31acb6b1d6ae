"""The record of a score map: what it holds and where it lies, as plain JSON that every reader accepts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.image.raster import Georeference
from fullfield.store.maps import MapSpec

FORMAT = 1
ATTRIBUTE = "fullfield"
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
    plain: Record = plain_json(record)
    return plain


def from_record(record: Record, where: str) -> MapSpec:
    """The spec of a record that ``to_record`` made.

    Raises:
        ImageError: it was written in a newer format, or is damaged.
    """
    try:
        if record["format"] > FORMAT:
            what = f"was written in format {record['format']}, this version reads {FORMAT}"
            raise ImageError(where, what, fix="upgrade fullfield")
        spec = record["spec"]
        return MapSpec(
            shape=_integers(spec["shape"], 3),
            dtype=str(spec["dtype"]),
            shard=_integers(spec["shard"], 2),
            placement=_placement(record["placement"]),
            kind="labels" if spec["kind"] == "labels" else "scores",
            classes=tuple(map(int, spec["classes"])),
            class_names=None if spec["class_names"] is None else tuple(map(str, spec["class_names"])),
            activation=spec["activation"],
            scale=float(spec["scale"]),
            offset=float(spec["offset"]),
            fill=float(_WORDS.get(spec["fill"], spec["fill"])),
            mode="context" if spec["mode"] == "context" else "exact",
            georeference=_georeference(record["georeference"]),
            mpp=None if spec["mpp"] is None else _two(spec["mpp"]),
            provenance=dict(record["provenance"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise ImageError(
            where, f"its record cannot be read ({error!r})", fix="scan again: the file is damaged or of another program"
        ) from error


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
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in _WORDS.items() if number == value or (number != number and value != value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
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
    top, bottom, left, right = map(int, record.get("padding", (0, 0, 0, 0)))
    step, window, image, scanned = (_integers(record[name], 2) for name in ("step", "window", "image", "scanned"))
    return Placement(step, window, image, scanned, padding=(top, bottom, left, right))


def _georeference(record: Record | None) -> Georeference | None:
    if record is None:
        return None
    a, b, c, d, e, f = map(float, record["transform"])
    return Georeference(None if record["crs"] is None else str(record["crs"]), (a, b, c, d, e, f))


def _integers(values: Any, count: int) -> Any:
    """``count`` integers as a tuple."""
    found = tuple(map(int, values))
    if len(found) != count:
        raise ValueError(f"{values} are not {count} numbers")
    return found


def _two(values: Any) -> tuple[float, float]:
    y, x = map(float, values)
    return y, x
