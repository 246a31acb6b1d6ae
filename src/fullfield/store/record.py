"""What fullfield writes beside the numbers, as plain JSON that every JSON reader takes."""

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
    """A spec, its certificate, and whether all cells are there. NaN and infinity are written as Zarr does, as text."""
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
    """The spec that ``to_record`` wrote.

    Raises:
        ImageError: a format of the future, or something else.
    """
    try:
        if record["format"] > FORMAT:
            what = f"was written in format {record['format']}, known is {FORMAT}"
            raise ImageError(where, what, fix="upgrade fullfield")
        said = record["spec"]
        return MapSpec(
            shape=_whole(said["shape"], 3),
            dtype=str(said["dtype"]),
            shard=_whole(said["shard"], 2),
            placement=_placement(record["placement"]),
            kind="labels" if said["kind"] == "labels" else "scores",
            classes=tuple(map(int, said["classes"])),
            class_names=None if said["class_names"] is None else tuple(map(str, said["class_names"])),
            activation=said["activation"],
            scale=float(said["scale"]),
            offset=float(said["offset"]),
            fill=float(_WORDS.get(said["fill"], said["fill"])),
            mode="context" if said["mode"] == "context" else "exact",
            georeference=_georeference(record["georeference"]),
            mpp=None if said["mpp"] is None else _two(said["mpp"]),
            provenance=dict(record["provenance"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise ImageError(
            where, f"its record cannot be read ({error!r})", fix="scan again: it is damaged or foreign"
        ) from error


def difference(wanted: Record, found: Record) -> str | None:
    """The first thing that two records say differently, with both values; provenance and certificate aside."""
    for part in ("format", "spec", "placement", "georeference"):
        ours, theirs = wanted.get(part), found.get(part)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            name = next(key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key))
            part, ours, theirs = name, ours.get(name), theirs.get(name)
        return f"{part} {_short(theirs)} there, {_short(ours)} wanted"
    return None


def plain_json(value: object) -> Any:
    """A value as JSON would give it back; what JSON has no word for as number or text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, meant in _WORDS.items() if meant == value or (meant != meant and value != value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def dumped(value: Record) -> str:
    """JSON text, the same for the same value."""
    return json.dumps(value, indent=2, allow_nan=False)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _placement(said: Record) -> Placement:
    top, bottom, left, right = map(int, said.get("padding", (0, 0, 0, 0)))
    step, window, image, scanned = (_whole(said[name], 2) for name in ("step", "window", "image", "scanned"))
    return Placement(step, window, image, scanned, padding=(top, bottom, left, right))


def _georeference(said: Record | None) -> Georeference | None:
    if said is None:
        return None
    a, b, c, d, e, f = map(float, said["transform"])
    return Georeference(None if said["crs"] is None else str(said["crs"]), (a, b, c, d, e, f))


def _whole(values: Any, count: int) -> Any:
    """So many integers as a tuple."""
    found = tuple(map(int, values))
    if len(found) != count:
        raise ValueError(f"{values} are not {count} numbers")
    return found


def _two(values: Any) -> tuple[float, float]:
    y, x = map(float, values)
    return y, x
