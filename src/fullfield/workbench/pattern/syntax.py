"""The syntax tree of a pattern: layers, groups and repeats with their positions in the text."""

from __future__ import annotations

from dataclasses import dataclass

from fullfield.errors import CaptureError, FullfieldError

Span = tuple[int, int]
LiteralValue = int | float | str | bool | tuple[int, ...]

_EXCERPT = 96  # characters of a line that an error shows


@dataclass(frozen=True)
class Option:
    """One of the values ``a|b|c`` of an argument."""

    value: LiteralValue
    span: Span


@dataclass(frozen=True)
class Argument:
    """A value, or one value for each round of a repeat; ``key`` is ``None`` for a positional argument."""

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
    """The items between a pair of brackets."""

    items: tuple[Item, ...]
    span: Span


@dataclass(frozen=True, eq=False)
class Item:
    """A layer or a group, its numbers of repeats, and whether it is optional.

    ``presence`` is ``None`` for an item that is always present, empty for one that is present if it fits, else yes or
    no for each round.
    """

    body: LayerNode | GroupNode
    repeat: tuple[int, ...]
    presence: tuple[bool, ...] | None
    span: Span


def error_at(
    text: str, span: Span, what: str, *, fix: str, kind: type[FullfieldError] = CaptureError
) -> FullfieldError:
    """An error with line and column, and the line of the pattern with carets under the position.

    Examples:
        >>> print(error_at("INPUT(3) -> RELU", (6, 7), "expected 3 sizes", fix="write INPUT(3x224x224)"))
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
    where = f"pattern, line {text.count(chr(10), 0, start) + 1}, column {column + 1}"
    marks = "^" * min(width, max(1, len(shown) - at))
    return kind(where, f"{what}\n    {shown}\n    {' ' * at}{marks}", fix=fix)


def _cut(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and the column's position in that part."""
    if len(line) <= _EXCERPT:
        return line, column
    first = max(0, min(column - _EXCERPT // 2, len(line) - _EXCERPT))
    stop = first + _EXCERPT
    head, tail = "… " if first else "", " …" if stop < len(line) else ""
    return f"{head}{line[first:stop]}{tail}", column - first + len(head)
