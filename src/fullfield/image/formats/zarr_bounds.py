"""Limits what a Zarr store can make a reader allocate or run: documents, chunks and decoded chunks have a bound.

The bound of a chunk follows from the array's metadata, whatever size the chunk itself declares. Codecs that are not
listed here are refused by name: the filter ``pickle`` of Zarr v2 would run code from the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
from zarr import Array, AsyncArray
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest
from zarr.codecs import ShardingCodec
from zarr.storage import FsspecStore, LocalStore, StorePath, WrapperStore, ZipStore

from fullfield.errors import ImageError, first_line
from fullfield.image.checks import check_block
from fullfield.image.formats.zarr_codecs import COMPRESSORS, BoundedCodec, BoundedCompressor
from fullfield.image.formats.zarr_pictures import FILTERS, PICTURES, PictureCodec, plain_name
from fullfield.image.network import retried_async

_SAME_SIZE = frozenset({
    "adler32", "bitround", "bytes", "crc32", "crc32c", "delta", "endian", "fletcher32", "jenkins_lookup3", "quantize",
    "sharding_indexed", "shuffle", "transpose",
})  # fmt: skip
_RESIZING = frozenset({"astype", "fixedscaleoffset", "packbits"})  # 1 to 8 bytes per value
_CHECKSUMS = 1 << 16  # bytes that checksums may add to a chunk


class RangeRequestError(ImageError):
    """A server returns whole files only, and shards need parts."""


class BoundedStore(WrapperStore[Store]):
    """A store that returns no document or chunk longer than a limit.

    Whole values are checked before they are read in folders and zip files; a server sends them at any length. Parts of
    values are always checked.

    Args:
        store: opened for reading.
        most_bytes: of one value.
    """

    def __init__(self, store: Store, most_bytes: int) -> None:
        super().__init__(store)
        self.inner = store
        self.most_bytes = most_bytes

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """The value of a key, or a part of it; ``None`` if the key does not exist.

        Raises:
            ImageError: it is longer than the limit, or there is something that is no file.
            RangeRequestError: the store returned the whole value instead of a part.
        """
        if isinstance(self.inner, LocalStore):
            place = self.inner.root / key
            if place.exists() and not (place.is_file() or place.is_dir()):  # reading a pipe would never end
                raise self._unreadable(key, "it is not a regular file")
        if isinstance(byte_range, RangeByteRequest):
            self._check(key, byte_range.end - byte_range.start)
        elif byte_range is None and isinstance(self.inner, LocalStore):
            try:
                self._check(key, await self.inner.getsize(key))
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._unreadable(key, error.strerror or first_line(error)) from error
        elif byte_range is None and isinstance(self.inner, ZipStore):
            value = await self.inner.get(key, prototype, RangeByteRequest(0, self.most_bytes + 1))
            self._check(key, 0 if value is None else len(value))
            return await self._found(key, value)
        if isinstance(self.inner, FsspecStore):
            found = await retried_async(lambda: self.inner.get(key, prototype, byte_range), f"{self.inner.path}/{key}")
        else:
            found = await self.inner.get(key, prototype, byte_range)
        value = await self._found(key, found)
        if value is not None and len(value) > _requested_bytes(byte_range):
            what = f"the server does not support range requests, which shards need ({key})"
            raise RangeRequestError(str(self.inner), what, fix="download the image")
        return value

    async def _found(self, key: str, value: Any) -> Any:
        """The value; ``None`` only where there is nothing of that name: zarr reads what is missing as the fill value.

        Raises:
            ImageError: a folder has the name, or a file has the name of a folder above it.
        """
        if value is None and isinstance(self.inner, LocalStore):
            place = self.inner.root / key
            above = next(parent for parent in place.parents if parent.exists())
            if place.exists() or not above.is_dir():
                raise self._unreadable(key, "it is a folder" if place.is_dir() else f"{above.name} is a file")
        elif value is None and isinstance(self.inner, ZipStore) and await self.inner.exists(f"{key}/"):
            raise self._unreadable(key, "it is a folder")
        return value

    def _unreadable(self, key: str, reason: str) -> ImageError:
        return ImageError(str(self.inner), f"{key} cannot be read: {reason}", fix="copy the store again")

    def _check(self, key: str, size: int) -> None:
        if size > self.most_bytes:
            raise ImageError(
                str(self.inner), f"{key} has {size} bytes, at most {self.most_bytes} are read", fix="check the store"
            )


def _requested_bytes(byte_range: Any) -> float:
    """The length of a part; infinite for the whole value."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.end - byte_range.start
    return byte_range.suffix if isinstance(byte_range, SuffixByteRequest) else math.inf


def bounded(array: Any, store: BoundedStore, where: str) -> Any:
    """The array, read with codecs that decode no chunk to more than its bytes.

    Raises:
        ImageError: chunks are too large to be decoded at once, or a codec is not supported.
    """
    metadata, itemsize = array.metadata, np.dtype(array.dtype).itemsize
    outer = tuple(getattr(array, "shards", None) or array.chunks)
    if metadata.zarr_format == 2:
        chain = [*(metadata.filters or ()), *([metadata.compressor] if metadata.compressor else [])]
        growth = _growth([codec.codec_id for codec in chain], where)
        most = growth * _bytes(outer, itemsize)
        bounds = [_bounded_codec(codec, most + _CHECKSUMS) for codec in chain]
        compressor = bounds.pop() if metadata.compressor else None
        changed = replace(metadata, filters=tuple(bounds) or None, compressor=compressor)
    else:
        growth = _growth(_names(metadata.codecs), where)
        changed = replace(metadata, codecs=_bounded_v3_codecs(metadata.codecs, outer, itemsize * growth, where))
    check_block(array.chunks, itemsize * growth, where)
    limit = 2 * growth * _bytes(outer, itemsize) + 16 * _bytes(outer, 1) // _bytes(array.chunks, 1) + (1 << 20)
    inner = AsyncArray(changed, StorePath(BoundedStore(store.inner, limit), array.path), array.async_array.config)
    return Array(inner)


def _bytes(shape: Sequence[int], itemsize: int) -> int:
    return math.prod(int(side) for side in shape) * itemsize


def _names(codecs: Sequence[Any]) -> list[str]:
    """The names of all codecs, including those inside shards."""
    names = []
    for codec in codecs:
        names.append(_name(codec))
        if isinstance(codec, ShardingCodec):
            names += _names(codec.codecs)
    return names


def _name(codec: Any) -> str:
    name: str = codec.to_dict()["name"]
    return plain_name(name)


def _growth(names: Sequence[str], where: str) -> int:
    """The factor by which values may be longer between two codecs than in the array.

    Raises:
        ImageError: a codec is not supported.
    """
    for name in names:
        if name not in COMPRESSORS | _SAME_SIZE | _RESIZING | FILTERS:
            known = sorted(each for each in COMPRESSORS if not each.startswith("imagecodecs"))
            what = f"is encoded with {name}, which is not supported"
            raise ImageError(where, what, fix=f"save it with one of {', '.join(known)}")
    return 8 if _RESIZING.intersection(names) else 1


def _bounded_v3_codecs(codecs: Sequence[Any], shape: Sequence[int], itemsize: int, where: str) -> tuple[Any, ...]:
    """Codecs of Zarr v3 that decode no chunk of a shape to more than its bytes."""
    sharded = any(isinstance(codec, ShardingCodec) for codec in codecs)
    if sharded and len(codecs) > 1:  # then zarr decodes whole shards
        check_block(shape, itemsize, where)
    index = 16 * _bytes(shape, 1) if sharded else 0
    most = _bytes(shape, itemsize) + index + _CHECKSUMS
    return tuple(_bounded_v3_codec(codec, most, itemsize, where) for codec in codecs)


def _bounded_v3_codec(codec: Any, most_bytes: int, itemsize: int, where: str) -> Any:
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=_bounded_v3_codecs(codec.codecs, codec.chunk_shape, itemsize, where))
    name = _name(codec)
    if name not in COMPRESSORS:
        return codec
    facts = codec.to_dict()
    if name in PICTURES:
        return PictureCodec.from_dict(facts)
    configuration = facts.get("configuration", {}) if facts["name"].startswith("numcodecs.") else {}
    return BoundedCodec(codec, BoundedCompressor(numcodecs.get_codec({"id": name, **configuration}), most_bytes))


def _bounded_codec(codec: Any, most_bytes: int) -> Any:
    """A codec of Zarr v2, bounded if it is a compressor."""
    return BoundedCompressor(codec, most_bytes) if codec.codec_id in COMPRESSORS else codec
