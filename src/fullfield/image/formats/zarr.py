"""Zarr v2 and v3 arrays and OME-Zarr images, by chunk; folders, zip files and fsspec addresses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.formats.checks import check_block, check_region, check_size, damaged, thumbnail_of
from fullfield.image.formats.zarr_axes import Axes, axes_of, channel_names, ome_axes, ome_mpp
from fullfield.image.formats.zarr_bounds import NoPartsError, bounded
from fullfield.image.formats.zarr_find import Found, errors, find_image, open_store
from fullfield.image.formats.zarr_identity import zarr_identity
from fullfield.image.pick import Pick, finer_level, picked, picked_bands
from fullfield.image.raster import About, differs

_CHUNKS_PER_SHARD = 1 << 22  # an index of 64 MiB
_LEAST_CHUNK = 16  # px; a megapixel of smaller chunks would take 65536 reads
_DECLARED = ("_FillValue", "missing_value", "nodata")


@dataclass(frozen=True, eq=False)
class ZarrRaster:
    """One level of a Zarr image; implements ``Raster``.

    Args:
        name: the folder or address, for reports and errors.
        about: what the metadata say beside the pixels.
        axes: which axis is which.
        bands: channels given.
        level: index of the array read.
    """

    name: str
    about: About
    axes: Axes
    bands: tuple[int, ...]
    level: int
    _levels: tuple[Any, ...] = field(repr=False)
    _store: Any = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return (*self.about.levels[self.level], len(self.bands))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in the machine's byte order; truth values are 0 and 255."""
        found: np.dtype[Any] = np.dtype(self._levels[self.level].dtype).newbyteorder("=")
        return np.dtype(np.uint8) if found == np.bool_ else found

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region; chunks that were never written are the fill value.

        Raises:
            ImageError: a chunk is damaged, or the region leaves the image.
        """
        check_region((top, bottom, left, right), self.shape, self.name)
        return self._pixels(self.level, (top, bottom, left, right))

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Which pixels ``(y, x)`` are not nodata, where the store declares such a value."""
        if self.about.nodata is None:
            return None
        return differs(self.read(top, bottom, left, right), self.about.nodata)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from its pyramid; ``None`` where it is large and has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.about.levels[level]
            return self._pixels(level, (0, height, 0, width))

        return thumbnail_of(self.about.levels, side, whole, pixel_bytes=self.shape[2] * self.dtype.itemsize)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def _pixels(self, level: int, region: tuple[int, int, int, int]) -> NDArray[Any]:
        array, axes = self._levels[level], self.axes
        where: list[Any] = [slice(None)] * array.ndim
        where[axes.y], where[axes.x] = slice(*region[:2]), slice(*region[2:])
        for axis, position in axes.fixed:
            where[axis] = position
        picks, back = _channel_pick(self.bands)
        if axes.c is not None:
            where[axes.c] = picks
        try:
            found = np.asarray(array.oindex[tuple(where)])
        except NoPartsError as error:
            raise ImageError(self.name, error.what, fix=error.fix) from error
        except Exception as error:
            raise damaged(self.name, region, error) from error
        order = [axis for axis in range(array.ndim) if axis not in dict(axes.fixed)]
        wanted = [axes.y, axes.x] if axes.c is None else [axes.y, axes.x, axes.c]
        found = found.transpose([order.index(axis) for axis in wanted])
        found = found[:, :, None] if axes.c is None else found[:, :, back]
        if found.dtype == np.bool_:
            return found.astype(np.uint8) * np.uint8(255)
        return np.ascontiguousarray(found, dtype=self.dtype)


def open_zarr(path_or_url: str, pick: Pick) -> ZarrRaster:
    """One level of a Zarr array or OME-Zarr image (0.1 to 0.5), read by chunk.

    ``pick.series`` counts the images of a bioformats2raw file, the fields of a well, or the entries of
    ``multiscales``. Axes go by name, else by what is usual. nodata is the value that the attributes ``_FillValue``,
    ``missing_value`` or ``nodata`` declare, else NaN where the fill value is.

    Args:
        path_or_url: folder of a group or array, zip file of one, or an address that fsspec reads.
        pick: level, mpp, bands, series, z and t.

    Raises:
        ImageError: no Zarr, no image in it, or nothing that was picked.
    """
    where = path_or_url
    with errors(where):
        store, path = open_store(where)
        try:
            return _opened(store, find_image(store, path, pick, where), pick, where)
        except BaseException:
            store.close()
            raise


def _opened(store: Any, found: Found, pick: Pick, where: str) -> ZarrRaster:
    first = found.levels[0]
    names = ome_axes(found.multiscale) if found.multiscale else _dimension_names(first, found)
    if names is not None and len(names) != first.ndim:
        raise ImageError(where, f"names {len(names)} axes of {first.ndim}", fix="check the metadata")
    axes = axes_of(names, first.shape, pick, where)
    for array in found.levels:
        _check_array(array, axes, where)
    mpps = [ome_mpp(found.multiscale, dataset, axes) for dataset in found.datasets]
    level = _level(mpps, pick, where)
    array = found.levels[level]
    bands = picked_bands(pick.bands, 1 if axes.c is None else first.shape[axes.c], where=where)
    fixed = {"level": level, "bands": list(bands), "fixed": [list(pair) for pair in axes.fixed]}
    about = About(
        identity=zarr_identity(store, array, found, where) | fixed,
        tile=(min(array.chunks[axes.y], array.shape[axes.y]), min(array.chunks[axes.x], array.shape[axes.x])),
        levels=tuple((int(a.shape[axes.y]), int(a.shape[axes.x])) for a in found.levels),
        level=level,
        mpp=mpps[level],
        nodata=_nodata(array, found),
        band_names=channel_names(found.attributes, bands),
        reader=f"zarr (v{array.metadata.zarr_format}{', OME' if found.multiscale else ''})",
    )
    levels = tuple(bounded(level, store, where) for level in found.levels)
    return ZarrRaster(where, about, axes, bands, level, levels, store)


def _dimension_names(array: Any, found: Found) -> list[str] | None:
    """Of Zarr v3's metadata, or as xarray writes them; ``None`` unless every axis has one."""
    names = getattr(array.metadata, "dimension_names", None) or found.attributes.get("_ARRAY_DIMENSIONS")
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def _level(mpps: list[tuple[float, float] | None], pick: Pick, where: str) -> int:
    if pick.mpp is None:
        return picked(pick.level, len(mpps), what="level", where=where)
    known = [max(mpp) for mpp in mpps if mpp is not None]
    if len(known) < len(mpps):
        raise ImageError(
            where, f"{pick.mpp:g} µm/px is wanted, the file names no unit of length", fix="give a level instead"
        )
    return finer_level(known, pick.mpp)


def _check_array(array: Any, axes: Axes, where: str) -> None:
    """Refuses what would take memory or time without bound; nothing is allocated yet."""
    if np.dtype(array.dtype).kind not in "buif":
        raise ImageError(where, f"holds {array.dtype}, and a network takes real numbers", fix="convert the array")
    height, width = array.shape[axes.y], array.shape[axes.x]
    check_size((height, width), where)
    channels = 1 if axes.c is None else array.shape[axes.c]
    if not 1 <= channels <= 1 << 20:
        raise ImageError(where, f"has {channels} channels, 1..{1 << 20} can be read", fix="check the metadata")
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


def _nodata(array: Any, found: Found) -> float | None:
    attributes = {**found.attributes, **dict(array.attrs)}
    for name in _DECLARED:
        value = attributes.get(name)
        if isinstance(value, str) and value.lower() == "nan":
            return math.nan
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    fill = array.fill_value
    if np.dtype(array.dtype).kind == "f" and fill is not None and np.isnan(fill):
        return math.nan
    return None


def _channel_pick(bands: tuple[int, ...]) -> tuple[Any, Any]:
    """What to read along the channels, and how to bring that into the order wanted: a slice where it can be one."""
    low, high = min(bands), max(bands) + 1
    if bands == tuple(range(low, high)):
        return slice(low, high), slice(None)
    distinct = np.array(sorted(set(bands)))
    return distinct, np.searchsorted(distinct, bands)
