"""Values of options, parsed from text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from fullfield.arguments import parse_pair


def pair(text: str) -> tuple[int, int]:
    """One integer for both axes, or two, y before x.

    Examples:
        >>> pair("224"), pair("224x320"), pair("32,16")
        ((224, 224), (224, 320), (32, 16))
    """
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:[x,]\s*(-?\d+)\s*)?", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not one integer or two, such as 224 or 224x320 (y before x)")
    return int(found[1]), int(found[2] or found[1])


def positive_pair(name: str, fix: str) -> Callable[[str], tuple[int, int]]:
    """A function that parses one positive integer or two.

    Args:
        name: of the option, for errors.
        fix: what to write instead.
    """

    def parsed(text: str) -> tuple[int, int]:
        return parse_pair(name, pair(text), fix=fix)

    parsed.__name__ = "integer or two"  # what click calls the type
    return parsed


def positive_sizes(name: str, fix: str) -> Callable[[str], int | tuple[int, int]]:
    """A function that parses one positive integer, or two, and tells which: a signal has one axis.

    Args:
        name: of the option, for errors.
        fix: what to write instead.
    """
    both = positive_pair(name, fix)

    def parsed(text: str) -> int | tuple[int, int]:
        found = both(text)
        return found[0] if text.strip().isdecimal() else found

    parsed.__name__ = both.__name__
    return parsed


def any_mode(text: str) -> str | int | tuple[int, int]:
    """A mode as ``fullfield.scan`` takes it.

    Examples:
        >>> any_mode("context"), any_mode("2"), any_mode("2,14")
        ('context', 2, (2, 14))
    """
    if text in ("exact", "context"):
        return text
    found = re.fullmatch(r"\s*(\d+)\s*(?:[x,]\s*(\d+)\s*)?", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not exact, context, or a number of border cells such as 2 or 2,14")
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def renamed(text: str) -> tuple[str, str | None]:
    """A label and the class that it is; ``None`` for none.

    Examples:
        >>> renamed("Tumor=tumour"), renamed("255=")
        (('Tumor', 'tumour'), ('255', None))
    """
    label, found, name = text.rpartition("=")
    if not found:
        raise click.BadParameter(f"{text!r} is not LABEL=CLASS; LABEL= leaves a label out")
    return label, name or None


def any_modes(text: str) -> Any:
    """A mode as ``fullfield.scan`` takes it, or several that are joined by ``+``.

    Examples:
        >>> any_modes("2,14"), any_modes("exact+context")
        ((2, 14), ('exact', 'context'))
    """
    parts = text.split("+")
    return any_mode(text) if len(parts) == 1 else tuple(map(any_mode, parts))


def factors(text: str) -> tuple[float, ...]:
    """Numbers, separated by commas.

    Examples:
        >>> factors("0.75,1,1.5")
        (0.75, 1.0, 1.5)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 0.75,1,1.5") from error


def view_names(text: str) -> str | tuple[str, ...]:
    """A set of views, or their names, separated by commas.

    Examples:
        >>> view_names("flips"), view_names("original,flip-x")
        ('flips', ('original', 'flip-x'))
    """
    return tuple(part.strip() for part in text.split(",")) if "," in text else text.strip()


def class_key(text: str) -> int | str:
    """A class or band by index or name.

    Examples:
        >>> class_key("3"), class_key(" tumour")
        (3, 'tumour')
    """
    return int(text) if text.strip().isdecimal() else text.strip()


def class_keys(text: str) -> tuple[int | str, ...]:
    """Classes or bands by index or name, separated by commas.

    Examples:
        >>> class_keys("0,tumour")
        (0, 'tumour')
    """
    return tuple(class_key(part) for part in text.split(","))


def threshold(text: str) -> tuple[int | str | None, float | tuple[float, float]]:
    """A class, if one is named, and its least score, or two.

    Examples:
        >>> threshold("0.5"), threshold("tumour=0.3,0.7")
        ((None, 0.5), ('tumour', (0.3, 0.7)))
    """
    cls, equals, numbers = text.rpartition("=")
    try:
        low, *high = (float(part) for part in numbers.split(","))
    except ValueError:
        low, high = 0.0, [0.0, 0.0]
    if len(high) > 1 or (equals and not cls.strip()):
        raise click.BadParameter(f"{text!r} is not T, LOW,HIGH or CLASS=LOW,HIGH, such as 0.5 or tumour=0.3,0.7")
    return class_key(cls) if equals else None, (low, high[0]) if high else low


def resolution_key(text: str) -> Any:
    """``cells``, ``image``, or height and width."""
    if text in ("cells", "image"):
        return text
    try:
        return pair(text)
    except click.BadParameter as error:
        raise click.BadParameter(f"{text!r} is not cells, image or HxW", param_hint="--resolution") from error


def score_key(text: str) -> int | str:
    """An output of a network by index or name; ``-1`` is the last."""
    return int(text) if re.fullmatch(r"\s*-?\d+\s*", text) else text


def pixel_range(text: str) -> tuple[float, float] | str:
    """Two pixel values, or two percentiles as they are written.

    Examples:
        >>> pixel_range("0,4095"), pixel_range("p1,p99")
        ((0.0, 4095.0), 'p1,p99')
    """
    return text if text.strip().startswith("p") else interval(text)


def interval(text: str) -> tuple[float, float]:
    """Two numbers separated by a comma.

    Examples:
        >>> interval("-5,12.5")
        (-5.0, 12.5)
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not two numbers such as -5,12") from error
    return low, high
