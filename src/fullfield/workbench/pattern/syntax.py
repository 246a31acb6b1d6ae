"""A pattern as it was read: layers, groups and repeats, each knowing where it stands in the text."""

from __future__ import annotations

from dataclasses import dataclass

from fullfield.errors import CaptureError, FullfieldError

Span = tuple[int, int]
Literal = int | float | str | bool | tuple[int, ...]

_EXCERPT = 96  # of a line, characters


@dataclass(frozen=True)
class Option:
    """One of the values that an argument has in turn."""

    value: Literal
    span: Span


@dataclass(frozen=True)
class Argument:
    """A value, or one value for each round of a repeat; ``key`` is ``None`` where it goes by its place."""

    key: str | None
    options: tuple[Option, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class LayerNode:
    """A layer's name and arguments."""

    name: str
    arguments: tuple[Argument, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class GroupNode:
    """What stands between brackets."""

    items: tuple[Item, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class Item:
    """A layer or a group, how often it comes, and whether.

    ``presence`` is ``None`` where it is always there, empty where it is there if it fits, else yes or no in turn.
    """

    body: LayerNode | GroupNode
    repeat: tuple[int, ...]
    presence: tuple[bool, ...] | None
    span: Span


def fault(text: str, span: Span, what: str, *, fix: str, kind: type[FullfieldError] = CaptureError) -> FullfieldError:
    """An error that shows where in the pattern it is: line, column, and the line with carets under the place.

    Examples:
        >>> print(fault("INPUT(3) -> RELU", (6, 7), "expected 3 sizes", fix="write INPUT(3x224x224)"))
        pattern, line 1, column 7: expected 3 sizes
            INPUT(3) -> RELU
                  ^
          fix: write INPUT(3x224x224)
    """
    start = min(span[0], len(text))
    first = text.rfind("\n", 0, start) + 1
    stop = text.find("\n", start)
    line = text[first : stop if stop >= 0 else len(text)].replace("\t", " ").rstrip("\r")
    column = start - first
    width = max(1, min(span[1] - start, len(line) - column))
    shown, at = _cut(line, column)
    place = f"pattern, line {text.count(chr(10), 0, start) + 1}, column {column + 1}"
    marks = "^" * min(width, max(1, len(shown) - at))
    return kind(place, f"{what}\n    {shown}\n    {' ' * at}{marks}", fix=fix)


def _cut(line: str, column: int) -> tuple[str, int]:
    """The part of a long line round a column, and where the column is in it."""
    if len(line) <= _EXCERPT:
        return line, column
    first = max(0, min(column - _EXCERPT // 2, len(line) - _EXCERPT))
    stop = first + _EXCERPT
    head, tail = "… " if first else "", " …" if stop < len(line) else ""
    return f"{head}{line[first:stop]}{tail}", column - first + len(head)
