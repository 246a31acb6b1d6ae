"""The two encodings of Torch7's files, binary (little-endian) and ASCII, with bounds checked on every read."""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np

from fullfield.importers.limits import LayerRefused


class Torch7Stream(Protocol):
    """The reading functions of an encoding."""

    def integer(self) -> int:
        """The next 32-bit number."""

    def longs(self, count: int) -> list[int]:
        """The next ``count`` 64-bit numbers."""

    def double(self) -> float:
        """The next 64-bit floating number."""

    def string(self) -> bytes:
        """A string: its length and its bytes."""

    def numbers(self, kind: str, count: int) -> np.ndarray:
        """``count`` numbers of a NumPy type."""


class Binary:
    """The binary encoding, with 4-byte ints and 8-byte longs."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def integer(self) -> int:
        """The next 32-bit number."""
        return int.from_bytes(self._take(4), "little", signed=True)

    def longs(self, count: int) -> list[int]:
        """The next ``count`` 64-bit numbers."""
        return [int(n) for n in self.numbers("<i8", count)]

    def double(self) -> float:
        """The next 64-bit floating number."""
        return float(np.frombuffer(self._take(8), "<f8")[0])

    def string(self) -> bytes:
        """A string: its length and its bytes."""
        return bytes(self._take(self.integer()))

    def numbers(self, kind: str, count: int) -> np.ndarray:
        """``count`` numbers, as a view of the file."""
        return np.frombuffer(self._take(count * np.dtype(kind).itemsize), kind)

    def _take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._data) - self._at:
            raise LayerRefused(f"{count} bytes at byte {self._at} of {len(self._data)}")
        self._at += count
        return memoryview(self._data)[self._at - count : self._at]


_TOKEN = re.compile(rb"\s*(\S{1,64})")


class Ascii:
    """The ASCII encoding: numbers separated by blanks."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def longs(self, count: int) -> list[int]:
        """The next ``count`` 64-bit numbers."""
        self._room(count)
        return [self.integer() for _ in range(count)]

    def double(self) -> float:
        """The next 64-bit floating number."""
        word = self._word()
        try:
            return float(word)
        except ValueError as error:
            raise LayerRefused(f"{word[:20]!r} is not a number, before byte {self._at}") from error

    def string(self) -> bytes:
        """A string: its length, and its bytes on the next line."""
        count = self.integer()
        start = self._at + 1
        if not 0 <= count <= len(self._data) - start:
            raise LayerRefused(f"{count} bytes at byte {start} of {len(self._data)}")
        self._at = start + count
        return self._data[start : self._at]

    def numbers(self, kind: str, count: int) -> np.ndarray:
        """``count`` numbers; single bytes are not encoded."""
        self._room(count)
        if np.dtype(kind).itemsize == 1:
            start = self._at + 1
            if count > len(self._data) - start:
                raise LayerRefused(f"{count} bytes at byte {start} of {len(self._data)}")
            self._at = start + count
            return np.frombuffer(self._data[start : self._at], kind)
        words = [self._word() for _ in range(count)]
        try:
            return np.array(words).astype(np.float64).astype(kind)
        except ValueError as error:
            raise LayerRefused(f"values before byte {self._at} are not numbers") from error

    def integer(self) -> int:
        """The next integer."""
        word = self._word()
        if re.fullmatch(rb"-?\d{1,18}", word) is None:
            raise LayerRefused(f"{word[:20]!r} is not an integer, before byte {self._at}")
        return int(word)

    def _word(self) -> bytes:
        found = _TOKEN.match(self._data, self._at)
        if found is None:
            raise LayerRefused(f"nothing at byte {self._at} of {len(self._data)}")
        self._at = found.end()
        return found[1]

    def _room(self, count: int) -> None:
        if not 0 <= count <= len(self._data) - self._at:
            raise LayerRefused(f"{count} numbers at byte {self._at} of {len(self._data)}")
