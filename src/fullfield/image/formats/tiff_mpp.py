"""Reads the resolution of a TIFF, which every vendor stores in its own way."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from html import unescape
from typing import Any
from xml.etree import ElementTree

_MICROMETRES = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "\\u00B5m": 1.0,  # as ImageJ writes it
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "in": 25400.0, "inch": 25400.0,
}  # fmt: skip


def resolution(tif: Any, series: Any, index: int, images: int) -> tuple[float, float] | None:
    """Micrometres per pixel (y, x) of a series, stored by OME, ImageJ, Aperio, Philips, Trestle or TIFF tags."""
    page = series.keyframe
    if tif.is_ome and tif.ome_metadata:
        return _ome_mpp(tif.ome_metadata, index, images)
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", page.description)
    if tif.is_svs and found:
        return _positive(float(found[1]), float(found[1]))
    if tif.is_philips:
        return _philips_mpp(tif.pages.first.description)
    per_unit = [_ratio(page.tags.valueof(code)) for code in (283, 282)]
    if is_trestle(page):
        return _positive(*(ratio or 0.0 for ratio in per_unit))  # micrometres, not pixels per unit
    if tif.is_imagej:
        scale = _MICROMETRES.get(str((tif.imagej_metadata or {}).get("unit", "")))
    else:
        scale = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof(296, 2))
    if scale is None or None in per_unit:
        return None
    y, x = (scale / ratio if ratio else 0.0 for ratio in per_unit)
    return _positive(y, x)


def is_trestle(page: Any) -> bool:
    """Whether a page belongs to a Trestle slide."""
    return str(page.tags.valueof(305)).startswith("MedScan") and "OverlapsXY=" in page.description


def trestle_overlaps(page: Any) -> bool:
    """Whether the tiles of a Trestle slide overlap, on any level."""
    found = re.search(r"OverlapsXY=([\d\s]*)", page.description)
    return found is None or any(int(number) for number in found[1].split())


def _philips_mpp(text: str) -> tuple[float, float] | None:
    """The pixel spacing of the slide's finest level; the file also holds pictures of the label and the glass."""
    if "<!" in text:
        return None
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  without declarations there are no entities to expand
    except (ElementTree.ParseError, ValueError):
        return None
    sizes = []
    for image in root.iter("DataObject"):
        kinds = [node.text for node in image.findall("Attribute[@Name='PIM_DP_IMAGE_TYPE']")]
        for node in image.iter("Attribute") if "WSI" in kinds else ():
            spacing = re.findall(r'"([0-9.eE+-]+)"', node.text or "")
            if node.get("Name") == "DICOM_PIXEL_SPACING" and len(spacing) == 2:  # millimetres between rows, columns
                with suppress(ValueError):
                    sizes.append((1000 * float(spacing[0]), 1000 * float(spacing[1])))
    return _positive(*min(sizes)) if sizes else None


def ome_pixels(text: str, index: int, images: int) -> dict[str, str]:
    """The attributes of one of so many images of an OME-TIFF; none where it names another number of images."""
    pixels = re.findall(r"<(?:\w+:)?Pixels\b([^>]*)>", text)
    if len(pixels) != images:
        return {}
    return {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', pixels[index])}


def channel_names(text: str | None, index: int, images: int) -> tuple[str, ...]:
    """Names of the channels of one of so many images of an OME-TIFF; empty for those without, or where none is known.

    Examples:
        >>> channel_names('<Pixels><Channel ID="0" Name="DAPI"/><Channel ID="1"/></Pixels>', 0, 1)
        ('DAPI', '')
    """
    found = re.findall(r"<(?:\w+:)?Pixels\b.*?</(?:\w+:)?Pixels>", text or "", re.DOTALL)
    if len(found) != images:
        return ()
    channels = re.findall(r"<(?:\w+:)?Channel\b([^>]*)>", found[index])
    named = [re.search(r'\bName="([^"]*)"', attributes) for attributes in channels]
    return tuple("" if name is None else unescape(name[1]).strip() for name in named)


def stage_position(tif: Any, index: int, images: int) -> tuple[float, float] | None:
    """Position of the stage (y, x) at the first plane of a series of an OME-TIFF, micrometres; ``None`` if unknown."""
    if not tif.is_ome or not tif.ome_metadata:
        return None
    found = re.findall(r"<(?:\w+:)?Pixels\b.*?</(?:\w+:)?Pixels>", tif.ome_metadata, re.DOTALL)
    plane = re.search(r"<(?:\w+:)?Plane\b([^>]*)>", found[index]) if len(found) == images else None
    if plane is None:
        return None
    attributes = dict(re.findall(r'(\w+)="([^"]*)"', plane[1]))
    place = []
    for axis in "YX":
        scale = _MICROMETRES.get(unescape(attributes.get(f"Position{axis}Unit", "reference frame")))
        try:
            place.append(float(attributes[f"Position{axis}"]) * scale if scale else math.nan)
        except (KeyError, ValueError):
            return None
    return (place[0], place[1]) if all(map(math.isfinite, place)) else None


def _ome_mpp(text: str, index: int, images: int) -> tuple[float, float] | None:
    attributes = ome_pixels(text, index, images)
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
    """A rational tag as a number; ``None`` if it is missing or 0."""
    if not isinstance(value, tuple) or len(value) < 2 or not value[0] or not value[1]:
        return None
    return float(value[0]) / float(value[1])


def _positive(y: float, x: float) -> tuple[float, float] | None:
    return (y, x) if all(math.isfinite(v) and v > 0 for v in (y, x)) else None
