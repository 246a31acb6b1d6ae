"""Expands repeats: how often every item occurs, and which of several values belongs to which occurrence."""

from __future__ import annotations

from collections.abc import Sequence

from fullfield.errors import FullfieldError
from fullfield.workbench.pattern.syntax import GroupNode, Item, Span, error_at

Frames = tuple[tuple[int, int], ...]
"""The repeats around one occurrence, outermost first: the number of rounds, and the index of this one."""


def value_index(occurrences: Sequence[Frames], count: int, ordinal: int) -> int | None:
    """The index of the value, of ``count`` values ``a|b|c``, that belongs to one occurrence of an item.

    The values belong to the rounds of the outermost repeat that always has so many: networks change their width from
    block to block. Else they belong to the occurrences, if there are so many; else the result is ``None``.

    Examples:
        >>> times = [((2, i), (3, j)) for i in range(2) for j in range(3)]
        >>> [[value_index(times, n, k) for k in range(6)] for n in (1, 2, 3, 6)]
        [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]]
    """
    if count == 1:
        return 0
    for level in range(len(occurrences[0])):
        if all(frames[level][0] == count for frames in occurrences):
            return occurrences[ordinal][level][1]
    return ordinal if count == len(occurrences) else None


class Rounds:
    """The occurrences of every item of a pattern, and a cursor through the repeats for building them in order.

    ``frames`` has one entry for every occurrence of an item.

    Raises:
        CaptureError: a repeat that is not a whole number, or counts ``a|b`` that match no repeat, or more than ``most``
            items in all.
    """

    def __init__(self, text: str, items: Sequence[Item], *, most: int) -> None:
        self.text, self.most, self.written = text, most, 0
        self.frames: dict[Item, list[Frames]] = {}
        self._counts: dict[Item, list[int]] = {}
        self._level(items, [()])
        self._cursor = dict.fromkeys(self.frames, 0)

    def next_count(self, item: Item) -> int:
        """Rounds of an item in this occurrence of its group; the next call answers for the next occurrence."""
        index = self._cursor[item]
        self._cursor[item] = index + 1
        return self._counts[item][index]

    def position(self) -> dict[Item, int]:
        """The cursor's position."""
        return dict(self._cursor)

    def rewind(self, position: dict[Item, int]) -> None:
        """Moves the cursor back to a position."""
        self._cursor = dict(position)

    def mismatch(self, item: Item, count: int, span: Span) -> FullfieldError:
        """The error for values ``a|b|c`` whose number matches no repeat."""
        times = self.frames[item]
        rounds = sorted({frames[level][0] for frames in times for level in range(len(frames))} - {1})
        around = f"the repeats here have {' and '.join(map(str, rounds))} rounds" if rounds else "nothing repeats here"
        total = f", {len(times)} in all" if len(times) > 1 else ""
        return error_at(
            self.text,
            span,
            f"{count} values in turn, but {around}{total}",
            fix="give one value, or one a round: [CONV(64|128|256)]*3",
        )

    def _level(self, items: Sequence[Item], around: list[Frames]) -> None:
        """Expands the items of one group for every occurrence of the group."""
        for item in items:
            self._counts[item] = [self._count(item, around, k) for k in range(len(around))]
            self.frames[item] = [
                (*outer, (count, k))
                for outer, count in zip(around, self._counts[item], strict=True)
                for k in range(count)
            ]
            if isinstance(item.body, GroupNode):
                self._level(item.body.items, self.frames[item])

    def _count(self, item: Item, around: list[Frames], ordinal: int) -> int:
        for number in item.repeat:
            if not isinstance(number, int) or number < 0:
                raise error_at(self.text, item.span, f"*{number} is not a number of rounds", fix="use 0, 1, 2, ...")
        index = value_index(around, len(item.repeat), ordinal) if around else 0
        if index is None:
            self.frames[item] = around
            raise self.mismatch(item, len(item.repeat), item.span)
        self.written += item.repeat[index]
        if self.written > self.most:
            raise error_at(self.text, item.span, f"comes to more than {self.most} layers", fix="repeat less often")
        return item.repeat[index]
