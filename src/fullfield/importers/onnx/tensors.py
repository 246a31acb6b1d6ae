"""Converts ONNX tensors to torch. Checks sizes before allocation; external data must be in the model's folder."""

from __future__ import annotations

import math
import os
from pathlib import Path, PureWindowsPath

import numpy as np
import onnx
import torch
from onnx import TensorProto

from fullfield.importers.limits import LayerRefused

_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
}
_PACKED: dict[int, tuple[int, torch.dtype]] = {
    TensorProto.INT4: (4, torch.int8),
    TensorProto.UINT4: (4, torch.uint8),
    TensorProto.INT2: (2, torch.int8),
    TensorProto.UINT2: (2, torch.uint8),
    TensorProto.FLOAT4E2M1: (4, torch.float32),
}
"""Types of which several numbers share a byte: their bits, and the type that they are read as."""
_FLOATS_OF_4_BITS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
_FLOATS_OF_8_BITS = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)
_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}


def torch_dtype(number: int) -> torch.dtype | None:
    """The torch type of an ONNX element type; ``None`` where torch has none."""
    return _DTYPES.get(number)


def read_dtype(number: int) -> torch.dtype:
    """The torch type that tensors of an ONNX element type are read as, which is wider where torch has none.

    Raises:
        LayerRefused: tensors of this type are not read.
    """
    dtype = _PACKED[number][1] if number in _PACKED else torch_dtype(number)
    if dtype is None:
        raise LayerRefused(f"element type {number} is not one that torch computes in")
    return dtype


def declared_bytes(proto: onnx.TensorProto) -> int:
    """Bytes that the declared shape and type take.

    Raises:
        LayerRefused: a negative size, or an element type that torch lacks.
    """
    bits, dtype = _PACKED.get(proto.data_type, (0, None))[0], read_dtype(proto.data_type)
    if any(size < 0 for size in proto.dims):
        raise LayerRefused(f"shape {list(proto.dims)} has a negative size")
    count: int = math.prod(proto.dims)
    return -(-count * bits // 8) if bits else count * dtype.itemsize


def to_torch(proto: onnx.TensorProto, *, folder: Path | None) -> torch.Tensor:
    """The tensor, as a copy.

    Args:
        folder: of external data; ``None`` forbids them.

    Raises:
        LayerRefused: the data are missing, too short, too long, or outside the folder.
    """
    size, packed = declared_bytes(proto), proto.data_type in _PACKED
    dtype = torch.uint8 if packed else _DTYPES[proto.data_type]
    if proto.data_location == TensorProto.EXTERNAL:
        raw = _external(proto, size, folder)
    elif not (raw := proto.raw_data) and size:
        tensor = _from_fields(proto, dtype, size if packed else None)
        return _unpacked(proto, tensor) if packed else tensor
    if len(raw) != size:
        raise LayerRefused(f"shape {list(proto.dims)} takes {size} bytes, the file has {len(raw)}")
    shape = (size,) if packed else tuple(proto.dims)
    tensor = torch.empty(shape, dtype=dtype)  # torch aligns its memory for vector instructions
    if size:
        tensor.reshape(-1).view(torch.uint8).numpy()[:] = np.frombuffer(raw, np.uint8)
    return _unpacked(proto, tensor) if packed else tensor


def _unpacked(proto: onnx.TensorProto, packed: torch.Tensor) -> torch.Tensor:
    """The numbers in bytes, the first one in the lowest bits."""
    bits, dtype = _PACKED[proto.data_type]
    numbers = unpacked(packed, bits)[: math.prod(proto.dims)].to(dtype)
    if dtype.is_floating_point:
        numbers = torch.tensor(_FLOATS_OF_4_BITS)[numbers.long()]
    elif dtype.is_signed:
        numbers = torch.where(numbers >= 2 ** (bits - 1), numbers - 2**bits, numbers)
    return numbers.reshape(tuple(proto.dims))


def unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The numbers of a few bits each along the last axis of bytes, the first one in the lowest bits.

    Examples:
        >>> unpacked(torch.tensor([0x21, 0x43], dtype=torch.uint8), 4)
        tensor([1, 2, 3, 4], dtype=torch.uint8)
    """
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    numbers: torch.Tensor = packed[..., None] >> shifts & 2**bits - 1
    return numbers.flatten(-2)


def _from_fields(proto: onnx.TensorProto, dtype: torch.dtype, packed: int | None) -> torch.Tensor:
    """Numbers from the list field of the element type, or as many bytes as they are packed in."""
    field = getattr(proto, _FIELDS.get(proto.data_type, "int32_data"))
    count = math.prod(proto.dims) if packed is None else packed
    if len(field) != count:
        raise LayerRefused(f"shape {list(proto.dims)} takes {count} numbers, the file has {len(field)}")
    if dtype in (torch.float16, torch.bfloat16):
        bits = np.array(field, dtype=np.int64).astype(np.uint16).view(np.int16)
        return torch.from_numpy(bits).view(dtype).reshape(tuple(proto.dims))
    if dtype in _FLOATS_OF_8_BITS:
        return torch.tensor(list(field), dtype=torch.uint8).view(dtype).reshape(tuple(proto.dims))
    return torch.tensor(list(field), dtype=dtype).reshape((packed,) if packed is not None else tuple(proto.dims))


def _external(proto: onnx.TensorProto, size: int, folder: Path | None) -> bytes:
    """Bytes of a tensor from a file in the model's folder."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise LayerRefused(f"a constant in the graph reads external data from {location!r}")
    path = inside(folder, location)
    offset, length = _whole(entries, "offset", 0), _whole(entries, "length", size)
    try:
        with path.open("rb") as stream:
            file_bytes = os.fstat(stream.fileno()).st_size
            if length != size or offset + size > file_bytes:
                raise LayerRefused(
                    f"takes {size} bytes, {location!r} should have {length} of them from byte {offset} "
                    f"and has {file_bytes} bytes"
                )
            stream.seek(offset)
            return stream.read(size)
    except OSError as error:
        raise LayerRefused(f"external data {location!r} cannot be read ({error.strerror})") from error


def inside(folder: Path, location: str) -> Path:
    """The file at a location, which must be inside the folder after all links are resolved.

    Raises:
        LayerRefused: the location is absolute, contains ``..``, leads out of the folder by a link, or is not a file.
    """
    path, foreign = Path(location), PureWindowsPath(location)
    if not location or "\0" in location or path.is_absolute() or foreign.drive or foreign.root:
        raise LayerRefused(f"external data {location!r} is not a path below the model's folder")
    if ".." in path.parts or ".." in foreign.parts:
        raise LayerRefused(f"external data {location!r} leaves the model's folder")
    home, real = folder.resolve(), (folder / path).resolve()
    if not real.is_relative_to(home):
        raise LayerRefused(f"external data {location!r} leads out of the model's folder")
    if not real.is_file():
        raise LayerRefused(f"external data {location!r} is not in the model's folder")
    return real


def _whole(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise LayerRefused(f"{key} {text!r} is not a whole number")
    return int(text)
