"""Finds the y, x and channel axes of a Zarr array, and reads OME-Zarr's metadata about axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fullfield.errors import ImageError
from fullfield.image.raster import Origin
from fullfield.image.selection import Selection, select_index

ZarrMetadata = Mapping[str, Any]

_MEANINGS = {
    "y": "y", "northing": "y", "lat": "y", "latitude": "y", "row": "y", "height": "y",
    "x": "x", "easting": "x", "lon": "x", "longitude": "x", "column": "x", "col": "x", "width": "x",
    "c": "c", "channel": "c", "channels": "c", "band": "c", "bands": "c", "s": "c", "class": "c", "classes": "c",
    "z": "z", "depth": "z",
    "t": "t", "time": "t",
}  # fmt: skip
_READ = ("y", "x", "c")  # by region and channel; of all other axes one position is read
_AXES = (*_READ, "z", "t")
_MICRONS = {
    "angstrom": 1e-4, "picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4,
    "decimeter": 1e5, "meter": 1e6, "kilometer": 1e9, "inch": 25_400.0, "foot": 304_800.0, "yard": 914_400.0,
    "nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "km": 1e9,
    "nanometre": 1e-3, "micrometre": 1.0, "millimetre": 1e3, "metre": 1e6, "micron": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Axes:
    """The axes of an array.

    Args:
        y, x: their indices.
        c: index of the channel axis; ``None`` if there is none.
        fixed: index and position of every other axis.
    """

    y: int
    x: int
    c: int | None
    fixed: tuple[tuple[int, int], ...]


def axes_of(names: Sequence[str] | None, shape: Sequence[int], selection: Selection, where: str) -> Axes:
    """The axes of an array, by name if they have names, else by convention.

    Without names: ``(y, x)``; ``(y, x, c)`` with at most 4 channels, else ``(c, y, x)``; ``(t, c, z, y, x)``.

    Raises:
        ImageError: no y or x axis, an axis of many positions that cannot be selected, or an unknown position.

    Examples:
        >>> axes_of(("t", "y", "x", "c"), (5, 60, 70, 3), Selection(t=2), "a.zarr")
        Axes(y=1, x=2, c=3, fixed=((0, 2),))
        >>> axes_of(None, (7, 60, 70), Selection(), "a.zarr")
        Axes(y=1, x=2, c=0, fixed=())
    """
    found = _by_convention(shape, where) if names is None else [axis_meaning(name) for name in names]
    for axis in _AXES:
        if found.count(axis) > 1 or (axis in ("y", "x") and axis not in found):
            listed = ", ".join(name or "(no name)" for name in names or found)
            raise ImageError(
                where,
                f"has axes {listed}, {found.count(axis)} of them {axis}",
                fix="name the array's axes c, y, x (dimension_names in Zarr v3)",
            )
    fixed = tuple((i, _position(name, shape[i], selection, where)) for i, name in enumerate(found) if name not in _READ)
    for axis, index in (("z", selection.z), ("t", selection.t)):
        if axis not in found:
            select_index(index, 1, what=axis, where=where)
    return Axes(found.index("y"), found.index("x"), found.index("c") if "c" in found else None, fixed)


def axis_meaning(name: str) -> str:
    """The axis that a name means: ``y``, ``x``, ``c``, ``z``, ``t``, or the name itself.

    Examples:
        >>> axis_meaning("Latitude"), axis_meaning("angle")
        ('y', 'angle')
    """
    return _MEANINGS.get(name.lower(), name)


def _position(name: str, count: int, selection: Selection, where: str) -> int:
    if name in ("z", "t"):
        return select_index(selection.z if name == "z" else selection.t, count, what=name, where=where)
    if count > 1:
        raise ImageError(
            where,
            f"axis {name or '(no name)'} has {count} positions",
            fix="write an array with axes t, c, z, y, x, or some of them",
        )
    return 0


def _by_convention(shape: Sequence[int], where: str) -> list[str]:
    if len(shape) == 2:
        return ["y", "x"]
    if len(shape) == 3:
        return ["y", "x", "c"] if shape[2] <= 4 else ["c", "y", "x"]
    if len(shape) == 5:
        return ["t", "c", "z", "y", "x"]
    raise ImageError(
        where, f"has {len(shape)} unnamed axes", fix="name them (dimension_names in Zarr v3), or write (c, y, x)"
    )


def ome_axes(multiscale: ZarrMetadata) -> list[str] | None:
    """Names of the axes; ``None`` in OME-Zarr before 0.3, where they are ``t, c, z, y, x``."""
    axes = multiscale.get("axes")
    if not isinstance(axes, list):
        return None
    kinds = {"channel": "c", "time": "t"}
    return [str(kinds.get(str(a.get("type")), a.get("name"))) if isinstance(a, dict) else str(a) for a in axes]


def ome_mpp(multiscale: ZarrMetadata, dataset: ZarrMetadata, axes: Axes) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) of a level; ``None`` if the file states no unit of length."""
    listed = multiscale.get("axes")
    if not isinstance(listed, list):
        return None
    result = []
    for axis in (axes.y, axes.x):
        entry = listed[axis] if axis < len(listed) else None
        unit = entry.get("unit") if isinstance(entry, dict) else None
        factor = _MICRONS.get(unit.lower()) if isinstance(unit, str) else None
        if factor is None:
            return None
        result.append(_scale(dataset, axis) * _scale(multiscale, axis) * factor)
    return (result[0], result[1]) if all(math.isfinite(r) and r > 0 for r in result) else None


def ome_origin(multiscale: ZarrMetadata, dataset: ZarrMetadata, axes: Axes) -> Origin:
    """Where OME-Zarr sees the finest level: its translation, and its scale where no unit of length is stated.

    Transformations of the dataset come first, then those of the image.
    """
    if not isinstance(multiscale.get("axes"), list):
        return Origin()
    mpp = ome_mpp(multiscale, dataset, axes)
    first, spacing = [], []
    for number, axis in enumerate((axes.y, axes.x)):
        outer, step = _scale(multiscale, axis), _scale(dataset, axis) * _scale(multiscale, axis)
        at = _translation(dataset, axis) * outer + _translation(multiscale, axis)
        first.append(at if mpp is None else at * mpp[number] / step)
        spacing.append(step if mpp is None else 1.0)
    if not all(map(math.isfinite, first)) or not all(math.isfinite(each) and each > 0 for each in spacing):
        return Origin()
    return Origin(first=(first[0], first[1]), spacing=(spacing[0], spacing[1]))


def _translation(holder: ZarrMetadata, axis: int) -> float:
    """The offset of an axis in ``coordinateTransformations``; 0 if there is none."""
    return _transformed(holder, axis, "translation", 0.0)


def _scale(holder: ZarrMetadata, axis: int) -> float:
    """The factor of an axis in ``coordinateTransformations``; 1 if there is none."""
    return _transformed(holder, axis, "scale", 1.0)


def _transformed(holder: ZarrMetadata, axis: int, kind: str, default: float) -> float:
    """The number of an axis in the first transformation of a kind; NaN if it is none."""
    transformations = holder.get("coordinateTransformations")
    for step in transformations if isinstance(transformations, list) else []:
        if isinstance(step, dict) and step.get("type") == kind:
            values = step.get(kind)
            value = values[axis] if isinstance(values, list) and axis < len(values) else None
            return float(value) if isinstance(value, (int, float)) else math.nan
    return default


def channel_names(attributes: ZarrMetadata, bands: Sequence[int]) -> tuple[str, ...]:
    """Labels of the channels: one ``long_name`` each, as rioxarray writes, or of the ``omero`` metadata; else none."""
    names = attributes.get("long_name")
    if isinstance(names, (list, tuple)) and len(names) == len(bands) and all(isinstance(name, str) for name in names):
        return tuple(names)
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    labels = [channel.get("label") if isinstance(channel, dict) else None for channel in channels]
    return tuple(str(labels[b]) if b < len(labels) and labels[b] else "" for b in bands)
