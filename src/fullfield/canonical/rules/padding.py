"""Explicit padding by a constant or by the cells at the map's edge."""

from __future__ import annotations

from typing import Any

import torch

from fullfield.canonical.context import Context
from fullfield.canonical.orientation import on_map
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped

aten = torch.ops.aten


def pad(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Padding of rows, columns or channels by a constant (negative padding crops), or of the map by its own cells.

    Exact: yes
    """
    x = context.first
    mode = args.get("mode", "constant")
    if mode != "constant":
        return _edges(context, x, list(args["pad"]), mode)
    fill = args.get("value") or 0.0
    rank = len(x.layout.channels)
    pads = list(args["pad"])
    spatial, channels = [0, 0, 0, 0], [0] * (2 * rank)
    for k in range(len(pads) // 2):
        dim = len(x.layout.dims) - 1 - k
        low, high = pads[2 * k : 2 * k + 2]
        index = x.layout.channel_index(dim)
        if low == high == 0:
            continue
        if x.layout.dims[dim] in (("x",), ("y",)):
            at = 0 if x.layout.dims[dim] == ("x",) else 2
            spatial[at : at + 2] = [low, high]
        elif index is not None and dim != 0:
            channels[2 * index : 2 * index + 2] = [low, high]
        else:
            return Refusal("pads dimensions that hold positions and channels")
    return _emit(context, x, spatial, channels, fill)


def _emit(context: Context, x: Mapped, spatial: list[int], channels: list[int], fill: float) -> Mapped:
    layout = x.layout
    result: Any = x
    if any(spatial):
        result = context.emit(aten.constant_pad_nd.default, [result, spatial, fill], kind="windowed")
        left, right, top, bottom = spatial
        layout = layout.with_cells(layout.height + top + bottom, layout.width + left + right)
    if any(channels):
        pairs = [channels[2 * i : 2 * i + 2] for i in reversed(range(len(layout.channels)))]
        operands = [result, [0, 0, 0, 0, *(p for pair in pairs for p in pair)], fill]
        result = context.emit(aten.constant_pad_nd.default, operands, kind="per_cell")
        layout = layout.with_channels([c + sum(pair) for c, pair in zip(layout.channels, reversed(pairs), strict=True)])
    return result if isinstance(result, Mapped) else Mapped(result, layout)


def _edges(context: Context, x: Mapped, pads: list[int], mode: str) -> Mapped | Refusal:
    """Reflection and replication: of the window's edge in ``exact`` mode, of the image's edge in ``context`` mode."""
    if mode not in ("reflect", "replicate"):
        return Refusal(f"pads with cells from the window's opposite edge ({mode})")
    found = on_map(x, "pads")
    if isinstance(found, Refusal) or x.layout.sliding_cells or len(pads) > 2 * len(found[1].axes) or min(pads) < 0:
        return Refusal(f"pads dimensions that are not (y, x) with their own edge ({mode})")
    given, axes = found
    if not any(pads):
        return x
    (top, bottom), (left, right) = axes.pads(pads)
    result = context.emit(aten.pad.default, [given, [left, right, top, bottom], mode], kind="windowed")
    return Mapped(result, x.layout.with_cells(x.layout.height + top + bottom, x.layout.width + left + right))


def reflect(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``reflection_pad2d`` and ``replication_pad2d``, and those of one axis.

    Exact: yes
    """
    mode = "reflect" if "reflection" in str(context.node.target) else "replicate"
    return _edges(context, context.value(args["self"]), list(args["padding"]), mode)


RULES: dict[Any, Any] = {
    aten.pad.default: pad,
    aten.constant_pad_nd.default: pad,
    **dict.fromkeys((aten.reflection_pad1d.default, aten.reflection_pad2d.default), reflect),
    **dict.fromkeys((aten.replication_pad1d.default, aten.replication_pad2d.default), reflect),
}
