"""Arguments as they were read -> the settings of a layer: places to names, numbers to what the layer takes."""

from __future__ import annotations

import difflib
from typing import Any

from fullfield.workbench.lenet_layers import TABLES
from fullfield.workbench.pattern.repeats import Rounds, place_of
from fullfield.workbench.pattern.syntax import Argument, Item, LayerNode, Option, fault
from fullfield.workbench.pattern.vocabulary import DERIVED, Param, Word

_LARGEST = 2**31 - 1
_TAKES = {
    "count": "a positive whole number",
    "pair": "one or two positive whole numbers, such as 3 or 3x5",
    "padding": "one or two whole numbers from 0 up, such as 1 or 1x2",
    "real": "a number",
    "share": "a number from 0 to 1",
    "flag": "yes or no",
    "rounding": "floor, ceil or exact",
    "floor": "floor or exact",
    "choice": "yes, no or auto",
    "table": f"full or {' or '.join(TABLES)}",
}


def settings_of(text: str, node: LayerNode, word: Word, rounds: Rounds, item: Item, ordinal: int) -> dict[str, Any]:
    """All settings of a layer, the ``ordinal``-th time that it comes.

    Raises:
        CaptureError: an argument that the layer does not have, or has already, or cannot take, or lacks.
    """
    given: dict[str, Any] = {}
    for place, argument in enumerate(node.arguments):
        param = _param(text, node, word, argument, place)
        if param.name in given:
            raise fault(text, argument.span, f"{node.name} has {param.name} already", fix="give it once")
        values = [_value(text, param, option) for option in argument.options]
        index = place_of(rounds.frames[item], len(values), ordinal)
        if index is None:
            raise rounds.mismatch(item, len(values), argument.span)
        given[param.name] = values[index]
    for param in word.params:
        if param.default is ... and param.name not in given:
            raise fault(text, node.span, f"{node.name} needs {param.name}", fix=f"write {usage(word)}")
    return word.complete(given)


def usage(word: Word) -> str:
    """A layer with all its arguments and their defaults.

    Examples:
        >>> from fullfield.workbench.pattern.vocabulary import LAYERS
        >>> usage(LAYERS["FC"]), usage(LAYERS["POOL"])
        ('FC(k, bias=yes)', 'POOL(f=2, s=f, p=0, d=1, round=exact)')
    """
    return f"{word.name}({', '.join(map(_signature, word.params))})" if word.params else word.name


def _signature(param: Param) -> str:
    if param.default is ...:
        return param.name
    if param.default is DERIVED:
        return "s=f" if param.name == "s" else "p=(f-1)/2"
    return f"{param.name}={show(param.default)}"


def show(value: Any) -> str:
    """A setting as it is written in a pattern.

    Examples:
        >>> show((3, 3)), show((3, 5)), show(True), show(1e-5)
        ('3', '3x5', 'yes', '1e-05')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _param(text: str, node: LayerNode, word: Word, argument: Argument, place: int) -> Param:
    """The parameter that an argument is for."""
    if argument.key is None:
        if any(a.key is not None for a in node.arguments[:place]):
            raise fault(text, argument.span, "a value without a name after named ones", fix=f"write {usage(word)}")
        if place >= word.place:
            takes = f"{word.place or 'no'} value{'s' if word.place != 1 else ''} without a name"
            raise fault(text, argument.span, f"{node.name} takes {takes}", fix=f"write {usage(word)}")
        return word.params[place]
    for param in word.params:
        if argument.key in (param.name, *param.aliases):
            return _kernel(word) if argument.key == "k" and _has_filters(node, word) else param
    names = [name for param in word.params for name in (param.name, *param.aliases)]
    near = difflib.get_close_matches(argument.key, names, n=1)
    fix = f"did you mean {near[0]}?" if near else f"write {usage(word)}"
    raise fault(text, argument.span, f"{node.name} has no argument {argument.key!r}", fix=fix)


def _has_filters(node: LayerNode, word: Word) -> bool:
    """Whether a convolution's filters are given without ``k``, which then is its kernel, as many write it."""
    if not any(p.name == "f" for p in word.params) or word.params[0].name != "k":
        return False
    return any(a.key in (None, *word.params[0].aliases) for a in node.arguments)


def _kernel(word: Word) -> Param:
    return next(p for p in word.params if p.name == "f")


def _value(text: str, param: Param, option: Option) -> Any:
    """What an argument says, as the parameter takes it."""
    found = _read(param.kind, option.value)
    if found is None:
        shown = show_literal(option.value)
        what = f"{param.name} takes {_TAKES[param.kind]}, not {shown}"
        raise fault(text, option.span, what, fix="correct the value")
    return found


def show_literal(value: Any) -> str:
    """A value as it was written."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else show(value)


def _read(kind: str, value: Any) -> Any:
    """The value that the kind takes, or ``None``."""
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind in ("rounding", "floor"):
        return value if value in ("floor", "exact", "ceil")[: 3 if kind == "rounding" else 2] else None
    if kind == "choice":
        return value if value == "auto" or isinstance(value, bool) else None
    if kind == "table":
        return value if value == "full" or value in TABLES else None
    if isinstance(value, (bool, str)):
        return None
    if kind in ("pair", "padding"):
        pair = (value, value) if isinstance(value, int) else value
        least = 0 if kind == "padding" else 1
        good = isinstance(pair, tuple) and len(pair) == 2 and all(least <= n <= _LARGEST for n in pair)
        return pair if good else None
    if isinstance(value, tuple):
        return None
    if kind == "count":
        return value if isinstance(value, int) and 1 <= value <= _LARGEST else None
    number = float(value)
    return number if kind == "real" or 0 <= number <= 1 else None
