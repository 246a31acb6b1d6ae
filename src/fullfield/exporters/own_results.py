"""Tells the results of scans from images, so that a folder that holds both can be scanned."""

from __future__ import annotations

import os
from pathlib import Path

from fullfield.drawing.pictures import MARK
from fullfield.errors import ImageError
from fullfield.files import PICTURES
from fullfield.image.blob import open_blob
from fullfield.image.formats.tiff_check import first_text, tiff_format
from fullfield.store.check import is_result

_SOFTWARE = 305  # TIFF's tag
_ENDS = 1024  # bytes at a picture's start or end in which it is marked
_TIFF = (".tif", ".tiff")


def is_own_result(path: Path) -> bool:
    """Whether a scan wrote a file or folder: a store or its journal, or a TIFF or picture with its mark.

    A ``.npy`` has no mark: it is an array to any program.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        return suffix == ".journal" or is_result(path)
    try:
        return (suffix in _TIFF and _is_own_tiff(path)) or (suffix in PICTURES and _is_own_picture(path))
    except (ImageError, OSError):  # opening the image will report it
        return False


def _is_own_tiff(path: Path) -> bool:
    blob = open_blob(str(path))
    try:
        return tiff_format(blob.read(0, 4)) is not None and first_text(blob, _SOFTWARE).startswith("fullfield ")
    finally:
        blob.close()


def _is_own_picture(path: Path) -> bool:
    with path.open("rb") as file:
        if MARK in file.read(_ENDS):
            return True
        file.seek(max(0, path.stat().st_size - _ENDS), os.SEEK_SET)
        return MARK in file.read(_ENDS)
