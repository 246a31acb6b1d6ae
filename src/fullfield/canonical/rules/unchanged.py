"""Operators that canonical form takes unchanged, by the kind in their record."""

from __future__ import annotations

from typing import Any

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped


def per_cell(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """An operator on all channels of one cell, as it is.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, k, y, x)``
    """
    x, *options = (context.value(value) for value in args.values())
    if not isinstance(x, Mapped) or not x.layout.is_plain:
        return Refusal("works on dimensions that are not (channels, y, x)")
    result = context.emit(context.node.target, [x, *options], kind="per_cell")
    return Mapped(result, x.layout.with_channels([context.shape[1]]))


def windowed(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """An operator on neighbouring cells, as it is; its record tells its geometry by the arguments that it has here.

    Exact: yes
    Shape: ``(n, c, y, x)`` -> ``(n, k, y', x')``
    """
    x, *options = (context.value(value) for value in args.values())
    if not isinstance(x, Mapped) or not x.layout.is_plain or x.layout.sliding_cells:
        return Refusal("works on dimensions that are not (channels, y, x)")
    result = context.emit(context.node.target, [x, *options], kind="windowed")
    return Mapped(result, Layout.plain(*context.shape[1:]))
