"""TIFF files looked at before a library is: loops, and false sizes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fullfield.errors import ImageError
from fullfield.image.blob import Blob

_MOST_PAGES = 100_000
_MOST_TAGS = 4096
_VALUES = 16 * 2**20  # bytes of tag values allowed beyond twice the file's size; true values do not overlap
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SUB_IFDS = 330


@dataclass(frozen=True)
class Layout:
    """How numbers are written: byte order, and the sizes of a classic TIFF or a BigTIFF."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        """Format of the number of tags."""
        return self.order + ("Q" if self.big else "H")

    @property
    def offset(self) -> str:
        """Format of a place in the file."""
        return self.order + ("Q" if self.big else "I")

    @property
    def tag(self) -> str:
        """Format of a tag: code, type, count."""
        return self.order + ("HHQ" if self.big else "HHI")


def tiff_layout(head: bytes) -> Layout | None:
    """How the numbers of a TIFF are written, by its first four bytes; ``None`` if it is none.

    Examples:
        >>> tiff_layout(bytes.fromhex("49492b00"))
        Layout(order='<', big=True)
    """
    known = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
    found = known.get(head[:4])
    return None if found is None else Layout(*found)


def first_tags(blob: Blob) -> frozenset[int]:
    """Codes of the tags of a TIFF's first directory.

    Raises:
        ImageError: there is none.
    """
    pages, first = _pages(blob)
    pages.visit(first, [])
    return pages.first_tags


def check_structure(blob: Blob) -> frozenset[int]:
    """Walks through all directories of a TIFF, and returns the codes of the first one's tags.

    Time and memory are bounded by the file's size: no directory is visited twice.

    Raises:
        ImageError: a loop, a directory outside the file, or tag values longer than the file.
    """
    pages, first = _pages(blob)
    pages.follow(first)
    return pages.first_tags


def _pages(blob: Blob) -> tuple[_Pages, int]:
    """A walk that has not begun, and the place of the first directory."""
    layout = tiff_layout(blob.read(0, 4))
    if layout is None:
        raise ImageError(blob.name, "is not a TIFF", fix="check the file")
    (first,) = _unpack(blob, layout.offset, 8 if layout.big else 4)
    return _Pages(blob, layout), first


class _Pages:
    """A walk over a file's directories."""

    def __init__(self, blob: Blob, layout: Layout) -> None:
        self.blob, self.layout = blob, layout
        self.seen: set[int] = set()
        self.values = 0
        self.first_tags: frozenset[int] = frozenset()

    def follow(self, offset: int) -> None:
        """One chain of directories, and those below each."""
        todo = [offset]
        while todo:
            at, chain = todo.pop(), set[int]()
            while at and (at not in self.seen or at in chain):  # directories below one may be a chain too
                if at in chain:
                    raise _damaged(self.blob, f"its directories run in a circle, at byte {at}")
                chain.add(at)
                at = self.visit(at, todo)

    def visit(self, at: int, todo: list[int]) -> int:
        """One directory; the place of the next one."""
        if len(self.seen) >= _MOST_PAGES:
            raise _damaged(self.blob, f"has more than {_MOST_PAGES} directories")
        self.seen.add(at)
        (count,) = _unpack(self.blob, self.layout.count, at)
        if count > _MOST_TAGS:
            raise _damaged(self.blob, f"a directory of {count} tags (at most {_MOST_TAGS} are read), at byte {at}")
        start, size = at + struct.calcsize(self.layout.count), 20 if self.layout.big else 12
        table = self.blob.read(start, start + count * size)
        if len(table) != count * size:
            raise _damaged(self.blob, f"ends within a directory, at byte {at}")
        codes = []
        for i in range(count):
            entry = table[i * size : (i + 1) * size]
            code, kind, number = struct.unpack(self.layout.tag, entry[: struct.calcsize(self.layout.tag)])
            self._count_value(code, number * _SIZES.get(kind, 1))
            codes.append(code)
            if code == _SUB_IFDS and kind in (4, 13, 16, 18):
                todo += self._places(entry, kind, number)
        if len(self.seen) == 1:
            self.first_tags = frozenset(codes)
        end = start + count * size
        (following,) = _unpack(self.blob, self.layout.offset, end) if end < self.blob.size else (0,)
        if following >= self.blob.size:
            return 0  # libraries end the chain there too
        return int(following)

    def _count_value(self, code: int, size: int) -> None:
        self.values += size
        if self.values > 2 * self.blob.size + _VALUES:
            raise _damaged(
                self.blob, f"tag {code} has values of {size} bytes, the whole file has {self.blob.size} bytes"
            )

    def _places(self, entry: bytes, kind: int, number: int) -> list[int]:
        """The directories below one."""
        form = self.layout.order + str(number) + ("I" if kind in (4, 13) else "Q")
        inline = entry[12:] if self.layout.big else entry[8:]
        size = struct.calcsize(form)
        if size > len(inline):
            (at,) = struct.unpack(self.layout.offset, inline)
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
