"""Text for people: aligned columns, lists, shortened names and counts, suggestions, records. Imports no torch."""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from fullfield.errors import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WIDTH = 120
"""Columns of running text."""
_CELL = 100  # characters of a table's text
_EVEN = 0.95  # a ratio that is written as 1.0 at least


def table_lines(rows: Sequence[Sequence[str]], *, left: int, gap: str = "  ", totals: bool = False) -> list[str]:
    """The lines of a table, as wide as its longest texts; texts are cut at 100 characters.

    Args:
        rows: texts of the columns; the first row has the titles, above a rule.
        left: how many columns are aligned to the left; the others are aligned to the right.
        gap: between columns.
        totals: whether the last row is set off by a rule.

    Examples:
        >>> print(*table_lines([("layer", "MACs"), ("conv1", "9"), ("all", "10")], left=1, totals=True), sep="\\n")
        layer  MACs
        -----------
        conv1     9
        -----------
        all      10
    """
    rows = [[shortened(printable(text), _CELL) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        [text.ljust(w) if k < left else text.rjust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]
    lines = list(map(gap.join, aligned))
    rule = "-" * len(lines[0])
    head, body = lines[0].rstrip(), [line.rstrip() for line in lines[1:]]
    return [head, rule, *body[:-1], rule, body[-1]] if totals else [head, rule, *body]


def numbers_text(numbers: Sequence[float]) -> str:
    """Numbers with a blank between them; one where all are equal.

    Examples:
        >>> numbers_text((0.485, 0.456)), numbers_text((0.5, 0.5))
        ('0.485 0.456', '0.5')
    """
    return " ".join(f"{number:g}" for number in (numbers if len(set(numbers)) > 1 else numbers[:1]))


def size_text(sizes: Iterable[int]) -> str:
    """The sizes of an array, an image or a window.

    Examples:
        >>> size_text((3, 224, 224)), size_text((10,))
        ('3x224x224', '10')
    """
    return "x".join(map(str, sizes))


def list_text(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first items, and how many more there are.

    Examples:
        >>> list_text(["conv1", "conv2"], 2), list_text(["conv1", "conv2", "conv3", "fc"], 2, "; ")
        ('conv1, conv2', 'conv1; conv2 and 2 more')
    """
    return separator.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like an unknown one; ``None`` if none is like it.

    Examples:
        >>> closest("mod", ["step", "mode"]), closest("mod", ["step"])
        ('mode', None)
    """
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to write instead of an unknown name: the known one that is most like it; ``otherwise`` if none is.

    Examples:
        >>> did_you_mean("mod", ["step", "mode"], "use step or mode")
        'did you mean mode?'
        >>> did_you_mean("mpp", ["step", "mode"], "use step or mode")
        'use step or mode'
    """
    near = closest(name, known)
    return f"did you mean {near}?" if near is not None else otherwise


def number_of(count: int, noun: str) -> str:
    """A count with its noun.

    Examples:
        >>> number_of(1, "segment"), number_of(2, "segment"), number_of(0, "segment")
        ('1 segment', '2 segments', '0 segments')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def shortened(text: str, width: int, *, front: bool = False) -> str:
    """A text of at most ``width`` characters, cut at its end or front.

    Examples:
        >>> shortened("max_pool2d", 6), shortened("features.12", 6, front=True), shortened("relu", 6)
        ('max_p…', '…es.12', 'relu')
    """
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if front else f"{text[: width - 1]}…"


def short_count(number: float) -> str:
    """A count with three digits and its thousands as a letter.

    Examples:
        >>> short_count(999), short_count(34_944), short_count(1_600_000_000), short_count(2e16)
        ('999', '34.9 k', '1.60 G', '20.0 P')
    """
    value, letters = float(number), iter("kMGTP")
    letter = ""
    while value >= 999.5 and letter != "P":
        value, letter = value / 1000, next(letters)
    return f"{number:.0f}" if not letter else f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {letter}"


def fewer_text(ratio: float) -> str:
    """How many times fewer, or more where the ratio is below 1.

    Examples:
        >>> fewer_text(2.04), fewer_text(0.52)
        ('2.0x fewer', '1.9x more')
    """
    return f"{1 / ratio:.1f}x more" if 0 < ratio < _EVEN else f"{ratio:.1f}x fewer"


def record_text(record: DataclassInstance) -> str:
    """The ``repr`` of a record without the fields that have their defaults."""
    given = ((field, getattr(record, field.name)) for field in fields(record))
    shown = (f"{field.name}={value!r}" for field, value in given if value != field.default)
    return f"{type(record).__name__}({', '.join(shown)})"


def html_text(text: str) -> str:
    """Lines of text as a notebook shows them.

    Examples:
        >>> html_text("a < b")
        '<pre>a &lt; b</pre>'
    """
    return f"<pre>{html.escape(text, quote=False)}</pre>"
