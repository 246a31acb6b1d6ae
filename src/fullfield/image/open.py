"""Any image file, opened by what it holds, never by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fullfield.errors import ImageError
from fullfield.image.blob import filesystem, local_path, open_blob
from fullfield.image.formats.checks import interruptible
from fullfield.image.formats.gdal_safety import is_remote
from fullfield.image.formats.numpy import MAGIC, open_numpy
from fullfield.image.formats.pillow import open_pillow
from fullfield.image.formats.tiff import GEO_TAGS, open_tiff
from fullfield.image.formats.tiff_check import first_tags, tiff_layout
from fullfield.image.pick import Pick
from fullfield.image.raster import Raster

_ZARR = ("zarr.json", ".zgroup", ".zarray")
_NDPI = 65420
_MIRAX, _MIRAX_INDEX = ".mrxs", "Slidedat.ini"
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xffO\xffQ")
_PLAIN = ("generic-tiff", None)  # what OpenSlide says of TIFFs of no vendor, and of what it does not know


def open(
    path: str | os.PathLike[str],
    *,
    level: int | None = None,
    mpp: float | None = None,
    bands: Sequence[int] | None = None,
    series: int | None = None,
    z: int | None = None,
    t: int | None = None,
) -> Raster:
    """An image of any size, of which only what is asked for is read.

    The kind is told by content: TIFF and OME-TIFF, GeoTIFF and what else GDAL reads, whole-slide images, Zarr and
    OME-Zarr, ``.npy``, PNG, JPEG and what else Pillow reads. Only a MIRAX slide is told by its name, ``.mrxs``.

    Args:
        path: file, folder of a Zarr, or URL.
        level: index into the pyramid; 0, the finest, if left out.
        mpp: micrometres per pixel wanted, instead of a level: the nearest finer level is resampled once.
        bands: channels to keep, in this order, counted from 0.
        series: index of the image, where a file holds several.
        z: index of the plane of a stack.
        t: index of the time point.

    Raises:
        ImageError: it cannot be read, has no such part, or its reader is not installed.

    Examples:
        >>> from importlib.resources import files
        >>> image = open(str(files("fullfield") / "data" / "astronaut.png"))
        >>> image.shape, image.read(0, 100, 0, 200).shape
        ((512, 512, 3), (100, 200, 3))
    """
    chosen = None if bands is None else tuple(int(band) for band in bands)
    return open_raster(path, pick=Pick(level, mpp, chosen, series, z, t))


def open_raster(path: str | os.PathLike[str], *, pick: Pick) -> Raster:
    """As ``open``, with what is wanted as one value."""
    raster = _opened(os.fspath(path), pick)
    try:
        return raster if pick.mpp is None else _at(raster, pick.mpp)
    except BaseException:
        raster.close()
        raise


def _at(raster: Raster, mpp: float) -> Raster:
    """The image at a resolution: resampled, where it is not there already."""
    from fullfield.image.resample import resampled

    found = raster.about.mpp
    if found is None:
        raise ImageError(
            raster.name,
            f"{mpp:g} µm/px are wanted, the file does not say its own resolution",
            fix="choose by level= or scale= (--level, --scale)",
        )
    height, width, _ = raster.shape
    size = max(1, round(height * found[0] / mpp)), max(1, round(width * found[1] / mpp))
    return raster if size == (height, width) else resampled(raster, size)


def _opened(path: str, pick: Pick) -> Raster:
    local = local_path(path)
    if local is not None and Path(local).is_dir():
        return _open_folder(local, pick)
    if local is None and _is_zarr_url(path):
        return _reader("zarr")(path, pick)
    blob = open_blob(path)
    try:
        head = blob.read(0, 16)
        tags = first_tags(blob) if tiff_layout(head) is not None else None
    finally:
        blob.close()
    if head.startswith(MAGIC):
        return open_numpy(path, pick)
    if tags is not None:
        return _open_tiff(path, local, tags, pick)
    if head.startswith(_JPEG2000) and _gdal_reads(path, local):
        # By window, with its place on the map; Pillow decodes all of it or, of some, nothing.
        return _reader("gdal")(local or path, pick)
    if local is not None and _vendor(local) not in _PLAIN:
        return _reader("slide")(local, pick)
    if path.split("?")[0].lower().endswith(_MIRAX):
        raise _without_folder(path, local)  # by its name: by what it holds it is any picture, small and of the label
    raster = open_pillow(path, pick)
    return _last_resort(path, local, head, pick) if raster is None else raster


def _open_tiff(path: str, local: str | None, tags: frozenset[int], pick: Pick) -> Raster:
    """A TIFF: a vendor's slide, a map, or plain."""
    if local is not None and _vendor(local) not in _PLAIN:
        return _reader("slide")(local, pick)
    if _NDPI in tags:
        fix = "pip install 'fullfield[slide]'" if local is not None else "download the file"
        raise ImageError(path, "is a Hamamatsu slide, which OpenSlide reads", fix=fix)
    if tags & GEO_TAGS and _gdal_reads(path, local):
        return _reader("gdal")(local or path, pick)
    return open_tiff(path, pick)


def _gdal_reads(path: str, local: str | None) -> bool:
    """Whether GDAL is there, and knows such addresses where it is no file."""
    return find_spec("rasterio") is not None and (local is not None or is_remote(path))


def _open_folder(local: str, pick: Pick) -> Raster:
    if any((Path(local) / name).is_file() for name in _ZARR):
        return _reader("zarr")(local, pick)
    if (Path(local) / _MIRAX_INDEX).is_file():
        raise ImageError(local, "is the folder of a MIRAX slide", fix=f"give the file {Path(local).name}{_MIRAX}")
    raise ImageError(local, "is a folder, and no Zarr", fix="give one file in it")


def _without_folder(path: str, local: str | None) -> ImageError:
    """The error of a MIRAX slide of which only the picture can be read that it is known by."""
    if local is None:
        return ImageError(path, "is a MIRAX slide: its pixels lie in a folder beside it", fix="download both")
    folder = Path(local).with_suffix("")
    if not (folder / _MIRAX_INDEX).is_file():
        what = f"is a MIRAX slide: its pixels lie in the folder {folder}, where {_MIRAX_INDEX} is not found"
        return ImageError(local, what, fix="copy the folder too, under this name")
    if find_spec("openslide") is None:
        return ImageError(local, "is a MIRAX slide, which OpenSlide reads", fix="pip install 'fullfield[slide]'")
    return ImageError(local, "is a MIRAX slide that OpenSlide does not take", fix=f"call it {folder.name}{_MIRAX}")


def _is_zarr_url(url: str) -> bool:
    """Whether a URL leads to a Zarr: a folder, or what has a Zarr's metadata below it."""
    fs, path = filesystem(url)
    try:
        if not url.startswith("http") and fs.isfile(path):
            return False
        last = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        if url.startswith("http") and "." in last and not last.lower().endswith((".zarr", ".ngff")):
            return False  # a name such as a.tif: three requests saved; a server has no folders to ask for
        return any(fs.exists(f"{path.rstrip('/')}/{name}") for name in _ZARR)
    except Exception:  # noqa: BLE001  each of fsspec's file systems has errors of its own; opening says which
        return False


def _vendor(local: str) -> str | None:
    """Whose slide a file is, as OpenSlide says; ``None`` where it knows it not, or is not installed."""
    if find_spec("openslide") is None:
        return None
    import openslide

    try:
        with interruptible():
            found: str | None = openslide.OpenSlide.detect_format(local)
    except (openslide.OpenSlideError, OSError, ValueError):
        return None
    return found


def _last_resort(path: str, local: str | None, head: bytes, pick: Pick) -> Raster:
    """What Pillow does not know, GDAL may."""
    begins = "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in head[:8])
    if find_spec("rasterio") is None:
        raise ImageError(
            path,
            f"is no image that is known here: it begins {begins}",
            fix="more kinds are read with pip install 'fullfield[geo,slide]'",
        )
    try:
        return _reader("gdal")(local or path, pick)
    except ImageError as error:
        raise ImageError(
            path,
            f"is no image that any reader knows (it begins {begins}); the last one said: {error.what}",
            fix="save it as TIFF, PNG, Zarr or .npy",
        ) from error


def _reader(name: str) -> Callable[[str, Pick], Raster]:
    """The function that opens files of a kind; imported when one is met."""
    module: Any = import_module(f"fullfield.image.formats.{name}")
    opener: Callable[[str, Pick], Raster] = getattr(module, f"open_{name}")
    return opener
