"""Repeats written out: how often everything comes, and which of several values belongs to which time."""

from __future__ import annotations

from collections.abc import Sequence

from fullfield.errors import FullfieldError
from fullfield.workbench.pattern.syntax import GroupNode, Item, Span, fault

Frames = tuple[tuple[int, int], ...]
"""The repeats round one occurrence, outermost first: how many rounds, and which one this is."""


def place_of(occurrences: Sequence[Frames], count: int, ordinal: int) -> int | None:
    """Which of ``count`` values belongs to one of the times that something comes.

    Several values go with the outermost repeat that has so many rounds every time it comes: networks change their
    width from block to block. Else they go with all the times together, if there are so many; else with nothing.

    Examples:
        >>> times = [((2, i), (3, j)) for i in range(2) for j in range(3)]
        >>> [[place_of(times, n, k) for k in range(6)] for n in (1, 2, 3, 6)]
        [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]]
    """
    if count == 1:
        return 0
    for level in range(len(occurrences[0])):
        if all(frames[level][0] == count for frames in occurrences):
            return occurrences[ordinal][level][1]
    return ordinal if count == len(occurrences) else None


class Rounds:
    """Every item of a pattern with the times that it comes, and a cursor through the repeats as they are run.

    ``frames`` has one entry for every time that an item comes.

    Raises:
        CaptureError: a repeat that is no whole number, or counts given in turn that match no repeat, or more than
            ``most`` items in all.
    """

    def __init__(self, text: str, items: Sequence[Item], *, most: int) -> None:
        self.text, self.most, self.written = text, most, 0
        self.frames: dict[Item, list[Frames]] = {}
        self._counts: dict[Item, list[int]] = {}
        self._level(items, [()])
        self._cursor = dict.fromkeys(self.frames, 0)

    def next_count(self, item: Item) -> int:
        """Rounds of an item this time; the next call speaks of the next time that its surroundings come."""
        index = self._cursor[item]
        self._cursor[item] = index + 1
        return self._counts[item][index]

    def position(self) -> dict[Item, int]:
        """Where the cursor is."""
        return dict(self._cursor)

    def rewind(self, position: dict[Item, int]) -> None:
        """Puts the cursor back."""
        self._cursor = dict(position)

    def mismatch(self, item: Item, count: int, span: Span) -> FullfieldError:
        """The error for values given in turn that no repeat goes with."""
        times = self.frames[item]
        rounds = sorted({frames[level][0] for frames in times for level in range(len(frames))} - {1})
        around = f"the repeats here have {' and '.join(map(str, rounds))} rounds" if rounds else "nothing repeats here"
        total = f", {len(times)} in all" if len(times) > 1 else ""
        return fault(
            self.text,
            span,
            f"{count} values in turn, but {around}{total}",
            fix="give one value, or one a round: [CONV(64|128|256)]*3",
        )

    def _level(self, items: Sequence[Item], around: list[Frames]) -> None:
        """Writes out the items of one group for every time that the group comes."""
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
                raise fault(self.text, item.span, f"*{number} is no number of rounds", fix="use 0, 1, 2, ...")
        place = place_of(around, len(item.repeat), ordinal) if around else 0
        if place is None:
            self.frames[item] = around
            raise self.mismatch(item, len(item.repeat), item.span)
        self.written += item.repeat[place]
        if self.written > self.most:
            raise fault(self.text, item.span, f"comes to more than {self.most} layers", fix="repeat less often")
        return item.repeat[place]
