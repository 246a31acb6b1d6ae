"""Decodes Zarr chunks that imagecodecs encoded: pictures (JPEG 2000, PNG, ...), LZW and PackBits, within a limit."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

from fullfield.image.formats.encoded_size import check_picture_values
from fullfield.packages import import_packages

_PREFIX = "imagecodecs_"
#: Codecs whose chunks are pictures that declare their size: name -> compression of a TIFF of the same pictures.
_COMPRESSIONS = {"jpeg": 7, "jpeg2k": 33003, "jpegxl": 50002, "lerc": 34887, "png": 34933, "webp": 50001}
PICTURES = {_PREFIX + name: number for name, number in _COMPRESSIONS.items()}
SHORTENED = frozenset({"imagecodecs_lzw", "imagecodecs_packbits"})  # decode to no more than they are asked for
#: Filters that keep the size of a chunk.
FILTERS = frozenset(
    _PREFIX + name for name in ("bitorder", "bitshuffle", "byteshuffle", "delta", "floatpred", "xor")
)  # fmt: skip
_NAME = re.compile(r"imagecodecs[_.]\w+")


def register_imagecodecs(error: Exception, where: str) -> bool:
    """Lets zarr find the codecs of imagecodecs, if an error says that one of them is unknown.

    Returns:
        Whether it does, and they are known now.

    Raises:
        ImageError: imagecodecs is not installed.
    """
    found = _NAME.search(str(error))
    if found is None:
        return False
    what = f"is encoded with {found[0]}, which the package imagecodecs decodes"
    (codecs,) = import_packages("imagecodecs.numcodecs", extra="tiff,zarr", where=where, what=what)
    codecs.register_codecs(verbose=False)
    for name in PICTURES:
        for alias in (name, f"numcodecs.{name}", name.replace("_", ".")):
            register_codec(alias, PictureCodec)
    return True


def plain_name(name: str) -> str:
    """The name of a codec in Zarr v2.

    Examples:
        >>> plain_name("numcodecs.zlib"), plain_name("imagecodecs.jpeg2k")
        ('zlib', 'imagecodecs_jpeg2k')
    """
    return name.removeprefix("numcodecs.").replace("imagecodecs.", _PREFIX)


def decode_picture(codec: Any, data: Any, most_values: int) -> NDArray[Any]:
    """The pixels of a chunk that is a picture.

    Args:
        codec: of imagecodecs.
        data: the chunk as stored.
        most_values: of the chunk.

    Raises:
        ValueError: the picture has more values.
    """
    stored = bytes(data)
    check_picture_values(stored, PICTURES[codec.codec_id], most_values)
    return np.ascontiguousarray(codec.decode(stored))


def decode_shortened(codec: str, data: Any, most_bytes: int) -> bytes:
    """The bytes of a chunk of LZW or PackBits; one more than the limit if it has more."""
    import imagecodecs

    decode = imagecodecs.lzw_decode if codec.endswith("lzw") else imagecodecs.packbits_decode
    return bytes(decode(bytes(data), out=most_bytes + 1))


@dataclass(frozen=True)
class PictureCodec(ArrayBytesCodec):
    """A codec of imagecodecs in Zarr v3, for reading; a chunk that has more values than the array's is an error.

    Args:
        name: of the codec.
        configuration: its arguments.
    """

    is_fixed_size = False

    name: str
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PictureCodec:
        """The codec of an array's metadata."""
        return cls(str(data["name"]), dict(data.get("configuration") or {}))

    def to_dict(self) -> dict[str, Any]:
        """The metadata of the codec."""
        return {"name": self.name, "configuration": dict(self.configuration)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Not known: it depends on the pixels."""
        raise NotImplementedError

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        pixels = await asyncio.to_thread(self._decoded, chunk_bytes.to_bytes(), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels)

    def _decoded(self, data: bytes, chunk_spec: Any) -> NDArray[Any]:
        kind = plain_name(self.name).removeprefix(_PREFIX).capitalize()
        codec = getattr(import_module("imagecodecs.numcodecs"), kind)(**self.configuration)
        pixels = decode_picture(codec, data, math.prod(chunk_spec.shape))
        dtype = np.dtype(chunk_spec.dtype.to_native_dtype())
        if pixels.dtype != dtype.newbyteorder("=") or pixels.size != math.prod(chunk_spec.shape):
            raise ValueError(f"decodes to {pixels.shape} of {pixels.dtype}, not to {chunk_spec.shape} of {dtype}")
        return pixels.reshape(chunk_spec.shape)
