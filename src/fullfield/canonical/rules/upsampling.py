"""Resizing of maps: each block of cells becomes a block of others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.orientation import Orientation, on_map
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules.pointwise import broadcast_over_map
from fullfield.canonical.rules.resampling import POSITION, AxisTaps, axis_taps, emit_blocks, has_blocks, resample
from fullfield.canonical.values import Mapped

aten = torch.ops.aten
_MOST_CELLS = 4096
_BLOCKS = 7  # in the middle one of so many even Lanczos' kernel reads no edge
_DOUBLE, _SINGLE = 1e-11, 1e-2  # the most that rounding changes; nearest cells of float32 may be others
_Cells = tuple[int, int]


@dataclass(frozen=True)
class _Resize:
    """The operator with its arguments, to be run on small maps."""

    target: Any
    args: dict[str, Any]
    axes: Orientation

    def __call__(self, cells: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Its result on one map; at another size, if that is given."""
        axes = self.axes.axes
        left_out = [axis for axis in "yx" if axis not in axes]  # each of its cells is resized alone, as a channel is
        order = [0, 1, *(2 + "yx".index(axis) for axis in (*left_out, *axes))]
        apart = cells.permute(order)
        named = {**self.args, next(iter(self.args)): apart.flatten(1, 1 + len(left_out))}
        if size is not None:
            own = [size["yx".index(axis)] for axis in axes]
            named |= {name: None for name in named if name.startswith("scale")} | {"output_size": own}
        resized: Tensor = self.target(**named).unflatten(1, apart.shape[1 : 2 + len(left_out)])
        return resized.permute([order.index(k) for k in range(4)])

    def matrix(self, axis: int, before: int, after: int) -> Tensor:
        """The weights of an axis' cells in those of the result. Shape: ``(after, before)``"""
        cells = torch.eye(before, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, 2)  # torch errs on one
        result = self(cells, (after, 2)) if axis == 0 else self(cells.mT, (2, after)).mT
        return result[:, 0, :, 0].T

    def longer(self, axis: int, matrix: Tensor) -> Tensor:
        """The weights on several times as many cells of an axis."""
        after, before = matrix.shape
        blocks = math.gcd(after, before)
        times = -(-_BLOCKS // blocks)
        return self.matrix(axis, times * before, times * after)

    def is_product(self, x: Mapped, rows: Tensor, columns: Tensor) -> bool:
        """Whether it is the product with a matrix for each axis, on maps of the window's size and of either type."""
        noise = torch.rand(1, 1, x.layout.height, x.layout.width, generator=torch.Generator().manual_seed(0))
        exact, product = self(noise.double()), rows @ noise.double() @ columns.T
        near = torch.allclose(self(noise).double(), exact, rtol=0, atol=_SINGLE)
        return near and torch.allclose(product, exact, rtol=0, atol=_DOUBLE)


def interpolate(context: Context, args: dict[str, Any]) -> Mapped | Refusal:
    """Resizing: one kernel for each position in a block of the result.

    Nearest upsampling by whole factors stays. One value for the window is spread over the map with which it slides.

    Exact: yes, other summation order
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    node = context.node
    found = on_map(context.first, "resizes")
    if isinstance(found, Refusal):
        return found
    x, axes = found
    if x.layout.sliding_cells:
        return Refusal("spreads the one value of a window over a map")
    before, (_, height, width) = (x.layout.height, x.layout.width), axes.map_shape(context.shape)
    after = (height, width)
    if before == after:  # torch copies, at any scale
        return context.first  # type: ignore[no-any-return]
    if x.layout.single:
        broadcast = broadcast_over_map(context, node.args[0])
        if isinstance(broadcast, Mapped) and (broadcast.layout.height, broadcast.layout.width) == after:
            return broadcast
    sizes = f"{before[0]}x{before[1]} cells to {after[0]}x{after[1]}"
    if args.get("align_corners"):
        return Refusal(f"stretches {sizes} from corner to corner: {POSITION}")
    up = [a // b for a, b in zip(after, before, strict=True)]
    if "nearest" in str(node.target) and after == tuple(f * n for f, n in zip(up, before, strict=True)):
        result: Node | Refusal = context.emit(
            aten.upsample_nearest2d.vec, [x, None, [float(f) for f in up]], kind="windowed"
        )
    else:
        taps = _taps(context, x, _Resize(node.target, args, axes), (before, after))
        result = taps if isinstance(taps, Refusal) else resample(context, x, taps)
    return Mapped(result, axes.layout(context.shape)) if isinstance(result, Node) else result


def _taps(
    context: Context, x: Mapped, resize: _Resize, sizes: tuple[_Cells, _Cells]
) -> tuple[AxisTaps, AxisTaps] | Refusal:
    """What a resizing reads along y and x, found by running it on the cells of each axis one by one."""
    shown = "{}x{} cells to {}x{}".format(*sizes[0], *sizes[1])
    if not all(has_blocks(context, x, *each) for each in zip("yx", *sizes, strict=True)):
        return Refusal(f"resizes {shown} unevenly: {POSITION}")
    if max(*sizes[0], *sizes[1]) > _MOST_CELLS:
        return Refusal(f"resizes {shown}: more than {_MOST_CELLS} along an axis")
    matrices = [resize.matrix(axis, *pair) for axis, pair in enumerate(zip(*sizes, strict=True))]
    if not resize.is_product(x, *matrices):
        return Refusal(f"scales by other factors than its sizes do: {POSITION}")
    taps = [axis_taps(matrix, resize.longer(axis, matrix)) for axis, matrix in enumerate(matrices)]
    if taps[0] is None or taps[1] is None:
        return Refusal(f"resizes {shown} unevenly: {POSITION}")
    return taps[0], taps[1]


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
    aten.upsample_nearest1d,
    aten._upsample_nearest_exact1d,
    aten.upsample_linear1d,
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
