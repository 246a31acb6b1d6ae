"""Opens image files of any kind by their content, never by their name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fullfield.arguments import checks_fields, checks_keywords
from fullfield.errors import ImageError
from fullfield.image.blob import filesystem, local_path, open_blob
from fullfield.image.checks import interruptible, unreadable
from fullfield.image.colour_profile import to_srgb
from fullfield.image.formats.dicom import is_dicom, no_slide
from fullfield.image.formats.gdal_safety import is_remote
from fullfield.image.formats.numpy import MAGIC, open_numpy
from fullfield.image.formats.ome_files import is_ome_xml
from fullfield.image.formats.pillow import open_pillow
from fullfield.image.formats.sidecars import has_sidecars, with_place
from fullfield.image.formats.tiff import GEO_TAGS, open_tiff
from fullfield.image.formats.tiff_check import first_tags, tiff_format
from fullfield.image.formats.wave import is_wave, open_wave
from fullfield.image.network import retried
from fullfield.image.open_stack import open_stack
from fullfield.image.opened import FileState, Opened, file_state
from fullfield.image.orientation import OrientedRaster
from fullfield.image.percentiles import percentile_range
from fullfield.image.raster import Raster, finest_level
from fullfield.image.selection import (
    Resampling,
    Selection,
    ValidBands,
    finer_level,
    level_mpp,
    parse_bands,
    parse_value_range,
    unknown_resolution,
)
from fullfield.packages import import_packages

PathLike = str | os.PathLike[str]
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
_NDPI = 65420
_GDAL_METADATA = 42112
_MICROSCOPE = 0.02, 50.0  # µm/px: pixels outside are no microscope's, but printers' defaults or another unit's
_STATE = "state it by pixel_size= (--pixel-size)"
_ENLARGED = 4  # times at most that a resolution enlarges an image
MIRAX, MIRAX_INDEX = ".mrxs", "Slidedat.ini"
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ")
_NO_VENDOR = ("generic-tiff", None)  # OpenSlide's answers for TIFFs without a vendor, and for unknown files


@checks_keywords
def open(
    path: PathLike | Sequence[PathLike],
    *,
    level: int | None = None,
    mpp: float | None = None,
    bands: Sequence[int | str] | None = None,
    series: int | None = None,
    z: int | None = None,
    t: int | None = None,
    value_range: tuple[float, float] | str | None = None,
    pixel_size: float | None = None,
    nodata: float | None = None,
    valid: ValidBands = "any",
    scale_offset: bool = False,
    resampling: Resampling = "bilinear",
    icc: bool = False,
    trust: bool = False,
) -> Raster:
    """Opens an image of any size; pixels are read by region, when they are needed.

    The format is detected by content: TIFF and OME-TIFF, GeoTIFF and GDAL's other formats, whole-slide images, Zarr and
    OME-Zarr, ``.npy``, WAV, PNG, JPEG and Pillow's other formats. Only MIRAX slides need their suffix, ``.mrxs``.

    Args:
        path: file, folder of a Zarr, or URL; or an ``ImageFile``, which names the rest itself. Several files are one
            image, with the bands of all: on the grid of the one with the smallest pixels, of equal ones the first;
            where a file does not reach, its bands hold nothing.
        level: index into the pyramid; 0, the finest, by default.
        mpp: micrometres per pixel, instead of a level: the nearest finer level is resampled once.
        bands: channels to read, in this order: counted from 0, or by name (a description, a colour, OME's channel).
        series: index of the image, where a file holds several.
        z: index of the plane of a stack.
        t: index of the time point.
        value_range: pixel values of black and white, ``(0, 4095)`` for 12 bits say, that become the ends of the range
            that the network was trained on; by default those that the file declares, else those of 8 and 16 bits.
            ``"p1,p99"`` are percentiles of the valid pixels of all bands, of 256 blocks of a large image.
        pixel_size: micrometres per pixel of the finest level, in place of what the file states.
        nodata: value of pixels that hold nothing, in place of the file's; of floats NaN always does.
        valid: whether a pixel is valid if ``any`` of its bands holds data, or only if ``all`` do.
        scale_offset: multiply stored numbers by the scale that the file gives their band, and add its offset: floats.
        resampling: of those of several files that lie on another grid: ``"bilinear"`` or ``"nearest"``.
        icc: convert red, green and blue of 8 bits from the file's ICC profile to sRGB.
        trust: let the file, such as a VRT, name files in any folder of this machine, not only below its own.

    Raises:
        ImageError: it cannot be read, does not hold what is selected, or its reader is not installed; or several files
            do not lie on each other.

    Examples:
        >>> from importlib.resources import files
        >>> image = open(str(files("fullfield") / "data" / "astronaut.png"))
        >>> image.shape, image.read(0, 100, 0, 200).shape
        ((512, 512, 3), (100, 200, 3))
    """
    if isinstance(path, ImageFile):
        return path.open()
    first, *others = parse_files(path)
    chosen = None if bands is None else parse_bands(bands)
    span = parse_value_range(value_range)
    selection = Selection(
        level,
        mpp,
        chosen,
        series,
        z,
        t,
        pixel_size=pixel_size,
        nodata=nodata,
        valid=valid,
        scale_offset=scale_offset,
        stack=tuple(others),
        resampling=resampling,
        icc=icc,
        trust=trust,
        **span,
    )
    return open_raster(first, selection=selection)


@checks_fields
@dataclass(frozen=True)
class ImageFile:
    """A part of an image file, opened when it is scanned: an image as ``scan`` and ``scan_files`` take it.

    Args:
        path: file, folder of a Zarr, or URL.
        selection: the part.

    Examples:
        >>> import os
        >>> os.fspath(ImageFile("slide.svs", Selection(mpp=0.5)))
        'slide.svs'
    """

    path: str
    selection: Selection = field(default_factory=Selection)

    def open(self) -> Raster:
        """Opens the image.

        Raises:
            ImageError: as for ``open``.
        """
        return open_raster(self.path, selection=self.selection)

    def __fspath__(self) -> str:
        return self.path


def parse_files(path: PathLike | Sequence[PathLike]) -> list[str]:
    """The files of an image, one or several.

    Raises:
        ImageError: none is named.
    """
    found = [os.fspath(each) for each in ([path] if isinstance(path, (str, os.PathLike)) else path)]
    if not found:
        raise ImageError("image", "no file is named", fix="give the path of one, or of several that are one image")
    return found


def open_raster(path: str | os.PathLike[str], *, selection: Selection) -> Raster:
    """Opens an image as ``open`` does, with the selection as one record."""
    name = os.fspath(path)
    state = opened_state(name, selection.stack)
    wanted = replace(selection, bands=None) if selection.icc else selection  # profiles convert all three colours
    raster = _opened(name, wanted) if selection.pixel_size is None else _of_pixel_size(name, wanted)
    try:
        if selection.icc:
            raster = to_srgb(raster, selection.bands)
        if selection.percentiles is not None:
            span = percentile_range(raster, *selection.percentiles)
            raster = replace(raster, metadata=replace(raster.metadata, value_range=span))  # type: ignore[type-var]
        if selection.mpp is not None:
            raster = _at_resolution(raster, selection.mpp, stated=selection.pixel_size is not None)
    except BaseException:
        raster.close()
        raise
    metadata = raster.metadata
    declared = {"nodata": selection.nodata, "valid": selection.valid, "scale_offset": selection.scale_offset}
    if declared != {"nodata": None, "valid": "any", "scale_offset": False}:
        metadata = replace(metadata, identity=metadata.identity | {key: str(value) for key, value in declared.items()})
    metadata = replace(metadata, opened=Opened(name, selection, state))
    return replace(raster, metadata=metadata)  # type: ignore[type-var]  # all readers' are dataclasses


def _of_pixel_size(name: str, selection: Selection) -> Raster:
    """The level selected of an image whose finest level has the pixel size that the user states."""
    assert selection.pixel_size is not None
    stated, mpp = selection.pixel_size, selection.mpp
    raster = _opened(name, replace(selection, mpp=None))
    levels = raster.metadata.levels or (finest_level(raster).size,)
    sizes = [level_mpp((stated, stated), levels, number) for number in range(len(levels))]
    level = raster.metadata.level if mpp is None else finer_level([max(size) for size in sizes], mpp)
    if level != raster.metadata.level:
        raster.close()
        raster = _opened(name, replace(selection, mpp=None, level=level))
    return replace(raster, metadata=replace(raster.metadata, mpp=sizes[level]))  # type: ignore[type-var]


def _check_resolution(raster: Raster, mpp: float) -> None:
    """Raises unless the resolution that a file states can be a microscope's, or is that of a map."""
    size = finest_level(raster).mpp
    low, high = _MICROSCOPE
    if size is None or raster.metadata.georeference is not None or (min(size) >= low and max(size) <= high):
        return
    raise ImageError(
        raster.name,
        f"states {max(size):.4g} µm/px, which no microscope has ({low:g} to {high:g}), and {mpp:g} are wanted",
        fix=f"{_STATE}, or choose by level= or scale= (--level, --scale)",
    )


def _at_resolution(raster: Raster, mpp: float, *, stated: bool) -> Raster:
    """The image at a resolution, resampled if it has another; ``stated``: by the user, not by the file."""
    from fullfield.image.resample import resampled

    found = raster.metadata.mpp
    if found is None:
        raise unknown_resolution(mpp, raster.name)
    if not stated:
        _check_resolution(raster, mpp)
    if max(found) > _ENLARGED * mpp:
        raise ImageError(
            raster.name,
            f"has {max(found):.4g} µm/px: {mpp:g} µm/px would enlarge it {max(found) / mpp:.4g} times, "
            f"at most {_ENLARGED} are made of a resolution",
            fix=f"if its pixels are of another size, {_STATE}; else enlarge it by scale= (--scale)",
        )
    height, width, _ = raster.shape
    size = max(1, round(height * found[0] / mpp)), max(1, round(width * found[1] / mpp))
    return raster if size == (height, width) else resampled(raster, size)


def opened_state(path: str, stack: tuple[str, ...]) -> FileState | None:
    """Size and time of change of a file; of several the sum and the last time, if all are files of this machine."""
    states = [file_state(local_path(each)) for each in (path, *stack)]
    known = [state for state in states if state is not None]
    return (sum(size for size, _ in known), max(time for _, time in known)) if len(known) == len(states) else None


def _opened(path: str, selection: Selection) -> Raster:
    return open_stack(path, selection, _open_file) if selection.stack else _open_file(path, selection)


def _open_file(path: str, selection: Selection) -> Raster:
    """One level of a file, as it is stored."""
    try:
        raster = _of_format(path, selection)
    except (OSError, EOFError) as error:  # of the system or the network, while the header is read
        raise unreadable(path, error) from error
    if selection.scale_offset and not raster.metadata.reader.startswith(("gdal", "zarr")):
        raster.close()
        what = f"is read by {raster.metadata.reader}, which finds no scale or offset of bands"
        raise ImageError(path, what, fix="leave out scale_offset (--scale-offset)")
    return raster


def _of_format(path: str, selection: Selection) -> Raster:
    local = local_path(path)
    if local is not None and Path(local).is_dir():
        return _open_folder(local, selection)
    if local is None and _is_zarr_url(path):
        return _open_zarr(path, selection)
    blob = open_blob(path)
    try:
        head = blob.read(0, 16)
        tags = first_tags(blob) if tiff_format(head) is not None else None
        described, dicom = is_ome_xml(blob.read(0, 4096)), is_dicom(blob)
    finally:
        blob.close()
    if described:
        return open_tiff(path, selection)
    if head.startswith(MAGIC):
        return open_numpy(path, selection)
    if is_wave(head):
        return open_wave(path, selection)
    if tags is not None:
        return _open_tiff(path, local, tags, selection)
    if head.startswith(_JPEG2000) and _gdal_reads(path, local):
        # GDAL reads windows and the georeference; Pillow decodes the whole image, or fails.
        return _reader("gdal")(local or path, selection)
    if local is not None and _vendor(local) not in _NO_VENDOR:
        return _reader("slide")(local, selection)
    if dicom:
        raise no_slide(path)
    if path.split("?")[0].lower().endswith(MIRAX):
        raise _mirax_error(path, local)  # by its suffix: the file itself is an ordinary small picture
    raster = open_pillow(path, selection)
    return _open_with_gdal(path, local, head, selection) if raster is None else raster


def _open_tiff(path: str, local: str | None, tags: frozenset[int], selection: Selection) -> Raster:
    """Opens a TIFF with the reader for slides, for GeoTIFF, or for other TIFFs."""
    if local is not None and _vendor(local) not in _NO_VENDOR:
        return _reader("slide")(local, selection)
    if _NDPI in tags:
        fix = "pip install 'fullfield[slide]'" if local is not None else "download the file"
        raise ImageError(path, "is a Hamamatsu slide, which OpenSlide reads", fix=fix)
    scaled = selection.scale_offset and _GDAL_METADATA in tags
    placed = scaled or tags & GEO_TAGS or (local is not None and has_sidecars(local))
    if placed and _gdal_reads(path, local):
        return _reader("gdal")(local or path, selection)
    raster = open_tiff(path, selection)
    beside = local is not None and not tags & GEO_TAGS and not isinstance(raster, OrientedRaster)
    return with_place(raster) if beside and has_sidecars(path) else raster


def _gdal_reads(path: str, local: str | None) -> bool:
    """Whether rasterio is installed, and GDAL reads the path if it is a URL."""
    return find_spec("rasterio") is not None and (local is not None or is_remote(path))


def _open_folder(local: str, selection: Selection) -> Raster:
    if any((Path(local) / name).is_file() for name in ZARR_FILES):
        return _open_zarr(local, selection)
    if (Path(local) / MIRAX_INDEX).is_file():
        raise ImageError(local, "is the folder of a MIRAX slide", fix=f"give the file {Path(local).name}{MIRAX}")
    raise ImageError(local, "is a folder and not a Zarr", fix="give one file in it")


def _mirax_error(path: str, local: str | None) -> ImageError:
    """The error for a MIRAX slide that OpenSlide cannot open."""
    if local is None:
        return ImageError(path, "is a MIRAX slide: its pixels are in a folder next to it", fix="download both")
    folder = Path(local).with_suffix("")
    if not (folder / MIRAX_INDEX).is_file():
        what = f"is a MIRAX slide: its pixels are in the folder {folder}, where {MIRAX_INDEX} is not found"
        return ImageError(local, what, fix="copy the folder too, under this name")
    if find_spec("openslide") is None:
        return ImageError(local, "is a MIRAX slide, which OpenSlide reads", fix="pip install 'fullfield[slide]'")
    return ImageError(local, "is a MIRAX slide that OpenSlide does not open", fix=f"rename it to {folder.name}{MIRAX}")


def _is_zarr_url(url: str) -> bool:
    """Whether a URL is a Zarr: a folder with Zarr's metadata in it."""
    fs, path = filesystem(url)
    try:
        if not url.startswith("http") and fs.isfile(path):
            return False
        last = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        if url.startswith("http") and "." in last and not last.lower().endswith((".zarr", ".ngff")):
            return False  # a file name such as a.tif: saves three requests
        return any(_exists(fs, f"{path.rstrip('/')}/{name}") for name in ZARR_FILES)
    except Exception:  # noqa: BLE001  every file system of fsspec raises its own; opening will report it
        return False


def _exists(fs: Any, path: str) -> bool:
    """Whether there is a file; ``fs.exists`` takes an overloaded server's answer for a no."""
    try:
        retried(lambda: fs.info(path), path)
    except FileNotFoundError:
        return False
    return True


def _vendor(local: str) -> str | None:
    """The vendor of a slide, detected by OpenSlide; ``None`` if it is unknown or OpenSlide is not installed."""
    if find_spec("openslide") is None:
        return None
    import openslide

    try:
        with interruptible():
            found: str | None = openslide.OpenSlide.detect_format(local)
    except (openslide.OpenSlideError, OSError, ValueError):
        return None
    return found


def _open_with_gdal(path: str, local: str | None, head: bytes, selection: Selection) -> Raster:
    """Opens a file that Pillow does not know with GDAL, which may."""
    begins = "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in head[:8])
    if find_spec("rasterio") is None:
        raise ImageError(
            path,
            f"is not an image of a known format: it begins {begins}",
            fix="more formats are read after pip install 'fullfield[geo,slide]'",
        )
    names_files = b"<VRTDataset" in head
    if names_files and local is None:
        what = "is a VRT behind an address: the files that it names are not read"
        raise ImageError(path, what, fix="download it with its files, or gdal_translate it to a GeoTIFF")
    try:
        return _reader("gdal")(local or path, selection)
    except ImageError as error:
        if names_files:
            raise
        raise ImageError(
            path,
            f"is not an image of a known format (it begins {begins}); GDAL reports: {error.what}",
            fix="save it as TIFF, PNG, Zarr or .npy",
        ) from error


def _open_zarr(path: str, selection: Selection) -> Raster:
    import_packages("zarr", extra="zarr", where=path)
    return _reader("zarr")(path, selection)


def _reader(name: str) -> Callable[[str, Selection], Raster]:
    """The function that opens files of a format, imported when the first one is opened."""
    module: Any = import_module(f"fullfield.image.formats.{name}")
    opener: Callable[[str, Selection], Raster] = getattr(module, f"open_{name}")
    return opener
