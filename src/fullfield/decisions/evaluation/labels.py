"""What the user's labels are, and how their names become classes of a map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fullfield.arguments import checks_fields
from fullfield.errors import ImageError
from fullfield.geometry.placement import Placement
from fullfield.mask.geojson import parse_coordinates
from fullfield.mask.polygons import Rings
from fullfield.store.classes import find_band, find_class
from fullfield.store.maps import MapSpec
from fullfield.text import list_text, record_text

ClassKey = str | int | None

OTHER = "other"
"""What labels call none of the map's classes."""
UNLABELLED = -1
UNNAMED = ""
"""What a label without a class is called."""
_LEFT_OUT: dict[str, ClassKey] = {UNNAMED: None, "Ignore*": None}  # QuPath's class of areas that are left out


@checks_fields
@dataclass(frozen=True, eq=False)
class Labels:
    """The user's labels of an image, and what their names and numbers mean.

    Args:
        source: a file of points (GeoJSON, or CSV with columns y, x and class), polygons (GeoJSON) or pixels (a raster
            of class indices), or such a raster as an array ``(y, x)``; or a CSV of whole images (columns image and
            class).
        rename: class in the labels -> class of the map, by name or index; ``None`` leaves out what has that label,
            ``"other"`` is none of the map's classes. ``""`` is the name of labels that have no class.
        property: of GeoJSON's features that holds the class. Found by itself: QuPath's ``classification``, else
            ``class``, ``class_name``, ``label``, ``category`` or ``name``.
        outside: class of everything that no label covers; by default it is not labelled, and left out.
        coordinates: of points and polygons: ``image`` (px), ``map``, or ``auto``, which finds out, as for masks.
        distance: px of the image: a detection this close to a point finds it; by default half the window.
        image_size: height and width, px, of the image whose pixels the coordinates count; by default the finest level
            of the scanned file, or the array that was scanned.

    Raises:
        ImageError: a distance that is not positive.
        GeometryError: unknown ``coordinates``.
    """

    source: object
    rename: Mapping[ClassKey, ClassKey] | None = None
    property: str | None = None
    outside: str | int | None = None
    coordinates: str = "auto"
    distance: float | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        parse_coordinates(self.coordinates)
        if self.distance is not None and not (math.isfinite(self.distance) and self.distance > 0):
            raise ImageError("distance", f"{self.distance} is not a positive number of px", fix="give px of the image")

    def __repr__(self) -> str:
        return record_text(self)

    def hit_distance(self, placement: Placement) -> float:
        """Px of the image within which a detection finds a point."""
        if self.distance is not None:
            return self.distance
        return min(side / scale for side, scale in zip(placement.window, placement.scale, strict=True)) / 2


def parse_labels(labels: object) -> Labels:
    """The record of labels that are given as such, or as a file or an array."""
    return labels if isinstance(labels, Labels) else Labels(labels)


class Samples(NamedTuple):
    """Labelled cells of a block.

    Args:
        cells: ``(n,)``, numbers of the cells in the block, row by row; several samples may be of one cell.
        codes: ``(n,)``, of their classes.
        mixed: cells of the block that lie in labels of several classes.
    """

    cells: NDArray[np.intp]
    codes: NDArray[np.intp]
    mixed: int = 0


@dataclass(frozen=True, eq=False)
class Targets:
    """What detections of a class are to find: points, or polygons.

    Args:
        shapes: in px of the image; points are rings of one point.
        codes: ``(n,)``, the class of each.
        distance: within which a point is found, px; of polygons, the inside is.
    """

    shapes: Rings
    codes: NDArray[np.intp]
    distance: float


class CellLabels(Protocol):
    """Labels of the cells of a map."""

    @property
    def unit(self) -> str:
        """What one sample is: ``cells`` or ``points``."""
        ...

    @property
    def targets(self) -> Targets | None:
        """What detections are to find, where the labels name every such thing."""
        ...

    @property
    def left_out(self) -> dict[str, int]:
        """How many labels do not count, by the reason."""
        ...

    def samples(self, top: int, left: int, rows: int, columns: int) -> Samples:
        """The labelled cells of a block."""
        ...


@dataclass(frozen=True, eq=False)
class ClassCodes:
    """The codes of class names: a class's place among the map's, their number for none of them, -1 to leave it out.

    Args:
        spec: of the map.
        rename: class in the labels -> class of the map.
        where: the labels' file, for errors.
    """

    spec: MapSpec
    rename: Mapping[ClassKey, ClassKey] | None
    where: str

    @property
    def other(self) -> int:
        """The code of none of the map's classes."""
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the map's classes."""
        return self.spec.class_names or tuple(map(str, self.spec.classes))

    def code(self, name: object) -> int:
        """The code of a label.

        Raises:
            ImageError: it names no class of the map.
        """
        renamed = _LEFT_OUT | {str(key): value for key, value in (self.rename or {}).items()}
        wanted: Any = renamed.get(str(name), name)
        if wanted is None:
            return UNLABELLED
        if wanted == OTHER and OTHER not in self.names:
            return self.other
        try:
            if self.spec.kind == "labels":
                return find_class(wanted, len(self.spec.classes), self.spec.class_names or ())
            return find_band(self.spec, wanted)
        except ImageError as error:
            raise self._unknown(name, error) from error

    def _unknown(self, name: object, error: ImageError) -> ImageError:
        known = list_text(self.names, 8)
        label, meant = f"{name!s:.60}", f"{error.fix} " if error.fix.startswith("did you mean") else ""
        fix = (
            f"{meant}Write rename={{{label!r}: CLASS}} (--rename '{label}=CLASS'); None ('{label}=') leaves it out, "
            f"{OTHER} is none of the map's classes"
        )
        return ImageError(self.where, f"the label {label!r} is no class of the map ({known})", fix=fix)


def window_centres(placement: Placement, first: int, count: int, axis: int) -> NDArray[np.float64]:
    """The centres of a map's rows (axis 0) or columns (axis 1), in pixel edges of the image. Shape: ``(count,)``"""
    low, high = placement.centre(first, first)[axis], placement.centre(first + 1, first + 1)[axis]
    return np.linspace(low, low + (high - low) * (count - 1), count) if count else np.empty(0)


def fractional_cells(placement: Placement, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``(n, 2)`` (x, y) of the image in cells (x, y), each a unit wide and from its corner on."""
    origin, one = placement.centre(0, 0), placement.spacing
    cells: NDArray[np.float64] = (points - origin[::-1]) / one[::-1] + 0.5
    return cells
