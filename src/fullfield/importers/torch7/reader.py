"""Reads Torch7's serialised objects as plain values. Runs no code and checks every size before use.

Source: ``File.lua``, ``Tensor.c`` and ``Storage.c`` of torch7.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fullfield.errors import CaptureError, first_line
from fullfield.importers.limits import LayerRefused, read_bytes
from fullfield.importers.torch7.encodings import Ascii, Binary, Torch7Stream

DEEPEST = 120
"""The deepest nesting of objects; each container of a network adds three levels."""
MOST_OBJECTS = 2_000_000
ASCII_BYTES = 2**28

_TABLE = 3
_TYPES = {
    "Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
    "Byte": "u1", "Cuda": "<f4", "CudaDouble": "<f8", "CudaHalf": "<f2", "CudaLong": "<i8", "CudaInt": "<i4",
    "CudaShort": "<i2", "CudaChar": "i1", "CudaByte": "u1",
}  # fmt: skip

LuaTable = dict[Any, Any]


@dataclass(eq=False)
class LuaObject:
    """An object of a Torch class: the class's name, its version and its fields."""

    kind: str
    version: int = 0
    fields: LuaTable = field(default_factory=dict)


def is_torch7(head: bytes) -> bool:
    """Whether a file with these first bytes is a Torch7 file of an object or a table."""
    if head[:8] in (b"\x04\0\0\0\x01\0\0\0", b"\x03\0\0\0\x01\0\0\0"):
        return True
    return head.startswith((b"4\n1\n", b"3\n1\n"))


def read(path: Path) -> Any:
    """The file's value: numbers, strings, ``dict``, ``Object``, and tensors as views of their storages.

    Raises:
        CaptureError: the file cannot be read, is damaged, or contains functions.
    """
    data = read_bytes(path)
    if data[:1] in (b"3", b"4") and len(data) > ASCII_BYTES:
        raise CaptureError(str(path), f"has {len(data)} bytes, too many for ASCII", fix="save it as binary")
    stream: Torch7Stream = Ascii(data) if data[:1] in (b"3", b"4") else Binary(data)
    try:
        return _Reader(stream).object()
    except LayerRefused as refusal:
        what = f"is damaged or cut short ({first_line(refusal)})"
        if isinstance(refusal, _Function):
            raise CaptureError(str(path), str(refusal), fix="save the network after net:clearState()") from refusal
        raise CaptureError(str(path), what, fix="export or download the file again") from refusal


class _Function(LayerRefused):
    pass


class _Reader:
    """Reads the file in one pass, with a table of objects for later references."""

    def __init__(self, stream: Torch7Stream) -> None:
        self.stream = stream
        self.seen: dict[int, Any] = {}
        self.count = self.depth = 0

    def object(self) -> Any:
        """The next value."""
        self.count += 1
        if self.count > MOST_OBJECTS:
            raise LayerRefused(f"more than {MOST_OBJECTS} objects")
        kind = self.stream.integer()
        match kind:
            case 0:
                return None
            case 1:
                return self.stream.double()
            case 2:
                return self.stream.string().decode("utf-8", errors="replace")
            case 5:
                return self.stream.integer() != 0
            case 3 | 4:
                return self._nested(kind)
            case 6 | 7 | 8:
                raise _Function("contains a Lua function, which is code and not read")
        raise LayerRefused(f"an object of type {kind}")

    def _nested(self, kind: int) -> Any:
        index = self.stream.integer()
        if index in self.seen:
            return self.seen[index]
        if self.depth >= DEEPEST:
            raise LayerRefused(f"objects nested deeper than {DEEPEST}")
        self.depth += 1
        try:
            return self._table(index) if kind == _TABLE else self._torch(index)
        finally:
            self.depth -= 1

    def _table(self, index: int) -> LuaTable:
        size = self.stream.integer()
        if not 0 <= size <= MOST_OBJECTS:
            raise LayerRefused(f"a table of {size} entries")
        table: LuaTable = {}
        self.seen[index] = table
        for _ in range(size):
            key, value = self.object(), self.object()
            if isinstance(key, (float, str, bool)):
                table[_whole(key)] = value
        return table

    def _torch(self, index: int) -> Any:
        word, version = self.stream.string(), 0
        if word.startswith(b"V "):
            version = int(word[2:]) if word[2:].isdigit() and len(word) < 12 else 0
            word = self.stream.string()
        name = word.decode("utf-8", errors="replace")
        library, _, kind = name.partition(".")
        if library == "torch" and kind.endswith("Tensor") and kind[:-6] in _TYPES:
            self.seen[index] = tensor = self._tensor()
            return tensor
        if library == "torch" and kind.endswith("Storage") and kind[:-7] in _TYPES:
            self.seen[index] = storage = self._storage(_TYPES[kind[:-7]])
            return storage
        made = LuaObject(name, version)
        self.seen[index] = made
        fields = self.object()
        if not isinstance(fields, dict):
            raise LayerRefused(f"a {name[:60]!r} without a table of fields")
        made.fields = fields
        return made

    def _storage(self, kind: str) -> torch.Tensor:
        (size,) = self.stream.longs(1)
        if size < 0:
            raise LayerRefused(f"a storage of {size} numbers")
        numbers = self.stream.numbers(kind, size)
        native = numbers.astype(np.dtype(kind).newbyteorder("="), copy=True)
        return torch.from_numpy(native)

    def _tensor(self) -> torch.Tensor:
        """A view of the storage that follows in the file; refused if it exceeds the storage."""
        dims = self.stream.integer()
        if not 0 <= dims <= 16:
            raise LayerRefused(f"a tensor of {dims} dimensions")
        sizes, strides = self.stream.longs(dims), self.stream.longs(dims)
        (start,) = self.stream.longs(1)
        storage = self.object()
        if storage is None or dims == 0:
            return torch.empty(0, dtype=torch.float32)
        if not isinstance(storage, torch.Tensor) or storage.dim() != 1:
            raise LayerRefused("a tensor without a storage")
        if any(n < 0 for n in (*sizes, *strides)) or start < 1:
            raise LayerRefused(f"a tensor of sizes {sizes}, strides {strides}, offset {start}")
        if 0 in sizes:
            return torch.empty(0, dtype=storage.dtype)
        last = start - 1 + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
        if last >= len(storage):
            raise LayerRefused(f"a tensor that reaches number {last + 1} of a storage of {len(storage)}")
        if any(n > max(1, len(storage)) and stride == 0 for n, stride in zip(sizes, strides, strict=True)):
            raise LayerRefused(f"a tensor of sizes {sizes} over a storage of {len(storage)}")
        return torch.as_strided(storage, sizes, strides, start - 1)


def _whole(key: float | str | bool) -> float | str | bool | int:
    """A key as an integer if it is a whole number; all numbers of Lua are floating."""
    return int(key) if isinstance(key, float) and key.is_integer() else key
