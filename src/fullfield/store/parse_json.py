"""Takes values from JSON that may hold anything: each is of the type and within the bounds asked for, or an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LARGEST = 2**53  # integers beyond it are not exact in every JSON


def integer(value: object, *, least: int = 0, most: int = LARGEST) -> int:
    """An integer within bounds, themselves included.

    Raises:
        ValueError: it is none.

    Examples:
        >>> integer(3, least=1)
        3
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{_short(value)} is no integer from {least} to {most}")
    return value


def integers(value: object, count: int | None = None, *, least: int = 0, most: int = LARGEST) -> Any:
    """A list of integers within bounds, as a tuple; of ``count``, or of any number.

    Raises:
        ValueError: it is none.
    """
    return tuple(integer(each, least=least, most=most) for each in _items(value, count))


def number(value: object, *, positive: bool = False) -> float:
    """A finite number; with ``positive`` above 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{_short(value)} is no number")
    found = float(value)
    if not math.isfinite(found) or (positive and found <= 0):
        raise ValueError(f"{found} is no {'positive ' * positive}finite number")
    return found


def numbers(value: object, count: int, *, positive: bool = False) -> Any:
    """A list of ``count`` finite numbers, as a tuple.

    Raises:
        ValueError: it is none.
    """
    return tuple(number(each, positive=positive) for each in _items(value, count))


def text(value: object) -> str:
    """A text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{_short(value)} is no text")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts, as a tuple.

    Raises:
        ValueError: it is none.
    """
    return tuple(map(text, _items(value, None)))


def mapping(value: object) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{_short(value)} is no object")
    return value


def one_of(value: object, known: Sequence[Any]) -> Any:
    """A value that is one of those known.

    Raises:
        ValueError: it is none of them.
    """
    if not any(type(value) is type(each) and value == each for each in known):
        raise ValueError(f"{_short(value)} is none of {', '.join(map(str, known))}")
    return value


def _items(value: object, count: int | None) -> Sequence[object]:
    if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
        raise ValueError(f"{_short(value)} is no list{'' if count is None else f' of {count}'}")
    return value


def _short(value: object) -> str:
    shown = f"a {type(value).__name__} of {len(value)}" if isinstance(value, (dict, list, tuple)) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
