"""A small writer of Torch7's files, binary and ASCII, for tests.

Modules are ``Obj("nn.Linear", weight=array, ...)``; NumPy arrays become tensors with separate storages, lists
tables 1, 2, ..., dictionaries tables.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

NAMES = {"f8": "Double", "f4": "Float", "i8": "Long", "i4": "Int", "u1": "Byte"}


class Obj:
    """A Torch object with a table of fields."""

    def __init__(self, kind: str, version: int | None = 1, /, **fields: Any) -> None:
        self.kind, self.version, self.fields = kind, version, fields


class Storage:
    """A storage, shared by tensors or alone."""

    def __init__(self, numbers: np.ndarray, kind: str | None = None) -> None:
        self.numbers = numbers
        self.kind = kind or NAMES[numbers.dtype.str[1:]]


class Tensor:
    """A view of a storage; ``offset`` counts from 1."""

    def __init__(self, storage: Storage | None, sizes: list[int], strides: list[int], offset: int = 1) -> None:
        self.storage, self.sizes, self.strides, self.offset = storage, sizes, strides, offset


class Raw:
    """Raw bytes or, in ASCII, words."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers


class Writer:
    """Serialises one object after the other."""

    def __init__(self, *, ascii: bool = False) -> None:
        self.ascii, self.parts = ascii, []
        self.indices: dict[int, int] = {}
        self.kept: list[Any] = []

    def int(self, value: int) -> None:
        self._put(f"{value}\n".encode() if self.ascii else struct.pack("<i", value))

    def longs(self, values: list[int]) -> None:
        if self.ascii:
            self._put((" ".join(map(str, values)) + "\n").encode() if values else b"")
        else:
            self._put(struct.pack(f"<{len(values)}q", *values))

    def string(self, text: str) -> None:
        raw = text.encode()
        self.int(len(raw))
        self._put(raw + b"\n" if self.ascii and raw else raw)

    def object(self, value: Any) -> None:
        if value is None:
            self.int(0)
        elif isinstance(value, bool):
            self.int(5)
            self.int(int(value))
        elif isinstance(value, (int, float)):
            self.int(1)
            self._put(f"{float(value):.17g}\n".encode() if self.ascii else struct.pack("<d", value))
        elif isinstance(value, str):
            self.int(2)
            self.string(value)
        elif isinstance(value, Raw):
            for number in value.numbers:
                self.int(number)
        elif isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            strides = [s // array.itemsize for s in array.strides]
            self.object(Tensor(Storage(array.reshape(-1)), list(array.shape), strides))
        elif isinstance(value, list):
            self.object(dict(enumerate(value, 1)))
        else:
            self._nested(value)

    def _nested(self, value: Any) -> None:
        self.int(3 if isinstance(value, dict) else 4)
        index = self.indices.get(id(value))
        if index is not None:
            self.int(index)
            return
        self.kept.append(value)
        self.indices[id(value)] = len(self.kept)
        self.int(len(self.kept))
        if isinstance(value, dict):
            self.int(len(value))
            for key, entry in value.items():
                self.object(key)
                self.object(entry)
        elif isinstance(value, Obj):
            if value.version is not None:
                self.string(f"V {value.version}")
            self.string(value.kind)
            self.object(dict(value.fields))
        elif isinstance(value, Storage):
            self.string("V 1")
            self.string(f"torch.{value.kind}Storage")
            self.longs([len(value.numbers)])
            self._numbers(value.numbers)
        else:
            self.string("V 1")
            self.string(f"torch.{value.storage.kind if value.storage else 'Float'}Tensor")
            self.int(len(value.sizes))
            self.longs(value.sizes)
            self.longs(value.strides)
            self.longs([value.offset])
            self.object(value.storage)

    def _numbers(self, numbers: np.ndarray) -> None:
        if not self.ascii:
            self._put(numbers.tobytes())
        elif numbers.itemsize == 1:
            self._put(numbers.tobytes() + b"\n" if len(numbers) else b"")
        elif len(numbers):
            self._put((" ".join(f"{n:.17g}" for n in numbers) + "\n").encode())

    def _put(self, raw: bytes) -> None:
        self.parts.append(raw)


def dumps(value: Any, *, ascii: bool = False) -> bytes:
    """The file's bytes."""
    writer = Writer(ascii=ascii)
    writer.object(value)
    return b"".join(writer.parts)


def longs(*sizes: int) -> Storage:
    """A ``LongStorage``, the type of a view's sizes."""
    return Storage(np.array(sizes, "i8"))


def sequential(*modules: Any) -> Obj:
    """``nn.Sequential``."""
    return Obj("nn.Sequential", modules=list(modules), train=False, output=np.zeros(0, "f4"))
