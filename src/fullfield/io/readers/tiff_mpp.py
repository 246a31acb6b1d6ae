"""How large the pixels of a TIFF are: whoever wrote it says so in another way."""

from __future__ import annotations

import math
import re
from html import unescape
from typing import Any

_MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "\\u00B5m": 1.0,  # as ImageJ writes it
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "in": 25400.0, "inch": 25400.0,
}  # fmt: skip


def microns(tif: Any, series: Any, index: int, images: int) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) of a series: of OME, ImageJ, Aperio, or of TIFF's resolution."""
    page = series.keyframe
    if tif.is_ome and tif.ome_metadata:
        return _ome_mpp(tif.ome_metadata, index, images)
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", page.description)
    if tif.is_svs and found:
        return _positive(float(found[1]), float(found[1]))
    per_unit = [_ratio(page.tags.valueof(code)) for code in (283, 282)]
    if tif.is_imagej:
        scale = _MICROMETRES.get(str((tif.imagej_metadata or {}).get("unit", "")))
    else:
        scale = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof(296, 2))
    if scale is None or None in per_unit:
        return None
    y, x = (scale / ratio if ratio else 0.0 for ratio in per_unit)
    return _positive(y, x)


def _ome_mpp(text: str, index: int, images: int) -> tuple[float, float] | None:
    pixels = re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", text)
    if len(pixels) != images:
        return None
    attributes = {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', pixels[index])}
    sizes = []
    for axis in "YX":
        scale = _MICROMETRES.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            size = float(attributes[f"PhysicalSize{axis}"])
        except (KeyError, ValueError):
            return None
        if scale is None:
            return None
        sizes.append(size * scale)
    return _positive(*sizes)


def _ratio(value: object) -> float | None:
    """A rational tag as a number; ``None`` where there is none, or nothing but 0."""
    if not isinstance(value, tuple) or len(value) < 2 or not value[0] or not value[1]:
        return None
    return float(value[0]) / float(value[1])


def _positive(y: float, x: float) -> tuple[float, float] | None:
    return (y, x) if all(math.isfinite(v) and v > 0 for v in (y, x)) else None
