"""The memory that decoding takes at its peak, known before it begins, and how much a file of a given size may take.

A few hundred bytes can declare a picture of any size. Compression of what a camera or a scanner sees reaches 1 to 100,
of empty pictures 1 to 1000, so that the limit is a floor plus a multiple of the file's bytes.
"""

from __future__ import annotations

from PIL import Image

from fullfield.errors import ImageError
from fullfield.image.checks import BLOCK_BYTES
from fullfield.image.orientation import orientation_of
from fullfield.image.png16 import can_decode_png16, is_png16

MIB = 2**20
RATIO = 1024
"""Bytes that may be decoded for each byte of a file, beyond the floor."""
MOST_BYTES = 2**31
"""The most bytes that decoding a picture whole may take at its peak."""
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes a pixel in Pillow
_ARRAY = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "P": 3, "CMYK": 3, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_DECODER = {"WEBP": 12, "AVIF": 8, "JPEG2000": 16}  # bytes a pixel in buffers of the decoder
_PROGRESSIVE = 6  # the coefficients of a JPEG in several scans
_PNG16 = {3: 10, 4: 20}  # by the channels of 16 bits


def picture_bytes(file_bytes: int) -> int:
    """The most bytes that decoding a picture of ``file_bytes`` may take at its peak.

    Examples:
        >>> picture_bytes(0) // MIB, picture_bytes(MIB) // MIB, picture_bytes(10 * MIB) // MIB
        (512, 1536, 2048)
    """
    return min(MOST_BYTES, 512 * MIB + RATIO * file_bytes)


def block_bytes(file_bytes: int, most_bytes: int = BLOCK_BYTES) -> int:
    """The most bytes to which one tile, strip or chunk of a file of ``file_bytes`` may decode.

    Examples:
        >>> block_bytes(1000) // MIB, block_bytes(10 * MIB) // MIB
        (64, 1024)
    """
    return min(most_bytes, 64 * MIB + RATIO * file_bytes)


def check_picture(picture: Image.Image, where: str, file_bytes: int) -> None:
    """Raises an ImageError if decoding an opened picture takes more than its file may.

    Args:
        picture: not loaded yet.
        where: the file, for the error.
        file_bytes: its size.
    """
    needed, most = picture.width * picture.height * _peak(picture), picture_bytes(file_bytes)
    if needed > most:
        raise ImageError(
            where,
            f"{picture.height}x{picture.width} px in {file_bytes} bytes of {picture.format} are decoded whole, "
            f"which takes {needed} bytes (at most {most})",
            fix="save it as tiled TIFF, which is read by region: vips tiffsave --tile, or gdal_translate -co TILED=YES",
        )


def _peak(picture: Image.Image) -> int:
    """Bytes a pixel while a picture is decoded, copied to an array and rotated, and while grey becomes RGB."""
    if is_png16(picture) and can_decode_png16():
        return _PNG16.get(len(picture.getbands()), 20)
    stored, array = _STORED.get(picture.mode, 4), _ARRAY.get(picture.mode, 4)
    decoder = _PROGRESSIVE if "progressive" in picture.info else _DECODER.get(picture.format or "", 0)
    rotated = "exif" in picture.info and orientation_of(picture) not in (
        None,
        1,
    )  # without it PNGs are decoded to find it
    return max(stored + decoder, stored + (2 if rotated else 1) * array, 4 * array if array == 1 else 0)
