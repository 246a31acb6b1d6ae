"""Finds the files beside an image that place, mask or shrink it for every program that uses GDAL."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from fullfield.image.formats.gdal import opened_dataset
from fullfield.image.formats.gdal_metadata import georeference_of, microns_per_pixel, world_file
from fullfield.image.nodata import nodata_of
from fullfield.image.orientation import oriented_array, oriented_georeference
from fullfield.image.raster import ArrayRaster

_AUXILIARY = (b"<GeoTransform", b"<SRS", b"<NoDataValue", b"<GCPList", b"<GCP ")
_AUXILIARY_BYTES = 16 << 20  # of an .aux.xml, most of which are histograms


def has_sidecars(path: str) -> bool:
    """Whether GDAL reads more of a file than its bytes hold: a place, nodata, a mask or levels from files beside it."""
    if any(Path(path + suffix).is_file() for suffix in (".ovr", ".msk")) or world_file(path) is not None:
        return True
    auxiliary = Path(path + ".aux.xml")
    if not auxiliary.is_file():
        return False
    with auxiliary.open("rb") as file:
        text = file.read(_AUXILIARY_BYTES)
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
        reader = f"{metadata.reader} (without the files beside it: pip install 'fullfield[geo]')"
        return replace(raster, metadata=replace(metadata, reader=reader))
    with opened_dataset(raster.name) as dataset:
        at, mpp = georeference_of(dataset), microns_per_pixel(dataset.transform, dataset.crs)
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
        nodata=nodata,
        masked=metadata.masked or nodata is not None or masks,
        reader=metadata.reader if at is None else f"{metadata.reader}, placed by GDAL",
    )
    return replace(raster, metadata=changed, shown=shown)
