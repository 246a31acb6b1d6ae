"""Finds the images in a folder: files by their suffix, and folders that are an image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fullfield.errors import ImageError
from fullfield.image.formats.ome_files import other_parts
from fullfield.image.open_file import MIRAX, MIRAX_INDEX, ZARR_FILES

# What the readers open, Pillow, tifffile, OpenSlide, GDAL, NumPy and our own in this order. Sidecars (.tfw, .ovr, .msk,
# .aux.xml, .hdr) and documents are not among them.
IMAGE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
    ".sgi", ".pcx", ".avif", ".jp2", ".j2k", ".j2c", ".jpx",
    ".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".qptiff",
    ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm",
    ".vrt", ".img", ".nitf", ".ntf", ".bil", ".bip", ".bsq", ".kea", ".ecw", ".sid",
    ".npy", ".wav",
))  # fmt: skip
_OME = (".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf8", ".ome.tf2")
_HEAD = 1 << 16  # bytes in which a DICOM file names its series, or a .vms file its parts
_SERIES = re.compile(rb"\x20\x00\x0e\x00UI(..)", re.DOTALL)  # the tag (0020,000E), little endian, and its length
_PART = re.compile(r"=\s*(\S[^\r\n]*\.(?:jpe?g|opt))\s*$", re.IGNORECASE | re.MULTILINE)


def folder_images(folder: Path, *, recursive: bool, leave_out: Callable[[Path], bool]) -> list[Path]:
    """The images in a folder, by path: those with a suffix of ``IMAGE_SUFFIXES``, and the folders of Zarrs.

    Hidden files are left out, and so are the parts of an image: the folder of a MIRAX slide, the pictures that a
    ``.vms`` names, and all but the first file of a DICOM series or of an OME-TIFF.

    Args:
        recursive: search the folders in it, too; links to folders are followed, each folder is searched once.
        leave_out: tells of an image's file or folder that it is none, such as the result of a scan.

    Raises:
        ImageError: a folder cannot be read, or there is no image.
    """
    found = list(_walk(folder, recursive, leave_out, set()))
    if not found:
        deeper = not recursive and any(entry.is_dir() and entry.name[:1] != "." for entry in _entries(folder))
        fix = "search its folders, too: recursive=True (--recursive)" if deeper else "name a folder that has some"
        raise ImageError(str(folder), "no image is in this folder", fix=fix)
    return found


def is_image_folder(folder: Path) -> bool:
    """Whether a folder is one image: a Zarr."""
    return any((folder / name).is_file() for name in ZARR_FILES)


def _walk(
    folder: Path, recursive: bool, leave_out: Callable[[Path], bool], seen: set[tuple[int, int]]
) -> Iterator[Path]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    entries = [entry for entry in _entries(folder) if not entry.name.startswith(".")]
    parts = _parts_of_images(folder, [entry.name for entry in entries])
    for entry in entries:
        path = folder / entry.name
        if entry.name in parts:
            continue
        if not entry.is_dir():
            if path.suffix.lower() in IMAGE_SUFFIXES and entry.is_file() and not leave_out(path):
                yield path
        elif is_image_folder(path):
            if not leave_out(path):
                yield path
        elif recursive and not (path / MIRAX_INDEX).is_file() and not leave_out(path):
            yield from _walk(path, recursive, leave_out, seen)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ImageError(str(folder), f"cannot be read ({error.strerror})", fix="check its rights") from error


def _parts_of_images(folder: Path, names: list[str]) -> set[str]:
    """Names in a folder that belong to an image of another name there."""
    parts: set[str] = set()
    series: set[bytes] = set()
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix == MIRAX:
            parts.add(Path(name).stem)
        elif suffix in (".vms", ".vmu"):
            parts |= set(_PART.findall(_head(folder / name).decode("latin-1")))
        elif suffix == ".dcm":
            found = _series(_head(folder / name))
            parts |= {name} if found in series else set()
            series |= {found} if found else set()
        elif name.lower().endswith(_OME) and name not in parts:
            parts |= other_parts(folder / name)
    return parts


def _series(head: bytes) -> bytes:
    """What a DICOM file calls the series that it belongs to; empty if it does not say."""
    found = _SERIES.search(head)
    if found is None:
        return b""
    length = int.from_bytes(found[1], "little")
    return head[found.end() : found.end() + length].rstrip(b"\0 ")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:  # opening the image will report it
        return b""
