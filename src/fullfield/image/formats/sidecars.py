"""Finds the files beside an image that place, mask or shrink it for every program that uses GDAL."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from fullfield.image.formats.gdal import opened_dataset
from fullfield.image.formats.gdal_metadata import control_points, georeference_of, microns_per_pixel, place_text
from fullfield.image.formats.sidecar_files import MOST_BYTES, Sidecars, read_sidecars, world_file
from fullfield.image.identity import file_identity
from fullfield.image.nodata import nodata_of
from fullfield.image.orientation import oriented_array, oriented_georeference
from fullfield.image.place import crs_name
from fullfield.image.raster import ArrayRaster, Raster, finest_level

_R = TypeVar("_R", bound=Raster)
_AUXILIARY = (b"<GeoTransform", b"<SRS", b"<NoDataValue", b"<GCPList", b"<GCP ")


def has_sidecars(path: str) -> bool:
    """Whether GDAL reads more of a file than its bytes hold: a place, nodata, a mask or levels from files beside it."""
    if any(Path(path + suffix).is_file() for suffix in (".ovr", ".msk")) or world_file(path) is not None:
        return True
    auxiliary = Path(path + ".aux.xml")
    if not auxiliary.is_file():
        return False
    with auxiliary.open("rb") as file:
        text = file.read(MOST_BYTES)
    return any(name in text for name in _AUXILIARY)


def with_sidecars(raster: ArrayRaster, orientation: object) -> ArrayRaster:
    """A decoded picture with the place, the nodata value and the mask that GDAL finds beside its file.

    Args:
        raster: as Pillow decodes it; its name is the path.
        orientation: EXIF's, which GDAL does not apply.

    Raises:
        ImageError: files beside it lead out of its folder, or are damaged.
    """
    metadata = raster.metadata
    if find_spec("rasterio") is None:
        return with_place(raster, orientation)
    with opened_dataset(raster.name) as dataset:
        at, mpp = georeference_of(dataset), microns_per_pixel(dataset.transform, dataset.crs)
        place, origin = place_text(dataset, raster.name, placed=at is not None), control_points(dataset)
        values = set(dataset.nodatavals) if dataset.count == raster.shape[2] else {None}
        masks = Path(raster.name + ".msk").is_file()
        held = oriented_array((dataset.dataset_mask() != 0)[:, :, None], orientation)[:, :, 0] if masks else None
    nodata = metadata.nodata
    if nodata is None and len(values) == 1:
        nodata = nodata_of(values.pop(), raster.dtype)
    shown = held if raster.shown is None else raster.shown if held is None else raster.shown & held
    changed = replace(
        metadata,
        georeference=oriented_georeference(at, orientation, raster.shape[:2]),
        mpp=None if at is None else mpp,
        origin=origin if at is None and orientation in (None, 1) else metadata.origin,
        place=place,
        nodata=nodata,
        masked=metadata.masked or nodata is not None or masks,
        reader=metadata.reader if at is None else f"{metadata.reader}, placed by GDAL",
    )
    return replace(raster, metadata=changed, shown=shown)


def with_place(raster: _R, orientation: object = None) -> _R:
    """An image with the place and the nodata value that files beside it give, without GDAL.

    Args:
        raster: of any level; its name is the path.
        orientation: as it was applied to the image's pixels.
    """
    metadata, beside = raster.metadata, read_sidecars(raster.name)
    finest = finest_level(raster)
    at = oriented_georeference(beside.georeference, orientation, finest.size)
    mpp, scale = beside.mpp, [whole / part for whole, part in zip(finest.size, raster.shape[:2], strict=True)]
    nodata = metadata.nodata
    if nodata is None and len(set(map(str, beside.nodata))) == 1 and len(beside.nodata) == raster.shape[2]:
        nodata = nodata_of(beside.nodata[0], raster.dtype)
    missing = [suffix for suffix in (".ovr", ".msk") if Path(raster.name + suffix).is_file()]
    notes = [f"placed by {' and '.join(beside.names)}"] if at is not None else []
    notes += beside.notes
    notes += [f"without {' and '.join(missing)} beside it: pip install 'fullfield[geo]'"] if missing else []
    changed = replace(
        metadata,
        georeference=None if at is None else at.moved(0, 0, (scale[0], scale[1])),
        place=_place_text(beside),
        mpp=metadata.mpp if at is None else None if mpp is None else (mpp[0] * scale[0], mpp[1] * scale[1]),
        nodata=nodata,
        masked=metadata.masked or nodata is not None,
        origin=beside.origin if beside.origin.points else metadata.origin,
        reader=metadata.reader + (f" ({'; '.join(notes)})" if notes else ""),
        identity=metadata.identity | {"beside": {name: _state(raster.name, name) for name in beside.names}},
    )
    return replace(raster, metadata=changed)  # type: ignore[type-var]  # all readers' are dataclasses


def _place_text(beside: Sidecars) -> str | None:
    at, points = beside.georeference, beside.origin.points
    if at is not None:
        return f"{crs_name(at.crs)}, by {' and '.join(beside.names)}"
    known = crs_name(beside.origin.points_crs) if beside.origin.points_crs else "an unknown coordinate system"
    return f"{len(points)} control points in {known}, which a GeoTIFF of the scores keeps" if points else None


def _state(path: str, name: str) -> dict[str, object]:
    return file_identity(Path(path).with_name(name))
