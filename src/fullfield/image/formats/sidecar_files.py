"""Reads the place and the nodata value that files beside an image give it: world files, and GDAL's ``.aux.xml``.

Used where rasterio is not installed; with it, GDAL itself reads them.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fullfield.errors import ImageError
from fullfield.image.place import projected_unit
from fullfield.image.raster import AffineTransform, Georeference, Origin

MOST_BYTES = 16 << 20  # of an .aux.xml, most of which are histograms
_WORLD_BYTES = 4096
_AUXILIARY_FIRST = (".tif", ".tiff", ".jpg", ".jpeg")  # formats of which GDAL reads an .aux.xml before a world file
_MEND = "remove the file, or write it again"


@dataclass(frozen=True)
class Sidecars:
    """What the files beside an image say of it.

    Args:
        georeference: of the finest level, as it is stored.
        nodata: of every band; empty if none has one.
        origin: with the control points of an image that only these place.
        names: of the files that are used.
        notes: on those that are not.
    """

    georeference: Georeference | None = None
    nodata: tuple[float, ...] = ()
    origin: Origin = field(default_factory=Origin)
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel (y, x) along the image's axes; ``None`` where the unit of the map is not known."""
        at = self.georeference
        unit = None if at is None or at.crs is None else projected_unit(at.crs)
        if at is None or unit is None:
            return None
        a, b, _, d, e, _ = at.transform
        return math.hypot(b, e) * unit * 1e6, math.hypot(a, d) * unit * 1e6


def world_file(path: str) -> Path | None:
    """The world file beside a file: ``.tfw`` or ``.tifw`` beside ``.tif``, ``.jgw``, ``.pgw`` …, or ``.wld``."""
    file = Path(path)
    kind = file.suffix.removeprefix(".")
    names = ([f"{kind[0]}{kind[-1]}w", f"{kind}w"] if len(kind) > 1 else []) + ["wld"]
    for name in names:
        for spelled in (name.lower(), name.upper(), name):
            beside = file.with_suffix(f".{spelled}")
            if beside.is_file():
                return beside
    return None


def read_sidecars(path: str) -> Sidecars:
    """What the files beside an image say, where they differ the one that counts for GDAL. Damaged ones are left out."""
    beside, world = Path(f"{path}.aux.xml"), world_file(path)
    found, used, notes = Sidecars(), [], []
    if beside.is_file():
        try:
            found = _auxiliary(beside)
            used.append(beside.name)
        except ImageError as error:
            notes.append(f"{beside.name} is not used: it {error.what}")
    at = found.georeference
    first = Path(path).suffix.lower() not in _AUXILIARY_FIRST
    if world is not None and (first or at is None or at.transform == _NO_PLACE):
        try:
            at = Georeference(None if at is None else at.crs, _world(world))
            used.append(world.name)
        except ImageError as error:
            notes.append(f"{world.name} is not used: it {error.what}")
    if at is not None and at.transform == _NO_PLACE:
        at = None
    origin = found.origin if at is None else Origin()
    return replace(found, georeference=at, origin=origin, names=tuple(used), notes=tuple(notes))


_NO_PLACE: AffineTransform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # GDAL's transform of an image without one


def _world(path: Path) -> AffineTransform:
    """The transform of a world file, which gives the centre of the first pixel.

    Source: Esri, World files for raster datasets
    """
    with path.open("rb") as file:
        words = file.read(_WORLD_BYTES).decode("latin-1").replace(",", ".").split()
    try:
        a, d, b, e, x, y = (float(word) for word in words[:6])
    except ValueError as error:
        raise ImageError(str(path), f"holds no six numbers: {' '.join(words[:6])[:80]!r}", fix=_MEND) from error
    if not all(map(math.isfinite, (a, b, d, e, x, y))) or a * e - b * d == 0:
        raise ImageError(str(path), "gives pixels without an area", fix=_MEND)
    return a, b, x - (a + b) / 2, d, e, y - (d + e) / 2


def _auxiliary(path: Path) -> Sidecars:
    """What an ``.aux.xml`` says.

    Raises:
        ImageError: it is not plain XML.
    """
    with path.open("rb") as file:
        text = file.read(MOST_BYTES + 1).decode("utf-8", errors="replace")
    if len(text) > MOST_BYTES:
        raise ImageError(str(path), f"is larger than {MOST_BYTES >> 20} MiB", fix=_MEND)
    if "<!" in text:
        raise ImageError(str(path), "has comments or declarations", fix=_MEND)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  without declarations there are no entities to expand
        crs = (root.findtext("SRS") or "").strip() or None
        place = root.findtext("GeoTransform")
        numbers = () if place is None else tuple(float(part) for part in place.split(","))
        bands = [_nodata(band) for band in root.iter("PAMRasterBand")]
        origin = _points(root)
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise ImageError(str(path), f"cannot be read: {error}", fix=_MEND) from error
    at = None if crs is None else Georeference(crs, _NO_PLACE)
    if len(numbers) == 6 and all(map(math.isfinite, numbers)):
        c, a, b, f, d, e = numbers
        at = Georeference(crs, (a, b, c, d, e, f))
    known = tuple(value for value in bands if value is not None)
    return Sidecars(at, known if len(known) == len(bands) else (), origin)


def _nodata(band: ElementTree.Element) -> float | None:
    """The nodata value of a band; written as bytes, if it has ``le_hex_equiv``, else as text."""
    node = band.find("NoDataValue")
    if node is None:
        return None
    exact = node.get("le_hex_equiv")
    return float(np.frombuffer(bytes.fromhex(exact), "<f8")[0]) if exact else float(node.text or "")


def _points(root: ElementTree.Element) -> Origin:
    """The control points of an image."""
    listed = root.find("GCPList")
    if listed is None:
        return Origin()
    points = tuple(
        tuple(float(point.get(name, "0")) for name in ("Line", "Pixel", "X", "Y", "Z")) for point in listed.iter("GCP")
    )
    return Origin(points=points, points_crs=listed.get("Projection") or None if points else None)
