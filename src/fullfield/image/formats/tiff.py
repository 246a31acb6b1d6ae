"""Reads TIFF, BigTIFF and OME-TIFF tile by tile."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.geometry.region import Region
from fullfield.image.alpha import on_white, opaque_value
from fullfield.image.blob import Blob, close_quietly, local_path, open_blob
from fullfield.image.checks import check_region, damaged, thumbnail_of
from fullfield.image.decode import DECODE_ERRORS
from fullfield.image.formats.bits import bits_range
from fullfield.image.formats.gdal_safety import is_remote
from fullfield.image.formats.ome_files import OmeFiles, companion_files, is_ome_xml, tiff_files
from fullfield.image.formats.tiff_check import check_structure
from fullfield.image.formats.tiff_file import Series, read_series
from fullfield.image.formats.tiff_mpp import is_trestle, trestle_overlaps
from fullfield.image.formats.tiff_plane import Plane, read_region, split_bands
from fullfield.image.mask_cache import MaskCache
from fullfield.image.nodata import check_nodata, data_mask, nodata_of
from fullfield.image.orientation import oriented
from fullfield.image.photometric import Photometric, photometric_of
from fullfield.image.raster import ImageMetadata, Origin, Raster, raster_text
from fullfield.image.selection import Selection, level_mpp, select_bands, select_level
from fullfield.packages import import_packages

GEO_TAGS = frozenset({33550, 33922, 34264, 34735, 50844})
_ERRORS = (*DECODE_ERRORS, AssertionError)


@dataclass(frozen=True)
class _Alpha:
    """The channel of opacity.

    Args:
        band: counted after ``photometric``.
        premultiplied: whether colours were multiplied by it.
        blended: whether colours are blended with white by it, as pictures are; else they are as they are.
    """

    band: int
    premultiplied: bool
    blended: bool


@dataclass(frozen=True, eq=False)
class TiffRaster:
    """One level of one image of a TIFF.

    Args:
        name: path or URL.
        levels: the planes of every level, finest first.
        photometric: converts stored values to pixels.
        bands: channels selected, counted after ``photometric``.
        alpha: the channel of opacity, if it is not among the bands.
        metadata: the file's metadata.
        close_files: closes the files.
    """

    name: str
    levels: tuple[tuple[Plane, ...], ...]
    photometric: Photometric
    bands: tuple[int, ...]
    alpha: _Alpha | None
    metadata: ImageMetadata
    close_files: Callable[[], None]
    _shown: MaskCache = field(default_factory=MaskCache, repr=False)

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return *self.levels[self.metadata.level][0].size, len(self.bands)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        return self.photometric.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region; only the tiles that it overlaps are decoded, in the calling thread.

        Raises:
            ImageError: the file is damaged there, or the region leaves the image.
        """
        check_region((top, bottom, left, right), self.shape, self.name)
        return self._read(self.metadata.level, (top, bottom, left, right))

    def _read(self, level: int, region: Region) -> NDArray[Any]:
        """Pixels of a level without alpha; which of them are shown is cached."""
        if self.alpha is None:
            return self._stored(level, region, self.bands)
        pixels = self._stored(level, region, (*self.bands, self.alpha.band))
        colours, alpha = np.ascontiguousarray(pixels[:, :, :-1]), pixels[:, :, -1]
        self._shown.put((level, *region), alpha)
        return on_white(colours, alpha, premultiplied=self.alpha.premultiplied) if self.alpha.blended else colours

    def _stored(self, level: int, region: Region, wanted: tuple[int, ...]) -> NDArray[Any]:
        """Some channels of a region of a level."""
        planes = self.levels[level]
        stored = sum(plane.channels for plane in planes)
        bands = wanted if self.photometric.per_channel else tuple(range(stored))
        try:
            pixels = self.photometric.apply(read_region(planes, split_bands(planes, bands), region, len(bands)))
        except _ERRORS as error:
            where = f"{self.name}, level {level}" if level else self.name
            raise damaged(where, region, error) from error
        if self.photometric.per_channel or wanted == tuple(range(self.photometric.channels)):
            return pixels
        return pixels[:, :, wanted]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region: not nodata, not NaN, not fully transparent."""
        metadata, region = self.metadata, (top, bottom, left, right)
        check_region(region, self.shape, self.name)
        if not metadata.masked:
            return None
        valid = self._data(self.read(*region)) if self.alpha is None or self._has_nodata else None
        if self.alpha is not None:
            level, band = metadata.level, self.alpha.band
            shape = bottom - top, right - left
            shown = self._shown.fetch((level, *region), shape, lambda: self._stored(level, region, (band,))[:, :, 0])
            valid = shown if valid is None else valid if shown is None else shown & valid
        return None if valid is None or valid.all() else valid

    @property
    def mask(self) -> Callable[[NDArray[Any]], NDArray[np.bool_] | None] | None:
        """Function that finds the valid ones among pixels already read; ``None`` where they do not show it."""
        return self._data if self.alpha is None else None

    def _data(self, pixels: NDArray[Any]) -> NDArray[np.bool_] | None:
        return data_mask(pixels, self.metadata.nodata, every=self.metadata.every_band)

    @property
    def _has_nodata(self) -> bool:
        return self.metadata.nodata is not None or self.dtype.kind == "f"

    def absent(self, top: int, bottom: int, left: int, right: int) -> bool:
        """Whether the file stores no tile of a region, and the value of missing tiles is invalid."""
        planes = self.levels[self.metadata.level]
        if not self.metadata.masked:
            return False
        fill = np.concatenate([np.full((1, 1, plane.channels), plane.fill, plane.dtype) for plane in planes], axis=2)
        pixel = self.photometric.apply(fill[:, :, self.bands] if self.photometric.per_channel else fill)
        valid = self._data(pixel)
        clear = self.alpha is not None and self.photometric.apply(fill)[0, 0, self.alpha.band] == 0
        if not clear and (valid is None or valid.any()):
            return False
        region = (top, bottom, left, right)
        bands = self.bands if self.alpha is None else (*self.bands, self.alpha.band)
        parts = split_bands(planes, bands if self.photometric.per_channel else tuple(range(fill.shape[2])))
        return all(
            planes[part.plane].blob is None or planes[part.plane].counts[index] == 0
            for part in parts
            for index in planes[part.plane].tiles(part.picture, region)
        )

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image from the coarsest level that is large enough; ``None`` if that level is large."""
        sizes = self.metadata.levels
        pixel_bytes = sum(plane.channels * plane.dtype.itemsize for plane in self.levels[0])

        def whole(level: int) -> NDArray[Any]:
            return self._read(level, (0, sizes[level][0], 0, sizes[level][1]))

        return thumbnail_of(self.metadata.levels, side, whole, pixel_bytes=pixel_bytes)

    def close(self) -> None:
        """Closes the file."""
        self.close_files()


def open_tiff(path: str, selection: Selection) -> Raster:
    """Opens a TIFF of any kind; only its directories are read.

    Args:
        path: file or URL.
        selection: what to read.

    Raises:
        ImageError: tifffile is not installed, or the file cannot be read tile by tile.
    """
    what = "TIFF needs the packages tifffile and imagecodecs"  # the second for compressed tiles
    import_packages("tifffile", "imagecodecs", extra="tiff", where=path, what=what)
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else its messages go to stderr; errors are raised
    opened: dict[str, Blob] = {"": open_blob(path)}
    try:
        with ExitStack() as stack:
            tif, tags = _tiff_file(path, opened, stack)
            series, page = read_series(tif, selection, lambda name: _blob(opened, name, tif.filehandle.path), path)
            return _raster(path, selection, series, page, opened, bool(tags & GEO_TAGS))
    except ImageError:
        close_quietly(*opened.values())
        raise
    except _ERRORS as error:
        close_quietly(*opened.values())
        raise ImageError(
            path,
            f"cannot be read as TIFF ({first_line(error)})",
            fix="it may be damaged or incomplete: copy or download it again",
        ) from error


def _tiff_file(path: str, opened: dict[str, Blob], stack: ExitStack) -> tuple[Any, frozenset[int]]:
    """The TIFF as tifffile opens it, and the codes of its first tags; all files of an OME-TIFF are opened."""
    import tifffile

    if is_ome_xml(opened[""].read(0, 4096)):
        return _set_of_tiffs(companion_files(path), path, opened, stack)
    tags = check_structure(opened[""])
    tif = stack.enter_context(tifffile.TiffFile(_source(path, opened[""], stack), _multifile=False))
    _refuse_slides(tif, path)
    text = tif.ome_metadata
    files = None if text is None else tiff_files(text, path)
    return (tif, tags) if files is None else _set_of_tiffs(files, path, opened, stack)


def _set_of_tiffs(files: OmeFiles, path: str, opened: dict[str, Blob], stack: ExitStack) -> tuple[Any, frozenset[int]]:
    """An OME-TIFF of one or several files, as ``_tiff_file`` returns it."""
    import tifffile

    for part in files.parts:
        opened[str(part.resolve())] = blob = open_blob(str(part))
        check_structure(blob)
    if files.companion is not None:
        opened[str(files.companion.resolve())] = open_blob(str(files.companion))
    if files.first is not None:
        opened[""].close()
        opened[""] = open_blob(str(files.first))
    tags = check_structure(opened[""])
    source = _source(path, opened[""], stack) if files.first is None else str(files.first)
    return stack.enter_context(tifffile.TiffFile(source, omexml=files.metadata)), tags


def _refuse_slides(tif: Any, path: str) -> None:
    """Raises an ImageError for a slide whose tile positions or main page only the vendor's metadata tell."""
    page = tif.pages.first if tif.pages else None
    trestle = page is not None and is_trestle(page) and trestle_overlaps(page)
    for found, vendor in ((tif.is_scn, "Leica"), (tif.is_bif, "Ventana"), (trestle, "Trestle")):
        if found:
            fix = "pip install 'fullfield[slide]'" if local_path(path) is not None else "download the file"
            raise ImageError(path, f"is a {vendor} slide, which OpenSlide reads", fix=fix)


def _source(path: str, blob: Blob, stack: ExitStack) -> Any:
    """What tifffile opens: a local path, or a file object of a URL."""
    local = local_path(path)
    return local if local is not None else stack.enter_context(blob.file())


def _blob(opened: dict[str, Blob], name: str, first: str) -> Blob:
    """The bytes of one of the files of an OME-TIFF."""
    return opened[""] if name == first else opened[str(Path(name).resolve())]


def _raster(path: str, selection: Selection, series: Series, page: Any, opened: dict[str, Blob], geo: bool) -> Raster:
    """One level of a series as a raster."""
    planes = series.levels[0]
    stored = sum(plane.channels for plane in planes)
    jpeg = page.compression in (7, 50001)
    photometric = photometric_of(
        int(page.photometric),
        bits=page.bitspersample,
        dtype=planes[0].dtype,
        channels=stored,
        palette=page.colormap if page.photometric == 3 else None,
        jpeg=jpeg,
        where=path,
    )
    alpha = _alpha(page, photometric, stored)
    names = _names(page, photometric, series, alpha)
    bands = select_bands(selection.bands, photometric.channels, where=path, names=names)
    if selection.bands is None and alpha is not None and stored > 1:
        bands = tuple(band for band in bands if band != alpha.band)
    alpha = None if alpha is None or alpha.band in bands else alpha
    declared = check_nodata(selection.nodata, photometric.dtype, path)
    nodata = _nodata(page, photometric) if declared is None else declared
    sizes = series.sizes
    mpps = None if series.mpp is None else [max(level_mpp(series.mpp, sizes, k)) for k in range(len(sizes))]
    level = select_level(selection, len(sizes), mpps, where=path)
    metadata = ImageMetadata(
        identity=_identity(opened, series, level, bands),
        tile=series.levels[level][0].tile,
        levels=sizes,
        level=level,
        mpp=None if series.mpp is None else level_mpp(series.mpp, sizes, level),
        nodata=nodata,
        masked=nodata is not None or alpha is not None or photometric.dtype.kind == "f",
        every_band=selection.valid == "all",
        alpha=alpha is not None,
        background=(opaque_value(photometric.dtype),) * len(bands) if alpha is not None and alpha.blended else None,
        value_range=selection.value_range or bits_range(photometric.bits(series.bits), photometric.dtype),
        profile=page.iccprofile or None,
        origin=Origin() if series.stage is None else Origin(first=series.stage),
        place=None if series.stage is None else "the position of the stage",
        band_names=tuple((*names[band], "")[0] for band in bands) if any(names) else (),
        reader="tifffile" + (f" (without georeference: {_georeference_fix(path)})" if geo else ""),
    )

    def close() -> None:
        close_quietly(*opened.values())

    return oriented(TiffRaster(path, series.levels, photometric, bands, alpha, metadata, close), page.tags.valueof(274))


def _alpha(page: Any, photometric: Photometric, stored: int) -> _Alpha | None:
    """The first of the samples that a TIFF marks as opacity; pictures of 8 and 16 bits are blended with white."""
    extra = tuple(int(kind) for kind in page.extrasamples or ())
    kinds = [kind for kind in extra if kind in (1, 2)]
    if not kinds or stored != page.samplesperpixel or not photometric.per_channel:
        return None
    band = stored - len(extra) + extra.index(kinds[0])
    blended = stored in (2, 4) and photometric.dtype in (np.uint8, np.uint16)
    return _Alpha(band, kinds[0] == 1, blended)


def _names(page: Any, photometric: Photometric, series: Series, alpha: _Alpha | None) -> list[tuple[str, ...]]:
    """Names of every channel: OME's, and colours of a picture; none of a channel that is unknown."""
    coloured = page.photometric in (2, 3, 5, 6) and photometric.channels >= 3
    colours = ["red", "green", "blue"] if coloured else ["grey"] if photometric.channels == 1 else []
    named = list(series.names) if len(series.names) == photometric.channels else []
    names = []
    for band in range(photometric.channels):
        own = ["alpha"] if alpha is not None and band == alpha.band else colours[band : band + 1]
        names.append(tuple(name for name in (*named[band : band + 1], *own) if name))
    return names


def _georeference_fix(path: str) -> str:
    """How to get the georeference of a GeoTIFF: GDAL is not installed, or cannot read the URL."""
    known = local_path(path) is not None or is_remote(path)
    return "pip install 'fullfield[geo]'" if known else "download the file"


def _nodata(page: Any, photometric: Photometric) -> float | None:
    """GDAL's nodata value, if the file has one that its pixels can take."""
    text = page.tags.valueof(42113)
    if not isinstance(text, str) or not photometric.per_channel:
        return None
    try:
        value = nodata_of(float(text.strip("\0 ").replace(",", ".")), photometric.dtype)
    except (ValueError, OverflowError):
        return None
    if value is None:
        return None
    stored = np.array(value).astype(photometric.dtype)
    return float(photometric.apply(stored.reshape(1, 1, 1))[0, 0, 0])


def _identity(opened: dict[str, Blob], series: Series, level: int, bands: tuple[int, ...]) -> dict[str, Any]:
    """The file's identity and what is selected of it."""
    files = {Path(name).name: blob.identity() for name, blob in opened.items() if name}
    which = {"series": series.index, "level": level, "z": series.z, "t": series.t, "bands": list(bands)}
    return {**opened[""].identity(), **which, **({"parts": files} if files else {})}
