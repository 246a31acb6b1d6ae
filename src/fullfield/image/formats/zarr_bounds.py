"""Zarr's chunks kept to the size that the array's metadata state, whatever the chunks say of themselves.

A codec here decodes to what a chunk can be, or raises before the memory is taken. What is no codec of numbers is
refused by name: the filter ``pickle`` of Zarr v2 would run what a file says.
"""

from __future__ import annotations

import asyncio
import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
from numcodecs.abc import Codec  # type: ignore[import-untyped]
from zarr import Array, AsyncArray
from zarr.abc.codec import BytesBytesCodec
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.codecs import ShardingCodec
from zarr.storage import LocalStore, StorePath, WrapperStore, ZipStore

from fullfield.errors import ImageError
from fullfield.image.formats.checks import check_block

Bytes = bytes | memoryview

_COMPRESSORS = frozenset({"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"})
_SAME_SIZE = frozenset({
    "adler32", "bitround", "bytes", "crc32", "crc32c", "delta", "endian", "fletcher32", "jenkins_lookup3", "quantize",
    "sharding_indexed", "shuffle", "transpose",
})  # fmt: skip
_RESIZING = frozenset({"astype", "fixedscaleoffset", "packbits"})  # between 1 and 8 bytes a value
_CHECKSUMS = 1 << 16  # bytes beyond a chunk's own: of checksums
_UNTOLD = 1 << 26  # bytes beyond, where a compressor wrote no size and only the number of its blocks is known
_DICTIONARY = 1 << 28  # bytes of LZMA's window


class NoPartsError(ImageError):
    """A server gives whole files only, and parts are needed."""


class BoundedStore(WrapperStore[Store]):
    """A store that hands out no document or chunk longer than a limit.

    Of a folder and a zip file; what lies behind an address comes as long as the server sends it, but no part of it
    longer than that.

    Args:
        store: opened for reading.
        most_bytes: of one value.
    """

    def __init__(self, store: Store, most_bytes: int) -> None:
        super().__init__(store)
        self.inner = store
        self.most_bytes = most_bytes

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """The value of a key, or a part of it; ``None`` where there is none.

        Raises:
            ImageError: it is longer than the limit.
            NoPartsError: all came where a part was asked for.
        """
        if isinstance(byte_range, RangeByteRequest):
            self._check(key, byte_range.end - byte_range.start)
        elif byte_range is None and isinstance(self.inner, LocalStore):
            try:
                self._check(key, await self.inner.getsize(key))
            except OSError:
                return None
        elif byte_range is None and isinstance(self.inner, ZipStore):
            found = await self.inner.get(key, prototype, RangeByteRequest(0, self.most_bytes + 1))
            self._check(key, 0 if found is None else len(found))
            return found
        found = await self.inner.get(key, prototype, byte_range)
        if found is not None and len(found) > _asked_for(byte_range):
            what = f"the server gives no parts of files, as shards need ({key})"
            raise NoPartsError(str(self.inner), what, fix="download the image")
        return found

    def _check(self, key: str, size: int) -> None:
        if size > self.most_bytes:
            raise ImageError(
                str(self.inner), f"{key} has {size} bytes, at most {self.most_bytes} are read", fix="check the store"
            )


def _asked_for(byte_range: Any) -> float:
    """Bytes of a part; of a whole, any number."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.end - byte_range.start
    return byte_range.suffix if isinstance(byte_range, SuffixByteRequest) else math.inf


def bounded(array: Any, store: BoundedStore, where: str) -> Any:
    """The array, read through codecs that decode no chunk to more than it can be.

    Raises:
        ImageError: a chunk may be larger than is read at once, or a codec is none that is known here.
    """
    metadata, itemsize = array.metadata, np.dtype(array.dtype).itemsize
    outer = tuple(getattr(array, "shards", None) or array.chunks)
    if metadata.zarr_format == 2:
        chain = [*(metadata.filters or ()), *([metadata.compressor] if metadata.compressor else [])]
        growth = _growth([codec.codec_id for codec in chain], where)
        most = growth * _bytes(outer, itemsize)
        guards = [_guarded(codec, most + _CHECKSUMS) for codec in chain]
        compressor = guards.pop() if metadata.compressor else None
        changed = replace(metadata, filters=tuple(guards) or None, compressor=compressor)
    else:
        growth = _growth(_names(metadata.codecs), where)
        changed = replace(metadata, codecs=_guarded_codecs(metadata.codecs, outer, itemsize * growth, where))
    check_block(array.chunks, itemsize * growth, where)
    limit = 2 * growth * _bytes(outer, itemsize) + 16 * _bytes(outer, 1) // _bytes(array.chunks, 1) + (1 << 20)
    inner = AsyncArray(changed, StorePath(BoundedStore(store.inner, limit), array.path), array.async_array.config)
    return Array(inner)


def _bytes(shape: Sequence[int], itemsize: int) -> int:
    return math.prod(int(side) for side in shape) * itemsize


def _names(codecs: Sequence[Any]) -> list[str]:
    """Of all codecs, those inside shards too."""
    found = []
    for codec in codecs:
        found.append(_name(codec))
        if isinstance(codec, ShardingCodec):
            found += _names(codec.codecs)
    return found


def _name(codec: Any) -> str:
    name: str = codec.to_dict()["name"]
    return name.removeprefix("numcodecs.")


def _growth(names: Sequence[str], where: str) -> int:
    """By how much values may be longer between two codecs than in the array."""
    for name in names:
        if name not in _COMPRESSORS | _SAME_SIZE | _RESIZING:
            raise ImageError(
                where,
                f"is encoded with {name}, which is not read here",
                fix=f"save it anew with one of {', '.join(sorted(_COMPRESSORS))}",
            )
    return 8 if _RESIZING.intersection(names) else 1


def _guarded_codecs(codecs: Sequence[Any], shape: Sequence[int], itemsize: int, where: str) -> tuple[Any, ...]:
    """Codecs of Zarr v3 that decode no chunk of a shape to more than its bytes."""
    sharded = any(isinstance(codec, ShardingCodec) for codec in codecs)
    if sharded and len(codecs) > 1:  # then zarr decodes a shard whole
        check_block(shape, itemsize, where)
    index = 16 * _bytes(shape, 1) if sharded else 0
    most = _bytes(shape, itemsize) + index + _CHECKSUMS
    return tuple(_guarded_codec(codec, most, itemsize, where) for codec in codecs)


def _guarded_codec(codec: Any, most_bytes: int, itemsize: int, where: str) -> Any:
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=_guarded_codecs(codec.codecs, codec.chunk_shape, itemsize, where))
    name = _name(codec)
    if name not in _COMPRESSORS:
        return codec
    said = codec.to_dict()
    own = said.get("configuration", {}) if said["name"].startswith("numcodecs.") else {}
    return BoundedCodec(codec, _guarded(numcodecs.get_codec({"id": name, **own}), most_bytes))


def _guarded(codec: Any, most_bytes: int) -> Any:
    return BoundedCompressor(codec, most_bytes) if codec.codec_id in _COMPRESSORS else codec


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A compressor of Zarr v3 that decodes to no more than a limit.

    Args:
        inner: as the metadata have it.
        compressor: decodes.
    """

    is_fixed_size = False

    inner: BytesBytesCodec
    compressor: BoundedCompressor

    def to_dict(self) -> dict[str, Any]:
        """As the metadata have it."""
        return self.inner.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """As the compressor says; that is: not."""
        return self.inner.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        found = await asyncio.to_thread(self.compressor.decode, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(found)


class BoundedCompressor(Codec):  # type: ignore[misc]  # numcodecs has no types
    """A compressor of numcodecs that decodes to no more than a limit.

    Args:
        inner: as the metadata have it.
        most_bytes: decoded.
    """

    codec_id = "bounded"  # of the class; zarr asks it for one

    def __init__(self, inner: Any, most_bytes: int) -> None:
        self.codec_id = inner.codec_id
        self.inner = inner
        self.most_bytes = most_bytes

    def get_config(self) -> dict[str, Any]:
        """As the metadata have it."""
        found: dict[str, Any] = self.inner.get_config()
        return found

    def encode(self, buf: Any) -> Any:
        """As the compressor does it."""
        return self.inner.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """A chunk's bytes.

        Raises:
            ValueError: they are more than the limit, or the chunk is damaged.
        """
        data = memoryview(buf).cast("B")
        if self.codec_id in ("gzip", "zlib"):
            return _streamed(data, self.most_bytes, _inflater)
        if self.codec_id == "bz2":
            return _streamed(data, self.most_bytes, bz2.BZ2Decompressor)
        if self.codec_id == "lzma":
            return _streamed(data, self.most_bytes, lambda: _lzma(self.inner))
        size, allowed = said_size(self.codec_id, data), self.most_bytes
        if size > allowed:
            raise _too_long(size, allowed)
        return self.inner.decode(buf)


def _too_long(size: int | str, most_bytes: int) -> ValueError:
    return ValueError(f"a chunk decodes to {size} bytes, the array's have at most {most_bytes}")


class _Inflater:
    """zlib's decompressor with the words of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=47)  # with either header

    eof = property(lambda self: self._inner.eof)
    unused_data = property(lambda self: self._inner.unused_data)

    def decompress(self, data: Bytes, most_bytes: int) -> bytes:
        return self._inner.decompress(data, most_bytes)


def _inflater() -> Any:
    return _Inflater()


def _lzma(codec: Any) -> Any:
    filters = codec.filters
    if codec.format == lzma.FORMAT_RAW:
        if any(int(f.get("dict_size", 0)) > _DICTIONARY for f in filters or ()):
            raise ValueError(f"LZMA's window is larger than {_DICTIONARY} bytes")
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    return lzma.LZMADecompressor(codec.format, memlimit=_DICTIONARY)


def _streamed(data: Bytes, most_bytes: int, start: Callable[[], Any]) -> bytes:
    """All streams that lie one after the other, decoded."""
    parts, left = [], most_bytes
    while data:
        decoder = start()
        part = decoder.decompress(data, left + 1)
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise _too_long(f"more than {most_bytes}", most_bytes)
        if not decoder.eof:
            raise EOFError("a compressed chunk ends too early")
        data = decoder.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def said_size(codec: str, data: Bytes) -> int:
    """What a chunk of Blosc, LZ4 or Zstandard says that it decodes to, bytes; the decoders give no more than that.

    Of Zstandard without a size, what its blocks can hold less ``64 MiB``, which callers leave to it.

    Raises:
        ValueError: it says nothing.

    Examples:
        >>> said_size("lz4", bytes.fromhex("00010000") + b"...")
        256
    """
    if codec == "zstd":
        return _zstd_size(data)
    at = 4 if codec == "blosc" else 0
    if len(data) < at + 4:
        raise ValueError(f"a chunk of {len(data)} bytes is none of {codec}")
    return int.from_bytes(data[at : at + 4], "little")


def _zstd_size(data: Bytes) -> int:
    """Bytes of all frames. Source: RFC 8878, sections 3.1.1 and 3.1.2"""
    at, total, untold = 0, 0, 0
    while at + 5 <= len(data):
        magic = int.from_bytes(data[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # to be skipped
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528:
            raise ValueError("a chunk is no Zstandard")
        flags = data[at + 4]
        single = flags >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
        width = (single, 2, 4, 8)[flags >> 6]
        told = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
        at, most = _zstd_blocks(data, at + width)
        at += 4 * (flags >> 2 & 1)  # checksum
        total, untold = total + (told if width else 0), untold + (0 if width else most)
    return total + max(0, untold - _UNTOLD)


def _zstd_blocks(data: Bytes, at: int) -> tuple[int, int]:
    """Where a frame's blocks end, and the most that they decode to."""
    most = 0
    while at + 3 <= len(data):
        header = int.from_bytes(data[at : at + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == 1 else size)
        most += 1 << 17 if kind == 2 else size
        if header & 1:
            break
    return at, most
