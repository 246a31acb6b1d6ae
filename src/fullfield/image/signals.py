"""Takes signals, arrays ``(c, t)`` and ``(t,)`` and files, as images of height one whose bands are their channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.decode import decode
from fullfield.image.raster import ArrayRaster, ImageMetadata, Raster, is_raster, raster_text
from fullfield.text import number_of

_TILE = 1 << 16  # samples read at once


@dataclass(frozen=True, eq=False)
class LinesRaster:
    """An image of one band whose lines are the channels of a signal, as an image of height one; a ``Raster``.

    Args:
        lines: the image ``(c, t, 1)``.
    """

    lines: Raster

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """The file."""
        return self.lines.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """One, samples and channels."""
        channels, samples, _ = self.lines.shape
        return 1, samples, channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the samples."""
        return self.lines.dtype

    @property
    def metadata(self) -> ImageMetadata:
        """The file's metadata."""
        size = self.shape[:2]
        return replace(self.lines.metadata, tile=(1, min(size[1], _TILE)), levels=(size,))

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Samples of a part, a new array. Shape: ``(1, t, c)``

        Raises:
            ImageError: the file is damaged there, or the part leaves the signal.
        """
        return self.lines.read(0, self.lines.shape[0], left, right)[None, :, :, 0].swapaxes(1, 2)

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(1, t)`` of the samples that hold data; ``None`` if all do."""
        found = self.lines.valid(0, self.lines.shape[0], left, right)
        if found is None:
            return None
        return np.asarray(found.all(0) if self.metadata.every_band else found.any(0))[None]

    def thumbnail(self, side: int) -> NDArray[Any] | None:
        """None: an average of a signal is no signal."""
        return None

    def close(self) -> None:
        """Closes the file."""
        self.lines.close()


def signal_image(signal: object, channels: int) -> Raster:
    """A signal as an image of height one.

    Args:
        signal: array or tensor ``(c, t)`` or ``(t,)``, or what ``open`` gives for a file of samples.
        channels: that the network takes.

    Raises:
        ImageError: it is no signal, or has another number of channels.

    Examples:
        >>> signal_image(np.zeros((2, 4000)), 2).shape
        (1, 4000, 2)
    """
    raster = signal if is_raster(signal) else ArrayRaster(*_decoded(signal))
    found = raster if raster.shape[0] == 1 and raster.shape[2] == channels else _of_lines(raster)
    if found is None:
        height, width, bands = raster.shape
        what = f"is an image of {height}x{width} px and {bands} bands; the network takes signals"
        raise ImageError(raster.name, what, fix="give an array (c, t) or (t,), a .npy or a WAV file")
    if found.shape[2] != channels:
        raise _other_channels(found, channels)
    return found


def _decoded(signal: Any) -> tuple[NDArray[Any], str]:
    """The samples as an image, and its name."""
    given = signal[None] if getattr(signal, "ndim", 0) == 1 else signal
    return decode(given)


def _of_lines(raster: Raster) -> Raster | None:
    """The signal in an image: its lines where it has one band, its bands where it has one line."""
    if raster.shape[2] == 1:
        if isinstance(raster, ArrayRaster):
            pixels = np.ascontiguousarray(raster.pixels[None, :, :, 0].swapaxes(1, 2))
            shown = None if raster.shown is None else np.asarray(raster.shown.all(0))[None]
            return replace(raster, pixels=pixels, shown=shown)
        return LinesRaster(raster)
    return raster if raster.shape[0] == 1 else None


def _other_channels(raster: Raster, channels: int) -> ImageError:
    _, samples, found = raster.shape
    what = f"has {number_of(found, 'channel')} of {samples} samples, the network takes {channels}"
    if samples == channels or found > samples:
        return ImageError(raster.name, what, fix="signals are (c, t): give signal.T")
    if found > channels:
        chosen = ",".join(map(str, range(channels)))
        fix = f"choose by bands=[{chosen}] or --bands {chosen}, counted from 0; of an array signal[:{channels}]"
        return ImageError(raster.name, what, fix=fix)
    return ImageError(raster.name, what, fix=f"give a signal of {channels} channels")
