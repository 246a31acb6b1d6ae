"""Reads WAV files by ranges of bytes, as images of height one: samples are columns, channels are bands.

Samples become floats: whole numbers are divided by the greatest magnitude that their type has, so that they lie in
[-1, 1), as soundfile, torchaudio and librosa give them. The standard library's ``wave`` reads no floats and, before
Python 3.12, no extensible headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullfield.errors import ImageError
from fullfield.image.blob import Blob, open_blob
from fullfield.image.checks import check_region, check_size, damaged
from fullfield.image.nodata import data_mask
from fullfield.image.raster import ImageMetadata, Raster, raster_text
from fullfield.image.selection import Selection, check_single, select_bands, select_level

_TILE = 1 << 16  # samples read at once; the format has no tiles
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 80: "MPEG", 85: "MP3"}
_UNKNOWN = 0xFFFFFFFF  # a size that a stream, or a file of more than 4 GiB, does not state here
_STEREO = (("left",), ("right",))
_CONVERT = "convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"


@dataclass(frozen=True)
class WaveFormat:
    """How samples are stored.

    Args:
        code: ``1`` whole numbers, ``3`` floats.
        channels: in every frame, one sample each.
        rate: frames per second.
        width: bytes of a sample.
        order: ``<`` or ``>``, in the notation of struct.
    """

    code: int
    channels: int
    rate: int
    width: int
    order: str = "<"

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The floats that hold every sample exactly."""
        return np.dtype(np.float64 if self.width == (8 if self.code == _FLOAT else 4) else np.float32)

    def decode(self, data: bytes) -> NDArray[np.floating]:
        """Samples of whole frames. Shape: ``(t, c)``

        Examples:
            >>> WaveFormat(1, 1, 8000, 2).decode(bytes([0, 128, 0, 64])).ravel().tolist()
            [-1.0, 0.5]
        """
        if self.code == _FLOAT:
            found = np.frombuffer(data, f"{self.order}f{self.width}").astype(self.dtype)
        elif self.width == 1:
            found = (np.frombuffer(data, np.uint8).astype(self.dtype) - 128) / 128
        else:
            full = np.zeros((len(data) // self.width, 4), np.uint8)  # 32 bits, the sample in the highest
            part = slice(4 - self.width, None) if self.order == "<" else slice(0, self.width)
            full[:, part] = np.frombuffer(data, np.uint8).reshape(-1, self.width)
            found = (full.view(f"{self.order}i4")[:, 0] / 2.0**31).astype(self.dtype)
        return found.reshape(-1, self.channels)


@dataclass(frozen=True, eq=False)
class WaveRaster:
    """A signal in a WAV file.

    Args:
        blob: the file.
        start: position of the first frame's first byte.
        frames: their number.
        format: of the samples.
        bands: channels selected.
        metadata: the file's metadata.
    """

    blob: Blob
    start: int
    frames: int
    format: WaveFormat
    bands: tuple[int, ...]
    metadata: ImageMetadata

    def __repr__(self) -> str:
        return raster_text(self)

    @property
    def name(self) -> str:
        """The file."""
        return self.blob.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """One, samples and channels."""
        return 1, self.frames, len(self.bands)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the samples."""
        return self.format.dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.floating]:
        """Samples of a part, a new array. Shape: ``(1, t, c)``

        Raises:
            ImageError: the file was truncated, or the part leaves the signal.
        """
        check_region((top, bottom, left, right), self.shape, self.name)
        frame = self.format.channels * self.format.width
        try:
            data = self.blob.read(self.start + left * frame, self.start + right * frame)
            if len(data) < (right - left) * frame:
                raise EOFError("the file ends there")
        except (OSError, EOFError) as error:
            raise damaged(self.name, (top, bottom, left, right), error) from error
        return self.format.decode(data)[None, :, list(self.bands)]

    def valid(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_] | None:
        """Mask ``(1, t)`` of the samples that are not nodata or NaN; ``None`` if there can be none."""
        return self.mask(self.read(top, bottom, left, right)) if self.metadata.masked else None

    def mask(self, pixels: NDArray[np.floating]) -> NDArray[np.bool_] | None:
        """Mask ``(1, t)`` of the valid ones among samples already read."""
        return data_mask(pixels, self.metadata.nodata, every=self.metadata.every_band)

    def thumbnail(self, side: int) -> None:
        """None: an average of a signal is no signal."""

    def close(self) -> None:
        """Closes the file."""
        self.blob.close()


def is_wave(head: bytes) -> bool:
    """Whether a file that begins so is a WAV file.

    Examples:
        >>> is_wave(b"RIFF" + bytes(4) + b"WAVEfmt "), is_wave(b"RIFF" + bytes(4) + b"WEBPVP8 ")
        (True, False)
    """
    return head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"


def open_wave(path: str, selection: Selection) -> Raster:
    """Opens a WAV file or URL of whole numbers of 8 to 32 bits or floats, with any number of channels.

    Raises:
        ImageError: it is compressed, damaged, or shorter than its header declares.
    """
    blob = open_blob(path)
    try:
        kind, start, frames = _header(blob)
        check_single(selection, ("series", "z", "t"), where=path)
        select_level(selection, 1, None, where=path)
        bands = select_bands(selection.bands, kind.channels, where=path, names=_STEREO if kind.channels == 2 else ())
        metadata = ImageMetadata(
            {**blob.identity(), "bands": list(bands)},
            (1, min(frames, _TILE)),
            ((1, frames),),
            nodata=selection.nodata,
            masked=selection.nodata is not None or kind.code == _FLOAT,
            every_band=selection.valid == "all",
            value_range=selection.value_range,
            reader="wave",
            sample_rate=float(kind.rate),
        )
        return WaveRaster(blob, start, frames, kind, bands, metadata)
    except BaseException:
        blob.close()
        raise


def _header(blob: Blob) -> tuple[WaveFormat, int, int]:
    """The format, the position of the first frame, and the number of frames."""
    order = ">" if blob.read(0, 4) == b"RIFX" else "<"
    at, kind, large = 12, None, None
    while at + 8 <= blob.size:
        name, size = struct.unpack(f"{order}4sI", blob.read(at, at + 8))
        at += 8
        if name == b"ds64" and size >= 16:
            (large,) = struct.unpack(f"{order}8xQ", blob.read(at, at + 16))
        elif name == b"fmt ":
            kind = _format(blob.read(at, at + min(size, 40)), order, blob.name)
        elif name == b"data":
            if kind is None:
                break
            return kind, at, _frames(blob, at, size if size != _UNKNOWN else large, kind)
        at += size + size % 2
    what = "has no samples: the file ends before them" if kind else "does not say how its samples are stored"
    raise ImageError(blob.name, what, fix="copy or download it again")


def _format(data: bytes, order: str, where: str) -> WaveFormat:
    if len(data) < 16:
        raise ImageError(where, "has a damaged header", fix="copy or download it again")
    code, channels, rate, _, frame, bits = struct.unpack(f"{order}HHIIHH", data[:16])
    if code == _EXTENSIBLE and len(data) >= 26:
        (code,) = struct.unpack(f"{order}H", data[24:26])
    if code not in (_PCM, _FLOAT):
        what = f"holds samples of format {code} ({_COMPRESSED.get(code, 'unknown')}), not whole numbers or floats"
        raise ImageError(where, what, fix=_CONVERT)
    width = frame // channels if channels else 0
    if width not in ((4, 8) if code == _FLOAT else (1, 2, 3, 4)) or channels * width != frame or not rate:
        what = f"has frames of {frame} bytes for {channels} channels of {bits} bits at {rate} Hz"
        raise ImageError(where, what, fix=_CONVERT)
    return WaveFormat(code, channels, rate, width, order)


def _frames(blob: Blob, start: int, size: int | None, kind: WaveFormat) -> int:
    """How many frames there are; in a stream that does not state it, all to the file's end."""
    there = blob.size - start
    if size is not None and size > there:
        what = f"has {there} bytes of samples, its header says {size}"
        raise ImageError(blob.name, what, fix="copy or download it again")
    frames = (there if size is None else size) // (kind.channels * kind.width)
    if frames < 1:
        raise ImageError(blob.name, "has no samples", fix="copy or download it again")
    check_size((1, frames), blob.name)
    return frames
