"""Decompresses Zarr chunks to no more than a limit, whatever size a chunk declares."""

from __future__ import annotations

import asyncio
import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numcodecs.abc import Codec  # type: ignore[import-untyped]
from zarr.abc.codec import BytesBytesCodec

from fullfield.image.formats.zarr_pictures import PICTURES, SHORTENED, decode_picture, decode_shortened
from fullfield.image.zstd import decoded_size

Bytes = bytes | memoryview

_DICTIONARY = 1 << 28  # bytes of LZMA's window


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A compressor of Zarr v3 that decodes to no more than a limit.

    Args:
        inner: the codec of the metadata.
        compressor: decodes.
    """

    is_fixed_size = False

    inner: BytesBytesCodec
    compressor: BoundedCompressor

    def to_dict(self) -> dict[str, Any]:
        """The metadata of the codec."""
        return self.inner.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Not known; the inner codec raises."""
        return self.inner.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        decoded = await asyncio.to_thread(self.compressor.decode, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(decoded)


class BoundedCompressor(Codec):  # type: ignore[misc]  # numcodecs has no types
    """A compressor of numcodecs that decodes to no more than a limit.

    Args:
        inner: the compressor of the metadata.
        most_bytes: decoded.
    """

    codec_id = "bounded"  # zarr needs one on the class

    def __init__(self, inner: Any, most_bytes: int) -> None:
        self.codec_id = inner.codec_id
        self.inner = inner
        self.most_bytes = most_bytes

    def get_config(self) -> dict[str, Any]:
        """The metadata of the compressor."""
        config: dict[str, Any] = self.inner.get_config()
        return config

    def encode(self, buf: Any) -> Any:
        """Encodes with the inner compressor."""
        return self.inner.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The bytes of a chunk.

        Raises:
            ValueError: they are more than the limit, or the chunk is damaged.
        """
        data = memoryview(buf).cast("B")
        if self.codec_id in PICTURES:
            return decode_picture(self.inner, data, self.most_bytes)
        if self.codec_id in SHORTENED:
            decoded = decode_shortened(self.codec_id, data, self.most_bytes)
            if len(decoded) > self.most_bytes:
                raise _too_long(f"more than {self.most_bytes}", self.most_bytes)
            return decoded
        if self.codec_id in _DECOMPRESSORS:
            return _decompressed(data, self.most_bytes, lambda: _DECOMPRESSORS[self.codec_id](self.inner))
        size = declared_size(self.codec_id, data)
        if size > self.most_bytes:
            raise _too_long(size, self.most_bytes)
        return self.inner.decode(buf)


def _too_long(size: int | str, most_bytes: int) -> ValueError:
    return ValueError(f"a chunk decodes to {size} bytes, the array's have at most {most_bytes}")


def _lzma(codec: Any) -> Any:
    filters = codec.filters
    if codec.format == lzma.FORMAT_RAW:
        if any(int(f.get("dict_size", 0)) > _DICTIONARY for f in filters or ()):
            raise ValueError(f"LZMA's window is larger than {_DICTIONARY} bytes")
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return lzma.LZMADecompressor(codec.format, memlimit=_DICTIONARY)


def _decompressed(data: Bytes, most_bytes: int, start: Callable[[], Any]) -> bytes:
    """All streams of a chunk, decompressed one after the other up to the limit."""
    parts, left = [], most_bytes
    while data:
        decompressor = start()
        part = decompressor.decompress(data, left + 1)
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise _too_long(f"more than {most_bytes}", most_bytes)
        if not decompressor.eof:
            raise EOFError("a compressed chunk ends too early")
        data = decompressor.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def declared_size(codec: str, data: Bytes) -> int:
    """The decoded size that a chunk of Blosc, LZ4 or Zstandard declares, bytes; the decoders return no more than that.

    A Zstandard frame without a size counts as what its blocks can hold, less the 64 MiB that such frames may take.

    Raises:
        ValueError: the chunk is too short or not of this codec.

    Examples:
        >>> declared_size("lz4", bytes.fromhex("00010000") + b"...")
        256
    """
    return _DECLARED_SIZES[codec](codec, data)


def _header_size(codec: str, data: Bytes) -> int:
    """The size in the header of a chunk of Blosc or LZ4."""
    at = 4 if codec == "blosc" else 0
    if len(data) < at + 4:
        raise ValueError(f"a chunk of {len(data)} bytes is too short for {codec}")
    return int.from_bytes(data[at : at + 4], "little")


def _zstd_size(_: str, data: Bytes) -> int:
    return decoded_size(data)


def _deflate(codec: Any) -> Any:
    return zlib.decompressobj(wbits=-15 if getattr(codec, "raw", False) else 47)


#: Compressors that stop at a limit while they decode: name -> decompressor of one stream.
_DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    "bz2": lambda codec: bz2.BZ2Decompressor(),
    "gzip": lambda codec: zlib.decompressobj(wbits=47),  # accepts the header of gzip or zlib
    "lzma": _lzma,
    "imagecodecs_bz2": lambda codec: bz2.BZ2Decompressor(),
    "imagecodecs_deflate": _deflate,
    "imagecodecs_lzma": lambda codec: lzma.LZMADecompressor(memlimit=_DICTIONARY),
    "imagecodecs_zlib": lambda codec: zlib.decompressobj(wbits=47),
    "zlib": lambda codec: zlib.decompressobj(wbits=47),
}
#: Compressors whose chunks declare their decoded size: name -> that size.
_DECLARED_SIZES: dict[str, Callable[[str, Bytes], int]] = {
    "blosc": _header_size,
    "imagecodecs_zstd": _zstd_size,
    "lz4": _header_size,
    "zstd": _zstd_size,
}
COMPRESSORS = frozenset({*_DECOMPRESSORS, *_DECLARED_SIZES, *PICTURES, *SHORTENED})
