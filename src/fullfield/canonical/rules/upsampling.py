"""Resizing by whole factors: each cell becomes a block of cells, or each block a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import broadcast_over_map
from fullfield.canonical.values import Mapped
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
_REACH = 2  # cells on either side that the widest kernel, the bicubic one, reads
_POSITION = "which cells it reads depends on the position in the window"
_OTHERWISE = f"scales by other factors than its sizes do: {_POSITION}"


@dataclass(frozen=True)
class _Resize:
    """The operator with its arguments, to be run on small maps."""

    target: Any
    args: dict[str, Any]

    def __call__(self, cells: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Its result on one map; at another size, if that is given."""
        named = {**self.args, next(iter(self.args)): cells}
        if size is not None:
            named |= {name: None for name in named if name.startswith("scale")} | {"output_size": size}
        result: Tensor = self.target(**named)
        return result

    def is_form(self, x: Mapped, form: Callable[[Tensor], Tensor]) -> bool:
        """Whether ``form`` has the same result on a map of the window's size."""
        noise = torch.rand(1, 1, x.layout.height, x.layout.width, generator=torch.Generator().manual_seed(0))
        cells = noise.double()
        return torch.allclose(form(cells), self(cells), rtol=0, atol=1e-12)


def interpolate(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Resizing by whole factors, one for each axis: one kernel for each position in the resulting block.

    Nearest upsampling stays. One value for the window is spread over the map with which it slides.

    Exact: yes, other summation order
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    node = context.node
    x = context.first
    if not x.layout.is_plain:
        return Refusal("resizes dimensions that are not (channels, y, x)")
    if x.layout.sliding_cells:
        return Refusal("spreads the one value of a window over a map")
    before, after = (x.layout.height, x.layout.width), tuple(context.shape[2:])
    if before == after:  # torch copies, at any scale
        return x  # type: ignore[no-any-return]
    if x.layout.single:
        broadcast = broadcast_over_map(context, node.args[0])
        if isinstance(broadcast, Mapped) and (broadcast.layout.height, broadcast.layout.width) == after:
            return broadcast
    sizes = f"{before[0]}x{before[1]} cells to {after[0]}x{after[1]}"
    if args.get("align_corners"):
        return Refusal(f"stretches {sizes} from corner to corner: {_POSITION}")
    if any(m % n and n % m for n, m in zip(before, after, strict=True)):
        return Refusal(f"resizes {sizes} unevenly: {_POSITION}")
    up, down = ([max(1, a // b) for a, b in zip(*pair, strict=True)] for pair in ((after, before), (before, after)))
    if down == [1, 1] and "nearest" in str(node.target):
        result: Node | Refusal = context.emit(
            aten.upsample_nearest2d.vec, [x, None, [float(f) for f in up]], kind="windowed"
        )
    else:
        result = _mixed(context, x, up, down, _Resize(node.target, args))
    return Mapped(result, Layout.plain(*context.shape[1:])) if isinstance(result, Node) else result


def _mixed(context: Context, x: Mapped, up: list[int], down: list[int], resize: _Resize) -> Node | Refusal:
    """Each block of ``down`` cells, with the cells around it that the mode reads, becomes a block of ``up`` cells.

    One kernel for each position in the resulting block; their results are channels first, then moved to their
    positions. The edge is replicated, or taps beyond it are left out and the others' weights raised (antialiased).

    Source: Shi et al. 2016 (arXiv 1609.05158), section 3.2
    """
    (rows, above), (columns, left) = (_lines(resize, axis, up[axis], down[axis]) for axis in (0, 1))
    kernels = torch.einsum("pk,ql->pqkl", rows, columns).flatten(0, 1)[:, None]
    pads = [left, columns.shape[1] - down[1] - left, above, rows.shape[1] - down[0] - above]

    def blocks(cells: Tensor, mode: str) -> Tensor:
        mixed = F.conv2d(F.pad(cells, pads, mode=mode), kernels, stride=down)
        result: Tensor = operators.depth_to_space(mixed, up)
        return result

    def emitted(value: Node, channels: int, *mode: Any) -> Node:
        target = aten.pad.default if mode == ("replicate",) else aten.constant_pad_nd.default
        padded = context.emit(target, [value, pads, *mode], kind="windowed") if any(pads) else value
        weight = context.fixed(kernels.repeat(channels, 1, 1, 1))
        operands = [padded, weight, None, down, [0, 0], [1, 1], channels]
        return emit_blocks(context, context.emit(aten.conv2d.default, operands, kind="windowed"), up)

    (channels,) = x.layout.channels
    if resize.is_form(x, lambda cells: blocks(cells, "replicate")):
        return emitted(x.node, channels, "replicate")
    if resize.is_form(x, lambda cells: blocks(cells, "constant") / blocks(torch.ones_like(cells), "constant")):
        one = context.emit(aten.slice.Tensor, [x, 1, 0, 1], kind="per_cell")
        weights = emitted(context.emit(aten.ones_like.default, [one], kind="pointwise"), 1, 0.0)
        return context.emit(aten.div.Tensor, [emitted(x.node, channels, 0.0), weights], kind="pointwise")
    return Refusal(_OTHERWISE)


def _lines(resize: _Resize, axis: int, up: int, down: int) -> tuple[Tensor, int]:
    """Weights along one axis of the cells that a block is computed from, and how many of them precede its own cells.

    Found by running the operator on unit vectors, in the middle of five blocks.

    Shape: ``(up, cells)``
    """
    blocks = 2 * _REACH + 1
    lines = torch.eye(blocks * down, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, blocks)
    size = (blocks * up, blocks)
    results = resize(lines, size) if axis == 0 else resize(lines.mT, size[::-1]).mT
    weights = results[:, 0, _REACH * up : (_REACH + 1) * up, _REACH].mT
    first = _REACH * down
    read = weights.any(0).nonzero().flatten().tolist()
    start, stop = min(first, *read), max(first + down - 1, *read) + 1
    return weights[:, start:stop], first - start


def emit_blocks(context: Context, x: Node, factors: list[int]) -> Node:
    """The operator that moves channels to the positions within blocks of cells; none for blocks of one cell."""
    if factors == [1, 1]:
        return x
    if factors[0] == factors[1]:
        return context.emit(aten.pixel_shuffle.default, [x, factors[0]], kind="windowed")
    return context.emit(operators.depth_to_space.default, [x, factors], kind="windowed")


def depth_to_space(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """``pixel_shuffle``: channels become the positions within a block of cells.

    Exact: yes
    Shape: ``(n, c*f*f, y, x)`` -> ``(n, c, y*f, x*f)``
    """
    x = context.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("rearranges dimensions that are not (channels, y, x)")
    if x.layout.sliding_cells:
        return Refusal("spreads the one value of a window over a map")
    result = emit_blocks(context, x.node, [args["upscale_factor"]] * 2)
    return Mapped(result, Layout.plain(*context.shape[1:]))


_MODES = (
    aten.upsample_nearest2d,
    aten._upsample_nearest_exact2d,
    aten.upsample_bilinear2d,
    aten.upsample_bicubic2d,
    aten._upsample_bilinear2d_aa,
    aten._upsample_bicubic2d_aa,
)
RULES: dict[Any, Any] = {
    **dict.fromkeys((op for packet in _MODES for op in (packet.vec, packet.default)), interpolate),
    aten.pixel_shuffle.default: depth_to_space,
}
