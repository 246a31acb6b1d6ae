"""Says what to do with DICOM files that OpenSlide does not read."""

from __future__ import annotations

from importlib.util import find_spec

from fullfield.errors import ImageError, first_line
from fullfield.image.blob import Blob

_PREAMBLE, _MAGIC = 128, b"DICM"
_CONVERT = "convert it with Bio-Formats (bfconvert slide.dcm slide.ome.tif)"


def is_dicom(blob: Blob) -> bool:
    """Whether a file is DICOM.

    Source: DICOM PS3.10, section 7.1
    """
    return blob.read(_PREAMBLE, _PREAMBLE + len(_MAGIC)) == _MAGIC


def refused_slide(path: str, error: BaseException) -> ImageError:
    """The error for a slide in DICOM that OpenSlide finds fault with."""
    reason = first_line(error)
    return ImageError(
        path, f"OpenSlide cannot read this DICOM ({reason})", fix=f"{_CONVERT}, or ask for another export"
    )


def no_slide(path: str) -> ImageError:
    """The error for a DICOM that is no slide, or not known to be one because OpenSlide is not installed."""
    if find_spec("openslide") is None:
        what = "is a DICOM; those of slides are read by OpenSlide, which is not installed"
        return ImageError(path, what, fix="pip install 'fullfield[slide]'; give other pictures as arrays")
    fix = "give its pixels: fullfield.scan(model, pydicom.dcmread(path).pixel_array); of a slide, " + _CONVERT
    return ImageError(path, "OpenSlide cannot read this DICOM: it is not that of a slide, or damaged", fix=fix)
