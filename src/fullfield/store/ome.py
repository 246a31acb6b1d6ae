"""OME-Zarr 0.5 metadata of a stored map: axes, scale and translation, names and colours.

OME-Zarr counts from pixel centres, fullfield from pixel edges: they differ by half a pixel.

Source: OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.store.maps import MapSpec
from fullfield.store.palette import distinct

Attributes = dict[str, Any]


def attributes(spec: MapSpec, name: str, *, levels: int, windows: Sequence[tuple[float, float]] | None) -> Attributes:
    """The value of ``ome``.

    Args:
        spec: of the map.
        name: that viewers show.
        levels: of the pyramid, the map itself included.
        windows: stored numbers that viewers show darkest and brightest, for each band; ``None`` while the map is not
            finished.
    """
    labels = spec.kind == "labels"
    found: Attributes = {"version": "0.5", "multiscales": [_multiscale(spec, name, levels)]}
    if labels:
        found["image-label"] = _image_label(spec)
    elif windows is not None:
        found["omero"] = {"channels": [_channel(spec, band, window) for band, window in enumerate(windows)]}
    return found


def scale_and_translation(spec: MapSpec, level: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Distance between cells of a level, and distance of the first cell's centre from that of the image's first pixel.

    Both (y, x), in micrometres if ``spec.mpp`` is known, otherwise in the unit of the image's own scale, or px.
    Where the image has a place of its own, distances are from its origin.
    A cell of level ``l`` covers ``2^l`` cells a side and lies in their middle.
    """
    unit, spacing, at = spec.mpp or spec.origin.spacing, spec.placement.spacing, spec.origin.first
    first = spec.placement.centre((2**level - 1) / 2, (2**level - 1) / 2)
    scale = (2**level * spacing[0] * unit[0], 2**level * spacing[1] * unit[1])
    return scale, ((first[0] - 0.5) * unit[0] + at[0], (first[1] - 0.5) * unit[1] + at[1])


def _multiscale(spec: MapSpec, name: str, levels: int) -> Attributes:
    unit = {} if spec.mpp is None else {"unit": "micrometer"}
    labels = spec.kind == "labels"
    return {
        "name": name,
        "axes": [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", **unit} for n in ("y", "x"))],
        "datasets": [_dataset(spec, level) for level in range(levels)],
        "type": "mode" if labels else "mean",
        "metadata": {
            "description": "most frequent of 2x2 cells" if labels else "mean of the valid ones of 2x2 cells",
            "method": "fullfield",
        },
    }


def _dataset(spec: MapSpec, level: int) -> Attributes:
    scale, first = scale_and_translation(spec, level)
    steps = [{"type": "scale", "scale": [1.0, *scale]}, {"type": "translation", "translation": [0.0, *first]}]
    return {"path": str(level), "coordinateTransformations": steps}


def _channel(spec: MapSpec, band: int, window: tuple[float, float]) -> Attributes:
    low, high = _range(spec, window)
    colour = (
        "FFFFFF"
        if spec.shape[0] == 1
        else "{:02X}{:02X}{:02X}".format(*distinct(max(spec.classes) + 1)[spec.classes[band]])
    )
    return {
        "label": spec.title(band),
        "color": colour,
        "active": band == 0,
        "window": {"min": low, "max": high, "start": low, "end": high},
    }


def _range(spec: MapSpec, window: tuple[float, float]) -> tuple[float, float]:
    """Stored numbers shown darkest and brightest; 0 and 1 for probabilities, so that classes can be compared."""
    if spec.went_through in ("softmax", "sigmoid"):
        return (0 - spec.offset) / spec.scale, (1 - spec.offset) / spec.scale
    return window if window[0] < window[1] else (window[0], window[0] + 1)


def _image_label(spec: MapSpec) -> Attributes:
    """A colour and a name for each class; cells without a class are transparent."""
    values = spec.classes
    known = distinct(max(values) + 1)
    colours: list[Attributes] = [{"label-value": v, "rgba": [*known[v], 255]} for v in values]
    none = int(spec.fill)
    return {
        "colors": [*colours, {"label-value": none, "rgba": [0, 0, 0, 0]}],
        "properties": [
            *({"label-value": v, "class": name} for v, name in zip(values, spec.titles, strict=True)),
            {"label-value": none, "class": "no data"},  # some readers want the same values in both
        ],
    }


def extremes(numbers: NDArray[Any], spec: MapSpec) -> NDArray[np.float64]:
    """Least and greatest finite stored number of each band. Shape: ``(bands, y, x)`` -> ``(bands, 2)``

    ``inf`` and ``-inf`` for a band without one.
    """
    found = np.empty((len(numbers), 2))
    for ends, band in zip(found, numbers, strict=True):
        there = band[np.isfinite(band)] if band.dtype.kind == "f" else band[band != band.dtype.type(spec.fill)]
        ends[:] = (there.min(), there.max()) if there.size else (np.inf, -np.inf)
    return found


def merged_extremes(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Extremes of a map from those of its parts."""
    lows, highs = np.moveaxis(np.stack(list(parts)), 2, 0)
    return np.stack([lows.min(axis=0), highs.max(axis=0)], axis=1)
