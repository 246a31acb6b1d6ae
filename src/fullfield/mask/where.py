"""The record of everything that selects windows: region, mask, background, coverage and the image's edges."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fullfield.arguments import checks_fields
from fullfield.image.identity import file_identity
from fullfield.image.raster import array_identity, is_raster
from fullfield.image.region import RegionLike, region_ends
from fullfield.image.windowed import parse_edge
from fullfield.mask.background import Foreground
from fullfield.mask.geojson import parse_coordinates
from fullfield.mask.grid import check_coverage


@checks_fields
@dataclass(frozen=True, eq=False, repr=False)
class Where:
    """Which windows of an image are scanned. A window must satisfy every condition that is given.

    Args:
        region: part of the image to scan: ``"y0:y1,x0:x1"``, ``(y0, y1, x0, x1)``, ``((y0, y1), (x0, x1))`` or two
            slices, px of the image's finest level; windows lie inside. An end that is left out, or ``None``, is the
            image's. Of a signal ``"start:stop"`` or ``(start, stop)``, samples.
        mask: marks where to look: a file (a picture that is not 0 there, or polygons as GeoJSON, ``.gpkg``, ``.fgb`` or
            ``.shp``), an array ``(y, x)``, a PIL image or a ``Raster``. Windows that touch none of it are not computed;
            their scores are NaN.
        coordinates: of a mask of polygons: ``image`` (px of the finest level), ``map``, or ``auto``, which finds out.
        skip_background: ``True`` finds tissue or other content on a thumbnail and looks only there; or the result of
            ``find_foreground``.
        min_coverage: least part of a window that mask, content and valid pixels must each cover, 0 to 1; with 0 a
            window is scanned if it touches them at all.
        edge: ``valid`` scores windows inside the image; ``reflect``, ``replicate`` and ``constant`` (black) continue
            the image, so that a window is centred on every step of it, corner to corner.
        clip: cut the objects of a scan's output (GeoJSON, vector files, tables) to the polygons of the mask's file,
            beyond which windows at its edge reach otherwise. Their scores stay those of the whole.

    Raises:
        GeometryError: a region of another form or an empty one, unknown ``coordinates`` or ``edge``, or a coverage
            outside 0 to 1. Whether a region lies in the image, and a mask on it, is checked with the image.

    Examples:
        >>> Where(region=":2000,500:", skip_background=True)
        Where(region=':2000,500:', skip_background=True)
    """

    region: RegionLike | None = None
    mask: object = None
    coordinates: str = "auto"
    skip_background: bool | Foreground = False
    min_coverage: float = 0.0
    edge: str = "valid"
    clip: bool = False

    def __post_init__(self) -> None:
        if self.region is not None:
            region_ends(self.region)
        parse_coordinates(self.coordinates)
        check_coverage(self.min_coverage)
        parse_edge(self.edge)

    def __repr__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        defaults = {f.name: f.default for f in fields(self)}
        shown = (f"{name}={_short(value)}" for name, value in given if not _is_default(value, defaults[name]))
        return f"Where({', '.join(shown)})"

    def to_json(self) -> dict[str, Any]:
        """What decides which windows of a map are computed, as plain JSON that differs when any of it does.

        ``edge`` and ``clip`` are not part of it: they decide which windows the map has, and what is written of them.

        Raises:
            OSError: the mask's file cannot be read.
        """
        return {
            "region": _plain_region(self.region),
            "mask": None if self.mask is None else _mask_identity(self.mask),
            "coordinates": self.coordinates,
            "skip_background": array_identity(self.skip_background.inside)
            if isinstance(self.skip_background, Foreground)
            else self.skip_background,
            "min_coverage": self.min_coverage,
        }


def _is_default(value: object, default: object) -> bool:
    return value is default or (isinstance(value, (bool, int, float, str)) and value == default)


def _short(value: object) -> str:
    """A value in a few characters: of an array its shape, of an image its name."""
    if isinstance(value, (str, bool, int, float, tuple, list)):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, Foreground):
        return f"<foreground, {value.share:.1%} of the image>"
    if is_raster(value):
        return f"<{value.name}>"
    shape = getattr(value, "shape", None) or getattr(value, "size", None)
    return f"<{type(value).__name__}{f' {tuple(shape)}' if isinstance(shape, tuple) else ''}>"


def _plain_region(region: RegionLike | None) -> Any:
    """A region as it was given, in JSON's types."""
    if region is None or isinstance(region, str):
        return region
    return [_plain_end(part) for part in region]


def _plain_end(part: Any) -> Any:
    if isinstance(part, slice):
        return [_plain_end(part.start), _plain_end(part.stop)]
    if isinstance(part, (tuple, list)):
        return [_plain_end(end) for end in part]
    return None if part is None else int(part)


def _mask_identity(mask: object) -> dict[str, Any]:
    """Plain JSON that differs when a mask does."""
    if isinstance(mask, (str, os.PathLike)):
        return file_identity(Path(mask))
    if is_raster(mask):
        return mask.metadata.identity
    return array_identity(np.atleast_2d(np.asarray(mask)))
