"""Opens one image file with the reader of its format, which is recognised by the content, never by the name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError
from fullfield.image.blob import filesystem, local_path, open_blob
from fullfield.image.checks import interruptible, unreadable
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
from fullfield.image.orientation import OrientedRaster
from fullfield.image.raster import Raster
from fullfield.image.selection import Selection
from fullfield.packages import import_packages

ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
MIRAX, MIRAX_INDEX = ".mrxs", "Slidedat.ini"
_NDPI = 65420
_GDAL_METADATA = 42112
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ")
_NO_VENDOR = ("generic-tiff", None)  # OpenSlide's answers for TIFFs without a vendor, and for unknown files


def open_file(path: str, selection: Selection) -> Raster:
    """One level of a file, as it is stored.

    Raises:
        ImageError: it cannot be read, is of no known format, or its reader is not installed.
    """
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
