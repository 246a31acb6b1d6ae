"""Decodes a file, PIL image, array or tensor to one array ``(y, x, c)``.

Palettes, EXIF rotation and CMYK are converted; bit depth and colour channels stay as they are.
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
from PIL import Image, UnidentifiedImageError

from fullfield.errors import ImageError, first_line
from fullfield.image.checks import check_file
from fullfield.image.decoded_size import check_picture
from fullfield.image.orientation import orientation_of, oriented_array
from fullfield.image.png16 import can_decode_png16, decode_png16, is_png16

#: Errors of Pillow's and NumPy's readers on broken files; they have no common base.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, AttributeError, RuntimeError,
    LookupError, ArithmeticError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_LIMIT = threading.Lock()
_STRIP_PIXELS = 1 << 20  # converted together
_NPY = b"\x93NUMPY"


def pixel_limit() -> int:
    """Most pixels of a file that Pillow does not refuse as a decompression bomb."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def decode(image: object, *, max_pixels: int | None = None, bands: int | None = None) -> tuple[NDArray[Any], str]:
    """The pixels ``(y, x, c)`` in the image's own bit depth, and the image's name for errors.

    Files and PIL images: EXIF rotation is applied, palettes become RGB, 1-bit becomes 0 and 255, other colour spaces
    become RGB by Pillow's conversion, transparency is blended with white, and of several frames the first is taken.
    16-bit colour PNGs have 8 bits if the PIL image is loaded already or imagecodecs is not installed.

    Args:
        image: array ``(y, x)`` or ``(y, x, c)``, tensor ``(c, y, x)``, PIL image, or path (``.npy`` too).
        max_pixels: most pixels of a file; ``None`` is Pillow's own limit.
        bands: a PIL image with exactly so many bands keeps them all, alpha included.

    Raises:
        ImageError: it is not an image, or cannot be decoded.
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
        f"{type(image).__name__} is not an image",
        fix="give a NumPy array (y, x) or (y, x, c), a torch tensor (c, y, x), a PIL image or a path",
    )


def _is_tensor(image: object) -> bool:
    torch = sys.modules.get("torch")  # without torch imported there are no tensors
    return torch is not None and isinstance(image, torch.Tensor)


def _from_path(path: Path, max_pixels: int | None, bands: int | None) -> tuple[NDArray[Any], str]:
    where = str(path)
    _check_path(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_NPY))
        if magic == _NPY:
            return _from_array(np.load(path, mmap_mode="r", allow_pickle=False), where), where
        with without_pixel_limit(max_pixels), ignored_warnings(), Image.open(path) as picture:
            if max_pixels is not None and picture.width * picture.height > max_pixels:
                raise Image.DecompressionBombError(
                    f"{picture.width} x {picture.height} px are more than the {max_pixels} allowed"
                )
            check_picture(picture, where, path.stat().st_size)
            return _from_pil(picture, where, bands), where
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            where,
            f"is very large for a file of {path.stat().st_size} bytes: {error}".rstrip("."),
            fix="if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS",
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            where, "is not an image that can be read", fix="use PNG, JPEG, TIFF, WebP, BMP or .npy"
        ) from error
    except DECODE_ERRORS as error:
        raise _unreadable(where, error) from error


def _check_path(path: Path) -> None:
    try:
        check_file(path)
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def _unreadable(where: str, error: BaseException) -> ImageError:
    return ImageError(
        where,
        f"cannot be decoded ({first_line(error)})",
        fix="it may be damaged or incomplete: open it elsewhere, save it again",
    )


@contextmanager
def without_pixel_limit(max_pixels: int | None) -> Iterator[None]:
    """Disables Pillow's process-wide limit of pixels while a file with its own limit is read."""
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
def ignored_warnings() -> Iterator[None]:
    """Ignores Pillow's warnings (large file, unusual metadata); errors are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _from_pil(picture: Image.Image, where: str, bands: int | None) -> NDArray[Any]:
    try:
        with ignored_warnings():
            sixteen_bits = is_png16(picture) and can_decode_png16()
            array = decode_png16(picture, bands) if sixteen_bits else _pixels(picture, bands)
            return _from_array(oriented_array(array, orientation_of(picture)), where)
    except ImageError:
        raise
    except DECODE_ERRORS as error:
        raise _unreadable(where, error) from error


def _pixels(picture: Image.Image, bands: int | None) -> NDArray[Any]:
    """The pixels ``(y, x, c)`` as stored, converted by strips: at once it would take several times the memory."""
    picture.load()
    rows = max(1, _STRIP_PIXELS // max(1, picture.width))
    out: NDArray[Any] = np.empty((0, picture.width, 1), np.uint8)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        strip = np.asarray(_plain(picture.crop((0, top, picture.width, bottom)), bands))
        if top == 0:
            sixteen_bits = picture.mode == "I" and picture.format in ("PPM", "PNG")  # Pillow reads them as 32 bits
            dtype = np.dtype(np.uint16) if sixteen_bits else strip.dtype
            out = np.empty((picture.height, picture.width, *(strip.shape[2:] or (1,))), dtype)
        out[top:bottom] = strip.reshape(bottom - top, picture.width, -1)
    return out


def _plain(picture: Image.Image, bands: int | None) -> Image.Image:
    """The picture in mode L, RGB, I;16, I or F; with alpha only if it has exactly ``bands`` bands."""
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


def shown_pixels(picture: Image.Image) -> NDArray[np.bool_] | None:
    """Which pixels ``(y, x)`` of a picture, in its orientation, are not fully transparent; ``None`` if all."""
    if not picture.has_transparency_data:
        return None
    rows = max(1, _STRIP_PIXELS // max(1, picture.width))
    out = np.empty((picture.height, picture.width, 1), np.bool_)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        strip = picture.crop((0, top, picture.width, bottom)).convert("RGBA").getchannel("A")
        out[top:bottom, :, 0] = np.asarray(strip) != 0
    return None if out.all() else oriented_array(out, orientation_of(picture))[:, :, 0]


def _on_white(picture: Image.Image) -> Image.Image:
    """The picture blended with white, without alpha."""
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
    except (TypeError, RuntimeError):  # such as bfloat16; tensors that are not dense or real fail again
        try:
            array = tensor.float().numpy()
        except (TypeError, RuntimeError) as error:
            raise ImageError(
                "image", f"a tensor of {tensor.dtype} cannot be read as pixels", fix="give a dense real tensor"
            ) from error
    return _from_array(array if array.ndim == 2 else array.transpose(1, 2, 0), "image")


def _from_array(image: Any, where: str) -> NDArray[Any]:
    """An array checked for type, axes and size, as ``(y, x, c)``."""
    masked = "numpy.ma" in sys.modules and np.ma.isMaskedArray(image) and np.ma.getmaskarray(image).any()
    array = np.asarray(image)
    if masked:
        raise ImageError(where, "has masked pixels", fix="fill them: image.fill_nodata(0)")
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
