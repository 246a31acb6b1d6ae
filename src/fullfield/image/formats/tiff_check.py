"""Checks the directories of a TIFF before a library reads them: loops, and sizes beyond the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fullfield.errors import ImageError
from fullfield.image.blob import Blob

_MOST_PAGES = 100_000
_MOST_TAGS = 4096
_VALUES = 16 * 2**20  # bytes of tag values allowed beyond twice the file's size: values of a sound file hardly overlap
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SUB_IFDS = 330
_ASCII = 2
_MOST_TEXT = 1000


@dataclass(frozen=True)
class TiffFormat:
    """How a TIFF stores numbers: its byte order, and whether it is a BigTIFF. The properties are ``struct`` formats."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        """Of the number of tags."""
        return self.order + ("Q" if self.big else "H")

    @property
    def offset(self) -> str:
        """Of a position in the file."""
        return self.order + ("Q" if self.big else "I")

    @property
    def tag(self) -> str:
        """Of a tag: code, type, count."""
        return self.order + ("HHQ" if self.big else "HHI")


def tiff_format(head: bytes) -> TiffFormat | None:
    """How a TIFF stores numbers, by its first four bytes; ``None`` if it is not a TIFF.

    Examples:
        >>> tiff_format(bytes.fromhex("49492b00"))
        TiffFormat(order='<', big=True)
    """
    known = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
    found = known.get(head[:4])
    return None if found is None else TiffFormat(*found)


def first_tags(blob: Blob) -> frozenset[int]:
    """Codes of the tags in a TIFF's first directory.

    Raises:
        ImageError: the directory cannot be read.
    """
    walk, first = _start(blob)
    walk.visit(first, [])
    return walk.first_tags


def first_text(blob: Blob, code: int, *, most: int = _MOST_TEXT) -> str:
    """The text of a tag in a TIFF's first directory, at most ``most`` bytes; empty if it has none.

    Raises:
        ImageError: the directory cannot be read.
    """
    walk, first = _start(blob)
    walk.visit(first, [])
    (count,) = _unpack(blob, walk.form.count, first)
    size = 20 if walk.form.big else 12
    table = blob.read(first + struct.calcsize(walk.form.count), first + struct.calcsize(walk.form.count) + count * size)
    for i in range(count):
        entry = table[i * size : (i + 1) * size]
        found, kind, number = struct.unpack(walk.form.tag, entry[: struct.calcsize(walk.form.tag)])
        if (found, kind) == (code, _ASCII):
            value = entry[struct.calcsize(walk.form.tag) :]
            if number > len(value):
                (at,) = struct.unpack(walk.form.offset, value)
                value = blob.read(at, min(at + number, at + most, blob.size))
            return value[:number].split(b"\0")[0].decode("utf-8", "replace")
    return ""


def check_structure(blob: Blob) -> frozenset[int]:
    """Visits all directories of a TIFF and returns the tag codes of the first.

    Time and memory are bounded by the file's size: no directory is visited twice.

    Raises:
        ImageError: a loop, a directory outside the file, or tag values longer than the file.
    """
    walk, first = _start(blob)
    walk.follow(first)
    return walk.first_tags


def _start(blob: Blob) -> tuple[_DirectoryWalk, int]:
    """A new walk over the directories, and the position of the first."""
    form = tiff_format(blob.read(0, 4))
    if form is None:
        raise ImageError(blob.name, "is not a TIFF", fix="check the file")
    (first,) = _unpack(blob, form.offset, 8 if form.big else 4)
    return _DirectoryWalk(blob, form), first


class _DirectoryWalk:
    """A walk over a file's directories."""

    def __init__(self, blob: Blob, form: TiffFormat) -> None:
        self.blob, self.form = blob, form
        self.seen: set[int] = set()
        self.values = 0
        self.first_tags: frozenset[int] = frozenset()

    def follow(self, offset: int) -> None:
        """Visits a chain of directories, and the SubIFDs of each."""
        todo = [offset]
        while todo:
            at, chain = todo.pop(), set[int]()
            while at and (at not in self.seen or at in chain):  # SubIFDs may be a chain too
                if at in chain:
                    raise _damaged(self.blob, f"its directories run in a circle, at byte {at}")
                chain.add(at)
                at = self.visit(at, todo)

    def visit(self, at: int, todo: list[int]) -> int:
        """Visits the directory at a position, adds its SubIFDs to ``todo``, and returns the position of the next."""
        if len(self.seen) >= _MOST_PAGES:
            raise _damaged(self.blob, f"has more than {_MOST_PAGES} directories")
        self.seen.add(at)
        (count,) = _unpack(self.blob, self.form.count, at)
        if count > _MOST_TAGS:
            raise _damaged(self.blob, f"a directory of {count} tags (at most {_MOST_TAGS} are read), at byte {at}")
        start, size = at + struct.calcsize(self.form.count), 20 if self.form.big else 12
        table = self.blob.read(start, start + count * size)
        if len(table) != count * size:
            raise _damaged(self.blob, f"ends within a directory, at byte {at}")
        codes = []
        for i in range(count):
            entry = table[i * size : (i + 1) * size]
            code, kind, number = struct.unpack(self.form.tag, entry[: struct.calcsize(self.form.tag)])
            self._count_value(code, number * _SIZES.get(kind, 1))
            codes.append(code)
            if code == _SUB_IFDS and kind in (4, 13, 16, 18):
                todo += self._sub_ifds(entry, kind, number)
        if len(self.seen) == 1:
            self.first_tags = frozenset(codes)
        end = start + count * size
        (following,) = _unpack(self.blob, self.form.offset, end) if end < self.blob.size else (0,)
        if following >= self.blob.size:
            return 0  # libraries end the chain there too
        return int(following)

    def _count_value(self, code: int, size: int) -> None:
        self.values += size
        if self.values > 2 * self.blob.size + _VALUES:
            raise _damaged(
                self.blob, f"tag {code} has values of {size} bytes, the whole file has {self.blob.size} bytes"
            )

    def _sub_ifds(self, entry: bytes, kind: int, number: int) -> list[int]:
        """Positions of the directories that a SubIFD tag lists."""
        form = self.form.order + str(number) + ("I" if kind in (4, 13) else "Q")
        inline = entry[12:] if self.form.big else entry[8:]
        size = struct.calcsize(form)
        if size > len(inline):
            (at,) = struct.unpack(self.form.offset, inline)
            inline = self.blob.read(at, at + size)
        if len(inline) < size:
            return []
        return [at for at in struct.unpack(form, inline[:size]) if 8 <= at < self.blob.size]


def _unpack(blob: Blob, form: str, at: int) -> tuple[int, ...]:
    data = blob.read(at, at + struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise _damaged(blob, f"ends before its directory at byte {at} (it has {blob.size} bytes)")
    return struct.unpack(form, data)


def _damaged(blob: Blob, what: str) -> ImageError:
    return ImageError(blob.name, f"{what}: it is damaged or incomplete", fix="copy or download it again")
