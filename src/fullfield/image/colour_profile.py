"""Converts the colours of an image from its ICC profile to sRGB, region by region.

Source: ICC.1:2022; the intent is the profile's own, as in OpenSlide's documentation
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError, first_line
from fullfield.image.raster import ImageMetadata, Raster, raster_text
from fullfield.image.selection import select_bands

_MOST_BYTES = 16 << 20  # of a profile
_NAMES = [("red",), ("green",), ("blue",)]


@dataclass(frozen=True, eq=False)
class ConvertedRaster:
    """An image whose colours are converted; implements ``Raster``.

    Args:
        inner: red, green and blue of 8 bits.
        metadata: of the converted image.
        bands: those returned.
    """

    inner: Raster
    metadata: ImageMetadata
    bands: tuple[int, ...]
    _transform: Any = field(repr=False)

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """Path or URL."""
        return self.inner.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height and width, px, and channels."""
        return *self.inner.shape[:2], len(self.bands)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always 8 bits."""
        return self.inner.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Pixels ``(y, x, c)`` of a region."""
        return _converted(self.inner.read(top, bottom, left, right), self._transform, self.bands)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(y, x)`` of the valid pixels of a region, as before the conversion."""
        return self.inner.valid(top, bottom, left, right)

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """The whole image, small."""
        small = self.inner.thumbnail(side)
        return None if small is None else _converted(small, self._transform, self.bands)

    def close(self) -> None:
        """Closes the file."""
        self.inner.close()


def profile_name(profile: bytes) -> str:
    """What an ICC profile calls itself.

    Examples:
        >>> profile_name(b"")
        'damaged'
    """
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(_parsed(profile)).strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "damaged"
    return " ".join(name.split()) or "without a name"


def to_srgb(raster: Raster, bands: tuple[int | str, ...] | None) -> Raster:
    """The image in sRGB.

    Args:
        raster: with red, green and blue.
        bands: to return; ``None`` for all.

    Raises:
        ImageError: it has no profile, a damaged one, one of other colours, or not three channels of 8 bits.
    """
    from PIL import ImageCms

    metadata, where = raster.metadata, raster.name
    if metadata.profile is None:
        what = f"has no colour profile that {metadata.reader.split(' ')[0]} finds"
        raise ImageError(where, what, fix="leave out icc (--icc)")
    if raster.dtype != np.uint8 or raster.shape[2] != 3:
        what = f"has {raster.shape[2]} channels of {raster.dtype}; profiles convert red, green and blue of 8 bits"
        raise ImageError(where, what, fix="leave out icc (--icc)")
    try:
        profile = _parsed(metadata.profile)
        space = str(profile.profile.xcolor_space).strip()
        if space != "RGB":
            raise ImageError(where, f"has a colour profile of {space}, not of RGB", fix="convert it to RGB first")
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(profile))
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        what = f"has a colour profile that cannot be used ({first_line(error)})"
        raise ImageError(where, what, fix="leave out icc (--icc)") from error
    chosen = select_bands(bands, 3, where=where, names=_NAMES)
    digest = hashlib.blake2b(metadata.profile, digest_size=16).hexdigest()
    empty = None if metadata.background is None else np.array(metadata.background, np.uint8).reshape(1, 1, 3)
    changed = replace(
        metadata,
        identity=metadata.identity | {"icc": digest, "bands": list(chosen)},
        nodata=None,
        background=None if empty is None else tuple(map(float, _converted(empty, transform, chosen)[0, 0])),
        band_names=tuple(metadata.band_names[band] for band in chosen) if metadata.band_names else (),
        profile=None,
        converted_from=profile_name(metadata.profile),
    )
    return ConvertedRaster(raster, changed, chosen, transform)


def _parsed(profile: bytes) -> Any:
    from PIL import ImageCms

    if len(profile) > _MOST_BYTES:
        raise ValueError(f"{len(profile)} bytes, at most {_MOST_BYTES} are read")
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _converted(pixels: NDArray[Any], transform: Any, bands: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL import Image, ImageCms

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    found = np.asarray(ImageCms.applyTransform(picture, transform))
    return found if bands == (0, 1, 2) else np.ascontiguousarray(found[:, :, list(bands)])
