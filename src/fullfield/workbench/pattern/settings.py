"""Turns the arguments of a pattern into the settings of a layer."""

from __future__ import annotations

from typing import Any

from fullfield.text import did_you_mean, number_of, size_text
from fullfield.workbench.lenet_layers import TABLES
from fullfield.workbench.pattern.repeats import Rounds, value_index
from fullfield.workbench.pattern.syntax import Argument, Item, LayerNode, Option, error_at
from fullfield.workbench.pattern.vocabulary import DERIVED, LayerType, Param

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


def settings_of(
    text: str, node: LayerNode, kind: LayerType, rounds: Rounds, item: Item, ordinal: int
) -> dict[str, Any]:
    """All settings of a layer, in its ``ordinal``-th occurrence.

    Raises:
        CaptureError: an argument that is unknown, given twice, of the wrong kind, or missing.
    """
    given: dict[str, Any] = {}
    for position, argument in enumerate(node.arguments):
        param = _param(text, node, kind, argument, position)
        if param.name in given:
            raise error_at(text, argument.span, f"{node.name} has {param.name} twice", fix="give it once")
        values = [_value(text, param, option) for option in argument.options]
        index = value_index(rounds.frames[item], len(values), ordinal)
        if index is None:
            raise rounds.mismatch(item, len(values), argument.span)
        given[param.name] = values[index]
    for param in kind.params:
        if param.default is ... and param.name not in given:
            raise error_at(text, node.span, f"{node.name} needs {param.name}", fix=f"write {usage(kind)}")
    return kind.complete(given)


def usage(kind: LayerType) -> str:
    """A layer with all its arguments and their defaults.

    Examples:
        >>> from fullfield.workbench.pattern.vocabulary import LAYERS
        >>> usage(LAYERS["FC"]), usage(LAYERS["POOL"])
        ('FC(k, bias=yes)', 'POOL(f=2, s=f, p=0, d=1, round=exact)')
    """
    return f"{kind.name}({', '.join(map(_signature, kind.params))})" if kind.params else kind.name


def _signature(param: Param) -> str:
    if param.default is ...:
        return param.name
    if param.default is DERIVED:
        return "s=f" if param.name == "s" else "p=(f-1)/2"
    return f"{param.name}={show(param.default)}"


def show(value: Any) -> str:
    """A setting in the notation of patterns.

    Examples:
        >>> show((3, 3)), show((3, 5)), show(True), show(1e-5)
        ('3', '3x5', 'yes', '1e-05')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _param(text: str, node: LayerNode, kind: LayerType, argument: Argument, position: int) -> Param:
    """The parameter that an argument sets."""
    if argument.key is None:
        if any(a.key is not None for a in node.arguments[:position]):
            raise error_at(text, argument.span, "a value without a name after named ones", fix=f"write {usage(kind)}")
        if position >= kind.positional:
            takes = f"{number_of(kind.positional, 'value') if kind.positional else 'no values'} without a name"
            raise error_at(text, argument.span, f"{node.name} takes {takes}", fix=f"write {usage(kind)}")
        return kind.params[position]
    for param in kind.params:
        if argument.key in (param.name, *param.aliases):
            return _kernel(kind) if argument.key == "k" and _has_filters(node, kind) else param
    names = [name for param in kind.params for name in (param.name, *param.aliases)]
    fix = did_you_mean(argument.key, names, f"write {usage(kind)}")
    raise error_at(text, argument.span, f"{node.name} has no argument {argument.key!r}", fix=fix)


def _has_filters(node: LayerNode, kind: LayerType) -> bool:
    """Whether a convolution's filters are given without ``k``; then ``k`` is its kernel, a common notation."""
    if not any(p.name == "f" for p in kind.params) or kind.params[0].name != "k":
        return False
    return any(a.key in (None, *kind.params[0].aliases) for a in node.arguments)


def _kernel(kind: LayerType) -> Param:
    return next(p for p in kind.params if p.name == "f")


def _value(text: str, param: Param, option: Option) -> Any:
    """The value of an argument, converted to its parameter's kind."""
    found = _read(param.kind, option.value)
    if found is None:
        shown = show_literal(option.value)
        what = f"{param.name} takes {_TAKES[param.kind]}, not {shown}"
        raise error_at(text, option.span, what, fix="correct the value")
    return found


def show_literal(value: Any) -> str:
    """A value in the notation of patterns."""
    return size_text(value) if isinstance(value, tuple) else show(value)


def _read(kind: str, value: Any) -> Any:
    """The value, converted to its kind; ``None`` if that is not possible."""
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
