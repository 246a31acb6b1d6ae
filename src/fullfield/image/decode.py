"""From whatever a user calls an image to one array ``(y, x, c)``: files, PIL images, arrays, tensors.

What goes here is what no classifier can read: palettes, EXIF rotation, CMYK inks. Depth and colour stay as they are.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fullfield.errors import ImageError
from fullfield.image.png16 import deep_pixels, deep_reader, is_deep, turned

#: What Pillow's and NumPy's readers raise on broken bytes; there is no common base.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, AttributeError, RuntimeError,
    LookupError, ArithmeticError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_LIMIT = threading.Lock()
_NPY = b"\x93NUMPY"


def pixel_limit() -> int:
    """Pixels above which Pillow refuses a file as a decompression bomb."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def decode(image: object, *, max_pixels: int | None = None, bands: int | None = None) -> tuple[NDArray[Any], str]:
    """The pixels ``(y, x, c)`` in the image's own depth, and the image's name for errors.

    Files and PIL images: EXIF rotation is applied, palettes become RGB, 1-bit becomes 0 and 255, other colour spaces
    become RGB by Pillow's conversion, a transparent picture is laid on white (opaque alpha just goes). Of several
    frames the first is taken. Of a PIL image that was loaded already, and where imagecodecs is missing, Pillow has
    16-bit colour at 8 bits.

    Args:
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, or path (``.npy`` too).
        max_pixels: pixels above which a file is refused; ``None`` is Pillow's own limit.
        bands: a PIL image that has exactly so many bands, alpha among them, keeps them all.

    Raises:
        ImageError: it is no image, or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        return _from_path(Path(image), max_pixels, bands)
    if isinstance(image, Image.Image):
        return _from_pil(image, "image", bands), "image"
    if _is_tensor(image):
        return _from_tensor(image), "image"
    if isinstance(image, np.ndarray) or hasattr(image, "__array__"):
        return _from_array(image, "image"), "image"
    raise ImageError(
        "image",
        f"a {type(image).__name__} is not an image",
        fix="give a NumPy array (y, x) or (y, x, c), a torch tensor (c, y, x), a PIL image or a path",
    )


def _is_tensor(image: object) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch was imported
    return torch is not None and isinstance(image, torch.Tensor)


def _from_path(path: Path, max_pixels: int | None, bands: int | None) -> tuple[NDArray[Any], str]:
    where = str(path)
    _check_file(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_NPY))
        if magic == _NPY:
            return _from_array(np.load(path, mmap_mode="r", allow_pickle=False), where), where
        with limit_lifted(max_pixels), silence(), Image.open(path) as picture:
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                raise Image.DecompressionBombError(
                    f"{picture.width} x {picture.height} px are more than the {max_pixels} allowed"
                )
            return _from_pil(picture, where, bands), where
    except Image.DecompressionBombError as error:
        raise ImageError(
            where,
            f"is very large for a file of {path.stat().st_size} bytes: {error}".rstrip("."),
            fix="if you trust the file, allow it with max_pixels=",
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            where, "is not an image that can be read", fix="use PNG, JPEG, TIFF, WebP, BMP or .npy"
        ) from error
    except DECODE_ERRORS as error:
        raise _unreadable(where, error) from error


def _check_file(path: Path) -> None:
    """Raises where there is no regular, non-empty file."""
    try:
        if not path.exists():
            raise ImageError(str(path), "there is no such file", fix="check the path")
        if path.is_dir():
            raise ImageError(str(path), "is a folder, not an image", fix="give one file in it")
        if not path.is_file():
            raise ImageError(str(path), "is not a regular file", fix="copy the image to a file first")
        if path.stat().st_size == 0:
            raise ImageError(str(path), "the file is empty (0 bytes)", fix="copy or download it again")
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def _unreadable(where: str, error: BaseException) -> ImageError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ImageError(
        where,
        f"cannot be decoded ({reason})",
        fix="it may be damaged or incomplete: open it elsewhere, save it again",
    )


@contextmanager
def limit_lifted(max_pixels: int | None) -> Iterator[None]:
    """Lifts Pillow's process-wide limit on pixels while a file with a limit of its own is read."""
    if max_pixels is None:
        yield
        return
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def silence() -> Iterator[None]:
    """Keeps Pillow's remarks (large file, odd metadata) from the user; what matters is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _from_pil(picture: Image.Image, where: str, bands: int | None) -> NDArray[Any]:
    try:
        if is_deep(picture) and deep_reader():
            return _from_array(turned(deep_pixels(picture, bands), _orientation(picture)), where)
        with silence():
            plain = _plain(_upright(picture), bands)
            array = np.asarray(plain)
    except DECODE_ERRORS as error:
        raise _unreadable(where, error) from error
    if plain.mode == "I" and picture.format in ("PPM", "PNG"):
        array = array.astype(np.uint16)  # Pillow widens 16-bit files of these formats to 32 bits
    return _from_array(array, where)


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except DECODE_ERRORS:  # metadata that nobody can read rotate nothing
        return picture


def _orientation(picture: Image.Image) -> object:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation)
    except DECODE_ERRORS:  # as above
        return None


def _plain(picture: Image.Image, bands: int | None) -> Image.Image:
    """The picture as L, RGB, 16-bit, integer or float; with alpha only where ``bands`` wants it."""
    if picture.mode in ("L", "RGB") and not picture.has_transparency_data:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return picture
    if picture.mode in ("LA", "RGBA") and len(picture.getbands()) == bands:
        return picture
    if picture.mode == "1" and not picture.has_transparency_data:
        return picture.convert("L")
    if picture.has_transparency_data:
        return _on_white(picture)
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    """Without alpha: a page is white, and so is what shows through."""
    grey = picture.mode in ("1", "L", "LA", "La")
    full = picture.convert("RGBA")
    white = Image.new("RGBA", full.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, full).convert("L" if grey else "RGB")


def _from_tensor(tensor: Any) -> NDArray[Any]:
    """A torch tensor ``(c, y, x)`` or ``(y, x)`` as an array ``(y, x, c)``."""
    if tensor.ndim not in (2, 3):
        raise ImageError(
            "image",
            f"a tensor of shape {tuple(tensor.shape)} has {tensor.ndim} axes, (c, y, x) has 3",
            fix="scan one image at a time: image[0]" if tensor.ndim == 4 else "give (c, y, x)",
        )
    if tensor.ndim == 3 and tensor.shape[0] > 4 >= tensor.shape[2]:
        raise ImageError(
            "image",
            f"a tensor of shape {tuple(tensor.shape)} looks like (y, x, c), tensors are (c, y, x)",
            fix="give image.permute(2, 0, 1)",
        )
    tensor = tensor.detach().cpu()
    try:
        array = tensor.numpy()
    except (TypeError, RuntimeError):  # bfloat16 and its like; what is not dense or not real fails again
        try:
            array = tensor.float().numpy()
        except (TypeError, RuntimeError) as error:
            raise ImageError(
                "image", f"a tensor of {tensor.dtype} cannot be read as pixels", fix="give a dense real tensor"
            ) from error
    return _from_array(array if array.ndim == 2 else array.transpose(1, 2, 0), "image")


def _from_array(image: Any, where: str) -> NDArray[Any]:
    """An array checked for type, axes and size, as ``(y, x, c)``."""
    masked = np.ma.isMaskedArray(image) and np.ma.getmaskarray(image).any()
    array = np.asarray(image)
    if masked:
        raise ImageError(where, "has masked pixels", fix="fill them: image.filled(0)")
    if array.dtype.kind not in "buif":
        fix = {"c": "give its magnitude: abs(image)", "O": "stack the pixels into one numeric array"}
        raise ImageError(
            where,
            f"pixels of type {array.dtype} are not numbers on one scale",
            fix=fix.get(array.dtype.kind, "give integers or floats"),
        )
    if array.ndim not in (2, 3):
        raise ImageError(
            where,
            f"shape {array.shape} has {array.ndim} axes, an image is (y, x) or (y, x, c)",
            fix="scan one image at a time: image[0]" if array.ndim == 4 else "give (y, x) or (y, x, c)",
        )
    if array.size == 0:
        raise ImageError(where, f"shape {array.shape} has no pixels", fix="give an image of at least 1x1 px")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.ndim == 3 else array[:, :, None]
