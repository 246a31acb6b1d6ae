"""Reads GeoTIFF, COG and every other raster that GDAL knows, by window, with its georeference.

Files are not trusted: the files that one *names* must lie in its own folder or below (``gdal_safety``), and drivers
whose files are addresses of services are disabled.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.checks import BLOCK_BYTES, check_block, check_region, check_size, damaged, thumbnail_of, unreadable
from fullfield.image.decoded_size import block_bytes
from fullfield.image.formats.bits import bits_range, gdal_bits
from fullfield.image.formats.gdal_metadata import (
    band_names,
    common_type,
    control_points,
    dataset_metadata,
    georeference_of,
    microns_per_pixel,
    palette_colours,
    place_text,
    reader_name,
    statistics_of,
    tag_microns,
)
from fullfield.image.formats.gdal_safety import (
    allowed_drivers,
    check_files,
    check_path,
    gdal_options,
    gdal_path,
    is_remote,
    uncached,
)
from fullfield.image.formats.gdal_sparse import is_absent
from fullfield.image.formats.handles import Handles
from fullfield.image.network import noticed
from fullfield.image.nodata import check_nodata, empty_values, nodata_of
from fullfield.image.raster import ImageMetadata, Origin, raster_text
from fullfield.image.scaling import scale_note, scaled_numbers, scaled_type
from fullfield.image.selection import Selection, check_single, level_mpp, select_bands, select_index, select_level
from fullfield.packages import import_packages

_MOST_LEVELS = 32
_WARNINGS = threading.Lock()  # warning filters are global to the process


@dataclass(frozen=True)
class _ReadPlan:
    """How to open and read one image.

    Args:
        target: what GDAL opens: a file, an address or the name of a subdataset.
        bands: bands to read, counted from 1.
        colours: RGBA of every index if the band is a palette's, else ``None``.
        dtype: of the pixels read.
        masked: whether some pixels may be invalid.
        by_value: whether the file's masks say no more than which pixels have its nodata value.
        alpha: band of opacity that is not among those read, counted from 1.
        nodata: value that the user declares in place of the file's.
        every_band: whether a valid pixel holds data in all bands.
        white: the stored value that is white, where the file counts from white to black.
        scaled: scale, offset and nodata value of each band, where these are applied.
    """

    target: str
    bands: tuple[int, ...]
    colours: NDArray[np.uint8] | None
    dtype: np.dtype[Any]
    masked: bool
    by_value: bool = True
    alpha: int | None = None
    nodata: float | None = None
    every_band: bool = False
    white: int | None = None
    scaled: tuple[tuple[float, float, float | None], ...] | None = None


@dataclass(frozen=True, eq=False)
class GdalRaster:
    """One level of a raster that GDAL reads; implements ``Raster``.

    Args:
        name: path or address.
        shape: height and width, px, and channels.
        metadata: the file's metadata.
        plan: how to open and read the file.
        channels: those returned, of the bands read or of the palette's colours.
    """

    name: str
    shape: tuple[int, int, int]
    metadata: ImageMetadata
    plan: _ReadPlan
    channels: tuple[int, ...]
    _handles: Handles[Any] = field(repr=False)
    _finest: Handles[Any] | None = field(default=None, repr=False)  # whose mask is read, where another level is

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.plan.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a half-open region.

        Raises:
            ImageError: the file is damaged there, or the region leaves the image.
        """
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        with _errors(self.name, region), _noticed(self.name), _settings(self.name), self._handles.borrowed() as dataset:
            return _pixels(dataset, self.plan, region, self.channels)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels, by the file's nodata value, alpha or mask band."""
        if not self.plan.masked:
            return None
        region = (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        with _errors(self.name, region), _noticed(self.name), _settings(self.name), self._handles.borrowed() as dataset:
            if self._finest is None:
                valid = _valid_pixels(dataset, dataset, self.plan, region)
            else:
                with self._finest.borrowed() as finest:
                    valid = _valid_pixels(dataset, finest, self.plan, region)
        return None if valid.all() else valid

    def absent(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Whether the file stores no tile of a region; no pixels are decoded."""
        if not self.plan.masked:
            return False
        region = (top, bottom, left, right)
        with _errors(self.name, region), _settings(self.name), self._handles.borrowed() as dataset:
            return is_absent(dataset, self.plan.bands, region)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from an overview; ``None`` if it is large and has none."""

        def whole(level: int) -> NDArray[Any]:
            height, width = self.metadata.levels[level]
            with _settings(self.name), _opened(self.plan.target, level, self.name) as dataset:
                return _pixels(dataset, self.plan, (0, height, 0, width), self.channels)

        with _errors(self.name, (0, self.shape[0], 0, self.shape[1])):
            return thumbnail_of(self.metadata.levels, side, whole, pixel_bytes=self.shape[2] * self.dtype.itemsize)

    def close(self) -> None:
        """Closes the file."""
        self._handles.close()
        if self._finest is not None:
            self._finest.close()


@contextmanager
def opened_dataset(path: str) -> Iterator[Any]:
    """A file as rasterio opens it, for what GDAL finds beside it; closed at the end of the block.

    Raises:
        ImageError: rasterio is not installed, or GDAL does not read the file.
    """
    with _errors(path, None), _settings(path):
        check_path(path)
        with _opened(gdal_path(path), 0, path) as dataset:
            check_files(path, dataset)
            yield dataset


def open_gdal(path: str, selection: Selection) -> GdalRaster:
    """Opens one level of a raster that GDAL reads.

    Channels are the bands selected, by default all but alpha, which becomes ``valid``. A palette's band is returned as
    its colours. Bands of different types are returned in the smallest type that holds them all.

    Args:
        path: a file, a folder that GDAL knows, or an address (https, s3, gs, az, ``/vsi…``) given by the user.
        selection: level (overviews are levels), mpp, bands; ``series`` selects the subdataset.

    Raises:
        ImageError: rasterio is not installed, the file is not a raster, or does not hold what is selected.
    """
    with _errors(path, None), _settings(path):
        check_path(path, trust=selection.trust)
        target = _subdataset(path, selection)
        with _opened(target, 0, path) as dataset:
            check_files(path, dataset, trust=selection.trust)
            plan, channels, names = _read_plan(dataset, target, selection, path)
            placed = georeference_of(dataset) is not None
            origin = Origin() if placed else control_points(dataset)
            reader = reader_name(dataset, path, placed=placed) + scale_note(
                [(dataset.scales[band - 1], dataset.offsets[band - 1]) for band in plan.bands],
                applied=plan.scaled is not None,
            )
            place = place_text(dataset, path, placed=placed)
            first = microns_per_pixel(dataset.transform, dataset.crs) if placed else tag_microns(dataset)
            count = min(len(dataset.overviews(plan.bands[0])), _MOST_LEVELS - 1)
        levels = tuple(_size(target, level, path) for level in range(count + 1))
        mpps = None if first is None else [max(first) * levels[0][1] / width for _, width in levels]
        level = select_level(selection, len(levels), mpps, where=path)
        with _opened(target, level, path) as dataset:
            metadata = dataset_metadata(
                dataset, path, bands=plan.bands, channels=channels, names=names, levels=levels, level=level
            )
            stored = statistics_of(dataset, plan.bands) if plan.colours is None and plan.scaled is None else None
            bits = gdal_bits(dataset, plan.bands) if plan.colours is None else None
            span = selection.value_range or (bits_range(bits, plan.dtype) if plan.scaled is None else None)
    metadata = replace(
        metadata,
        value_range=span,
        georeference=metadata.georeference if placed else None,  # of an overview GDAL makes one
        origin=origin,
        reader=reader,
        place=place,
        statistics=stored,
        mpp=metadata.mpp if placed or first is None else level_mpp(first, levels, level),
        nodata=_shown_nodata(metadata.nodata if plan.nodata is None else plan.nodata, plan),
        masked=plan.masked,
        every_band=plan.every_band,
        alpha=plan.alpha is not None,
    )
    handles = Handles[Any](partial(_open, target, level, path), path)
    # masks may have no overviews of their own, and GDAL then takes all of a coarse level for valid
    finest = Handles[Any](partial(_open, target, 0, path), path) if level and not plan.by_value else None
    return GdalRaster(path, (*levels[level], len(channels)), metadata, plan, channels, handles, finest)


def _shown_nodata(stored: float | None, plan: _ReadPlan) -> float | None:
    """The nodata value among the pixels as they are returned."""
    if plan.scaled is not None:
        return float("nan") if any(nodata is not None for *_, nodata in plan.scaled) else None
    found = nodata_of(stored, plan.dtype)
    return found if found is None or plan.white is None else plan.white - found


def _subdataset(path: str, selection: Selection) -> str:
    """What GDAL is to open: the file, or its subdataset number ``selection.series``."""
    check_single(selection, ("z", "t"), where=path)
    import rasterio  # type: ignore[import-untyped]

    file = gdal_path(path)
    with rasterio.Env(**uncached()), _opened(file, 0, path) as dataset:
        inside, count, driver = dataset.subdatasets, dataset.count, dataset.driver
    if not inside or (count and selection.series is None):
        if count == 0:
            raise ImageError(path, f"holds no bands ({driver})", fix="give a file with bands")
        select_index(selection.series, 1, what="series", where=path)
        return file
    chosen: str = inside[select_index(selection.series, len(inside), what="series", where=path)]
    return chosen


def _noticed(path: str) -> AbstractContextManager[None]:
    """Tells the user of a server that stalls while the block reads from one."""
    return noticed(path) if is_remote(path) else nullcontext()


def _check_blocks(dataset: Any, target: str, where: str) -> None:
    """Raises an ImageError if the bands of a block would together decode to more than a file of its size may."""
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    together = dataset.count if structure.get("INTERLEAVE") == "PIXEL" else 1
    itemsize = np.dtype(dataset.dtypes[0].replace("complex_", "complex")).itemsize * together
    packed = "COMPRESSION" in structure and Path(target).is_file()
    most = block_bytes(Path(target).stat().st_size) if packed else BLOCK_BYTES
    check_block(dataset.block_shapes[0], itemsize, where, most_bytes=most)


def _read_plan(
    dataset: Any, target: str, selection: Selection, where: str
) -> tuple[_ReadPlan, tuple[int, ...], tuple[str, ...]]:
    """How to read the selected bands, the channels returned (of bands or palette colours), and their names."""
    from rasterio.enums import ColorInterp  # type: ignore[import-untyped]

    check_size((dataset.height, dataset.width), where)
    _check_blocks(dataset, target, where)
    kinds = dataset.colorinterp
    if dataset.count == 1 and kinds[0] is ColorInterp.palette and dataset.dtypes[0] in ("uint8", "uint16"):
        colours = palette_colours(dataset)
        grey = gdal_bits(dataset, (1,)) == 1 and bool((colours[:2, :1] == colours[:2, 1:3]).all())  # GDAL's, of 1 bit
        colour_names = () if grey else ("red", "green", "blue")
        channels = select_bands(
            selection.bands, 1 if grey else 3, where=where, names=[(name,) for name in colour_names]
        )
        masked = bool((colours[:, 3] == 0).any()) or _has_mask(dataset, (1,))
        plan = _ReadPlan(target, (1,), colours, np.dtype(np.uint8), masked, _by_value(dataset, (1,)))
        return plan, channels, () if grey else tuple(colour_names[c] for c in channels)
    opaque = tuple(i for i, kind in enumerate(kinds) if kind is not ColorInterp.alpha) or tuple(range(dataset.count))
    known = band_names(dataset)
    bands = (
        opaque if selection.bands is None else select_bands(selection.bands, dataset.count, where=where, names=known)
    )
    dtype = common_type([dataset.dtypes[b] for b in bands], where)
    indexes = tuple(b + 1 for b in bands)
    names = tuple((*known[b], "")[0] for b in bands)
    alphas = [i for i, kind in enumerate(kinds, 1) if kind is ColorInterp.alpha and i not in indexes]
    nodata, white = check_nodata(selection.nodata, dtype, where), _white(dataset, dtype)
    plan = _ReadPlan(
        target,
        indexes,
        None,
        dtype,
        _has_mask(dataset, indexes) or bool(alphas) or nodata is not None or dtype.kind == "f",
        _by_value(dataset, indexes),
        alphas[0] if alphas else None,
        nodata if nodata is None or white is None else white - nodata,
        selection.valid == "all",
        white,
    )
    if selection.scale_offset:
        plan = _scaled(plan, dataset)
    return plan, tuple(range(len(bands))), names if any(names) else ()


def _scaled(plan: _ReadPlan, dataset: Any) -> _ReadPlan:
    """The plan whose pixels are floats: stored numbers times the scale of their band, plus its offset."""
    stored = [
        (
            dataset.scales[b - 1],
            dataset.offsets[b - 1],
            dataset.nodatavals[b - 1] if plan.nodata is None else plan.nodata,
        )
        for b in plan.bands
    ]
    bands = tuple((scale, offset, nodata_of(nodata, plan.dtype)) for scale, offset, nodata in stored)
    return replace(plan, dtype=scaled_type(plan.dtype), scaled=bands)


def _has_mask(dataset: Any, indexes: tuple[int, ...]) -> bool:
    from rasterio.enums import MaskFlags

    return not all(MaskFlags.all_valid in dataset.mask_flag_enums[i - 1] for i in indexes)


def _by_value(dataset: Any, indexes: tuple[int, ...]) -> bool:
    """Whether no mask, beside or inside the file, says which pixels are valid: only nodata values and alpha do."""
    from rasterio.enums import MaskFlags

    flags = (set(dataset.mask_flag_enums[i - 1]) for i in indexes)
    return all(MaskFlags.per_dataset not in flag or MaskFlags.alpha in flag for flag in flags)


def _white(dataset: Any, dtype: np.dtype[Any]) -> int | None:
    """The stored value of white of a TIFF that counts from white to black; GDAL does not invert it."""
    if dtype.kind != "u" or dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") != "YES":
        return None
    bits = gdal_bits(dataset, (1,)) or 8 * dtype.itemsize
    return int(2 ** min(bits, 8 * dtype.itemsize)) - 1


def _size(target: str, level: int, path: str) -> tuple[int, int]:
    with _opened(target, level, path) as dataset:
        return dataset.height, dataset.width


def _pixels(
    dataset: Any, plan: _ReadPlan, region: tuple[int, int, int, int], channels: tuple[int, ...]
) -> NDArray[Any]:
    """Pixels ``(y, x, c)`` of a region of an open file."""
    window = _window(region)
    if plan.colours is not None:
        table = np.ascontiguousarray(plan.colours[:, list(channels)])
        found: NDArray[Any] = table[dataset.read(1, window=window)]
        return found
    if len({dataset.dtypes[band - 1] for band in plan.bands}) == 1:
        planes = dataset.read(list(plan.bands), window=window)
    else:
        planes = np.stack([dataset.read(band, window=window).astype(plan.dtype) for band in plan.bands])
    if plan.scaled is not None:
        return np.stack(
            [scaled_numbers(one, *band) for one, band in zip(planes, plan.scaled, strict=True)], axis=2
        ).astype(plan.dtype)
    if plan.white is not None:
        planes = np.subtract(plan.white, planes, dtype=plan.dtype)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _valid_pixels(dataset: Any, finest: Any, plan: _ReadPlan, region: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Mask of the pixels that are valid in some band read, or in all: by nodata, NaN, masks and alpha.

    Args:
        dataset: open at the level read.
        finest: open at the finest level, whose masks count on every level.
        plan: how to read it.
        region: of the level read.
    """
    window, bands = _window(region), list(plan.bands)
    held = np.ones((len(bands), region[1] - region[0], region[3] - region[2]), np.bool_)
    if not plan.by_value:
        held &= _masks(finest, dataset, bands, region)
    elif plan.nodata is None:
        held &= dataset.read_masks(bands, window=window) != 0
    if plan.nodata is not None or plan.dtype.kind == "f":
        for one, band in zip(held, bands, strict=True):
            empty = empty_values(dataset.read(band, window=window), plan.nodata)
            if empty is not None:
                one &= ~empty
    found = np.asarray(held.all(axis=0) if plan.every_band else held.any(axis=0))
    if plan.alpha is not None:
        found &= dataset.read(plan.alpha, window=window) != 0
    if plan.colours is not None:
        found &= plan.colours[dataset.read(1, window=window), 3] != 0
    return found


def _masks(finest: Any, dataset: Any, bands: list[int], region: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The file's masks of a region of a level: those of the finest level, the nearest pixel of each."""
    from rasterio.windows import Window  # type: ignore[import-untyped]

    top, bottom, left, right = region
    y, x = finest.height / dataset.height, finest.width / dataset.width
    window = Window(left * x, top * y, (right - left) * x, (bottom - top) * y)
    shape = len(bands), bottom - top, right - left
    return np.asarray(finest.read_masks(bands, window=window, out_shape=shape) != 0)


def _window(region: tuple[int, int, int, int]) -> Any:
    from rasterio.windows import Window

    top, bottom, left, right = region
    return Window(left, top, right - left, bottom - top)


def _open(target: str, level: int, path: str) -> Any:
    """A handle of one level, without rasterio's warnings: ``ImageMetadata`` holds the facts."""
    import rasterio
    from rasterio.io import DatasetReader  # type: ignore[import-untyped]  # rasterio.open takes no list of drivers

    kwargs = {} if level == 0 else {"OVERVIEW_LEVEL": level - 1}
    with _WARNINGS, rasterio.Env(**gdal_options(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DatasetReader(target, driver=allowed_drivers(path), sharing=False, **kwargs)


@contextmanager
def _settings(path: str) -> Iterator[None]:
    """Applies GDAL's settings in this thread; GDAL's messages then go to a log instead of stderr."""
    import rasterio

    with rasterio.Env(**gdal_options(path)):
        yield


@contextmanager
def _opened(target: str, level: int, path: str) -> Iterator[Any]:
    """A handle that is closed at the end of the block."""
    dataset = _open(target, level, path)
    try:
        yield dataset
    finally:
        dataset.close()


@contextmanager
def _errors(where: str, region: tuple[int, int, int, int] | None) -> Iterator[None]:
    """Turns rasterio's errors into an ImageError with the file and the region."""
    import_packages("rasterio", extra="geo", where=where)
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        cause = error.__cause__ or error  # GDAL's own message, where rasterio only refers to it
        if "Range downloading not supported" in str(cause):
            raise ImageError(
                where, "the server does not support range requests, which GDAL needs", fix="download the file"
            ) from error
        raise (unreadable(where, cause) if region is None else damaged(where, region, cause)) from error
