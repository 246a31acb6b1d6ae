"""Reads Zarr v2 and v3 arrays and OME-Zarr images by chunk, from folders, zip files and fsspec URLs."""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.checks import check_block, check_region, check_size, damaged, thumbnail_of
from fullfield.image.formats.zarr_axes import Axes, axes_of, channel_names, ome_axes, ome_mpp, ome_origin
from fullfield.image.formats.zarr_bounds import RangeRequestError, bounded
from fullfield.image.formats.zarr_find import ZarrImage, dimension_names, find_image, open_store, zarr_errors
from fullfield.image.formats.zarr_identity import zarr_identity
from fullfield.image.formats.zarr_place import MapPlace, find_place, scale_and_offset
from fullfield.image.nodata import check_nodata, data_mask, nodata_of
from fullfield.image.place import crs_name
from fullfield.image.raster import Georeference, ImageMetadata, Origin, raster_text
from fullfield.image.scaling import scale_note, scaled_numbers, scaled_type
from fullfield.image.selection import Selection, select_bands, select_level

_CHUNKS_PER_SHARD = 1 << 22  # whose index takes 64 MiB
_LEAST_CHUNK = 16  # px: a megapixel in smaller chunks would take 65536 reads
_NODATA_NAMES = ("_FillValue", "missing_value", "nodata")


@dataclass(frozen=True, eq=False)
class ZarrRaster:
    """One level of a Zarr image; implements ``Raster``.

    Args:
        name: folder or URL.
        metadata: the image's metadata.
        axes: of the array.
        bands: channels selected.
        level: index of the level.
        scaled: scale, offset and nodata value of the stored numbers, where these are applied.
    """

    name: str
    metadata: ImageMetadata
    axes: Axes
    bands: tuple[int, ...]
    level: int
    _levels: tuple[Any, ...] = field(repr=False)
    _store: Any = field(repr=False)
    scaled: tuple[float, float, float | None] | None = None

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return (*self.metadata.levels[self.level], len(self.bands))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in the machine's byte order; booleans become 0 and 255."""
        stored: np.dtype[Any] = np.dtype(self._levels[self.level].dtype).newbyteorder("=")
        if self.scaled is not None:
            return scaled_type(stored)
        return np.dtype(np.uint8) if stored == np.bool_ else stored

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region; missing chunks are the fill value.

        Raises:
            ImageError: a chunk is damaged, or the region leaves the image.
        """
        check_region((top, bottom, left, right), self.shape, self.name)
        return self._pixels(self.level, (top, bottom, left, right))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the pixels that are not nodata; ``None`` if there can be none."""
        if not self.metadata.masked:
            return None
        return self.mask(self.read(top, bottom, left, right))

    def mask(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid ones among pixels already read."""
        return data_mask(pixels, self.metadata.nodata, every=self.metadata.every_band)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from its pyramid; ``None`` if it is large and has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.metadata.levels[level]
            return self._pixels(level, (0, height, 0, width))

        return thumbnail_of(self.metadata.levels, side, whole, pixel_bytes=self.shape[2] * self.dtype.itemsize)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def _pixels(self, level: int, region: tuple[int, int, int, int]) -> NDArray[Any]:
        array, axes = self._levels[level], self.axes
        index: list[Any] = [slice(None)] * array.ndim
        index[axes.y], index[axes.x] = slice(*region[:2]), slice(*region[2:])
        for axis, position in axes.fixed:
            index[axis] = position
        channels, order_back = _channel_index(self.bands)
        if axes.c is not None:
            index[axes.c] = channels
        try:
            pixels = np.asarray(array.oindex[tuple(index)])
        except RangeRequestError as error:
            raise ImageError(self.name, error.what, fix=error.fix) from error
        except Exception as error:
            raise damaged(self.name, region, error) from error
        order = [axis for axis in range(array.ndim) if axis not in dict(axes.fixed)]
        wanted = [axes.y, axes.x] if axes.c is None else [axes.y, axes.x, axes.c]
        pixels = pixels.transpose([order.index(axis) for axis in wanted])
        pixels = pixels[:, :, None] if axes.c is None else pixels[:, :, order_back]
        if self.scaled is not None:
            pixels = scaled_numbers(pixels, *self.scaled)
        if pixels.dtype == np.bool_:
            return pixels.astype(np.uint8) * np.uint8(255)
        return np.ascontiguousarray(pixels, dtype=self.dtype)


def open_zarr(path_or_url: str, selection: Selection) -> ZarrRaster:
    """Opens one level of a Zarr array or OME-Zarr image (0.1 to 0.5).

    ``selection.series`` counts the images of a bioformats2raw file, the fields of a well, the entries of
    ``multiscales``, or the arrays of a group by name. Axes are known by name, else by convention. Attributes declare
    the nodata value, ``_FillValue``, ``missing_value`` or ``nodata``, else it is NaN if the fill value is NaN; of Zarr
    v2 with a grid mapping it is the fill value. The place is that of the grid mapping, or of GeoZarr's attributes.

    Args:
        path_or_url: folder of a group or array, a zip file of one, or a URL that fsspec reads.
        selection: level, mpp, bands, series, z and t.

    Raises:
        ImageError: not a Zarr, without an image, or without what is selected.
    """
    where = path_or_url
    with zarr_errors(where):
        store, path = open_store(where)
        try:
            return _opened(store, find_image(store, path, selection, where), selection, where)
        except BaseException:
            store.close()
            raise


def _opened(store: Any, image: ZarrImage, selection: Selection, where: str) -> ZarrRaster:
    first = image.levels[0]
    names = ome_axes(image.multiscale) if image.multiscale else dimension_names(first)
    if names is not None and len(names) != first.ndim:
        raise ImageError(where, f"names {len(names)} axes of {first.ndim}", fix="check the metadata")
    axes = axes_of(names, first.shape, selection, where)
    for array in image.levels:
        _check_array(array, axes, where)
    mpps = [ome_mpp(image.multiscale, dataset, axes) for dataset in image.datasets]
    known = [max(mpp) for mpp in mpps if mpp is not None]
    level = select_level(selection, len(mpps), known if len(known) == len(mpps) else None, where=where)
    array = image.levels[level]
    count = 1 if axes.c is None else first.shape[axes.c]
    labels = channel_names(image.attributes, range(count))
    named: list[tuple[str, ...]] = [(label,) if label else () for label in labels]
    bands = select_bands(selection.bands, count, where=where, names=named)
    stored = np.dtype(array.dtype).newbyteorder("=")
    declared = check_nodata(selection.nodata, stored, where)
    nodata = nodata_of(_nodata(array, image), stored) if declared is None else declared
    scale = scale_and_offset(image.attributes)
    scaled = (*scale, nodata) if selection.scale_offset else None
    if scaled is not None and nodata is not None:
        nodata = math.nan
    place = MapPlace() if image.group is None or names is None else find_place(first, names, axes, image.group)
    origin = ome_origin(image.multiscale, image.datasets[0], axes)
    fixed = {"level": level, "bands": list(bands), "fixed": [list(pair) for pair in axes.fixed]}
    metadata = ImageMetadata(
        identity=zarr_identity(store, array, image, where) | fixed,
        tile=(min(array.chunks[axes.y], array.shape[axes.y]), min(array.chunks[axes.x], array.shape[axes.x])),
        levels=tuple((int(a.shape[axes.y]), int(a.shape[axes.x])) for a in image.levels),
        level=level,
        mpp=mpps[level] or place.mpp,
        georeference=place.georeference,
        nodata=nodata,
        masked=nodata is not None or stored.kind == "f" or scaled is not None,
        every_band=selection.valid == "all",
        value_range=selection.value_range,
        origin=origin,
        place=_place_text(place.georeference, origin),
        band_names=tuple(labels[band] for band in bands) if any(labels) else (),
        reader=f"zarr (v{array.metadata.zarr_format}{', OME' if image.multiscale else ''}{place.note})"
        + scale_note([scale], applied=scaled is not None),
    )
    levels = tuple(bounded(level, store, where) for level in image.levels)
    return ZarrRaster(where, metadata, axes, bands, level, levels, store, scaled)


def _check_array(array: Any, axes: Axes, where: str) -> None:
    """Raises an ImageError for an array whose reading would take unbounded memory or time."""
    if np.dtype(array.dtype).kind not in "buif":
        raise ImageError(where, f"holds {array.dtype}, a network takes real numbers", fix="convert the array")
    height, width = array.shape[axes.y], array.shape[axes.x]
    check_size((height, width), where)
    channels = 1 if axes.c is None else array.shape[axes.c]
    if not 1 <= channels <= 1 << 20:
        raise ImageError(where, f"has {channels} channels, 1..{1 << 20} are supported", fix="check the metadata")
    check_block(array.chunks, np.dtype(array.dtype).itemsize, where)
    area = min(array.chunks[axes.y], height) * min(array.chunks[axes.x], width)
    if height * width > 1 << 20 and area < _LEAST_CHUNK:
        raise ImageError(
            where, f"is stored in chunks of {area} px, at least {_LEAST_CHUNK} are needed", fix="rechunk it to 512x512"
        )
    shards = getattr(array, "shards", None)
    if shards and math.prod(-(-s // c) for s, c in zip(shards, array.chunks, strict=True)) > _CHUNKS_PER_SHARD:
        raise ImageError(
            where, f"has shards {shards} of chunks {array.chunks}: too many in one", fix="use smaller shards"
        )


def _nodata(array: Any, image: ZarrImage) -> float | None:
    """The nodata value that attributes declare, as CF and xarray mean it."""
    attributes = {**image.attributes, **dict(array.attrs)}
    kind = np.dtype(array.dtype).kind
    for name in _NODATA_NAMES:
        value = attributes.get(name)
        if isinstance(value, str) and value.lower() == "nan":
            return math.nan
        if isinstance(value, str) and kind == "f":
            value = _packed_float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    fill = array.fill_value
    if kind == "f" and fill is not None and np.isnan(fill):
        return math.nan
    if array.metadata.zarr_format == 2 and "grid_mapping" in attributes and fill is not None:
        return float(fill)  # xarray's way to write _FillValue in Zarr v2
    return None


def _packed_float(text: str) -> float | None:
    """A number of 8 bytes in base 64, as xarray writes ``_FillValue`` in Zarr v3; ``None`` if it is none."""
    try:
        found: float = struct.unpack("<d", base64.b64decode(text, validate=True))[0]
    except (ValueError, struct.error):
        return None
    return found


def _place_text(at: Georeference | None, origin: Origin) -> str | None:
    """What places an image and on which map, for reports."""
    if at is not None:
        return f"{crs_name(at.crs)}, by the coordinates of the Zarr"
    return None if origin.first == (0, 0) else "the translation of OME-Zarr"


def _channel_index(bands: tuple[int, ...]) -> tuple[Any, Any]:
    """The index along the channel axis (a slice if possible), and the one that brings its result into the order."""
    low, high = min(bands), max(bands) + 1
    if bands == tuple(range(low, high)):
        return slice(low, high), slice(None)
    distinct = np.array(sorted(set(bands)))
    return distinct, np.searchsorted(distinct, bands)
