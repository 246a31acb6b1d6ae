"""Resizing along the axes of a map by constant weights, as convolutions that windows share.

Of ``n`` cells that become ``m``, each block of ``n / g`` cells becomes a block of ``m / g``, where ``g`` is their
greatest common divisor, by the same weights in every block: a convolution with the stride of a block, one kernel for
each position in the resulting block, whose results are then moved to their positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.fx import Node

from fullfield.canonical.context import Context
from fullfield.canonical.layout import Layout
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.values import Mapped
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten
POSITION = "which cells it reads depends on the position in the window"
_ROUNDING = 1e-11  # of weights in float64
_LEAST_BLOCKS = 2  # of a map that no layer before has padded, and where no border is recomputed
_LEAST_PADDED = 3  # else: the first and the last are border, and nothing would be left to share
_DEARER = 2  # kernels over both axes at once are taken up to so many times the multiply-adds: one operator, not two

_Edge = Literal["replicate", "left out"]


@dataclass(frozen=True)
class AxisTaps:
    """How each block of cells along one axis becomes a block of the result.

    Args:
        weights: of the cells that a block is computed from. Shape: ``(up, cells)``.
        before: how many of them precede the block's own.
        down: cells of a block before.
        edges: what taps beyond the edge are: the edge's cell repeated, or left out and the others' weights raised.
    """

    weights: Tensor
    before: int
    down: int
    edges: tuple[_Edge, ...]

    @property
    def up(self) -> int:
        """Cells of a block of the result."""
        return self.weights.shape[0]

    @property
    def pads(self) -> list[int]:
        """Cells read before the first block and after the last."""
        return [self.before, self.weights.shape[1] - self.down - self.before]

    @property
    def inside(self) -> list[int]:
        """Cells of the result, in the first blocks and the last that read cells beyond an edge, which read none."""
        low, high = self.pads
        read = [row.nonzero().flatten() - low for row in self.weights]  # cells from the block's own first one on
        first = [-int(taps.min()) for taps in read]
        last = [int(taps.max()) - self.down + 1 for taps in read]
        return [self._inside(low, first), self._inside(high, last[::-1])]

    def _inside(self, pad: int, beyond: list[int]) -> int:
        """One edge's; ``beyond`` are the cells that each of a block's reads beyond its own, the nearest cell first."""
        blocks = -(-pad // self.down)
        cells = [block * self.up + k for block in range(blocks) for k, n in enumerate(beyond) if n > block * self.down]
        return blocks * self.up - max(cells, default=-1) - 1


def axis_taps(matrix: Tensor, longer: Tensor | None = None) -> AxisTaps | None:
    """The taps of the weights of all cells along an axis; ``None`` where blocks do not have the same.

    Shape: matrix ``(m, n)``, ``longer`` ``(m', n')``
    Args:
        longer: the weights on more cells by the same factor, in whose middle no tap is beyond an edge; by default the
            same.
    """
    cells, count = matrix.shape
    blocks = math.gcd(cells, count)
    up, down = cells // blocks, count // blocks
    longer = matrix if longer is None else longer
    rows, first = _middle(longer.double(), up, down)
    rows = torch.where(rows.abs() > _ROUNDING, rows, 0.0)
    read = rows.any(0).nonzero().flatten().tolist()
    start, stop = min(first, *read), max(first + down - 1, *read) + 1
    weights, before = rows[:, start:stop], first - start
    found = AxisTaps(weights, before, down, ())
    edges = _edges_of(found, matrix)
    return AxisTaps(weights, before, down, edges) if edges else None


def _middle(matrix: Tensor, up: int, down: int) -> tuple[Tensor, int]:
    """The weights of a block in the middle, and its own first cell; of two, each half is read where the edge is far.

    Shape: ``(m, n)`` -> ``(up, n + down)``
    """
    count, half, blocks = matrix.shape[1], -(-up // 2), matrix.shape[0] // up
    later, sooner = blocks // 2, (blocks - 1) // 2
    rows, shift = torch.zeros(up, count + down, dtype=matrix.dtype), (later - sooner) * down
    rows[:half, :count] = matrix[later * up : later * up + half]
    rows[half:, shift : shift + count] = matrix[sooner * up + half : (sooner + 1) * up]
    return rows, later * down


def _edges_of(taps: AxisTaps, matrix: Tensor) -> tuple[_Edge, ...]:
    """The kinds of edge with which taps give the weights of all cells."""
    (low, high), count = taps.pads, matrix.shape[1]
    cells = torch.arange(-low, count + high)
    inside = torch.zeros(len(cells), count, dtype=torch.float64)
    inside[torch.arange(low, low + count), torch.arange(count)] = 1
    repeated = torch.zeros_like(inside)
    repeated[torch.arange(len(cells)), cells.clamp(0, count - 1)] = 1

    def form(padded: Tensor) -> Tensor:
        blocks = padded.unfold(0, taps.weights.shape[1], taps.down)
        return torch.einsum("uk,bnk->bun", taps.weights, blocks).flatten(0, 1)

    left_out = form(inside)
    total = left_out.sum(1, keepdim=True)
    forms: dict[_Edge, Tensor] = {"replicate": form(repeated), "left out": left_out / total}
    rounding = _ROUNDING if matrix.dtype == torch.float64 else 4 * torch.finfo(matrix.dtype).eps
    wanted = matrix.double()
    return tuple(edge for edge, found in forms.items() if torch.allclose(found, wanted, rtol=0, atol=rounding))


def resample(context: Context, x: Mapped, taps: tuple[AxisTaps, AxisTaps]) -> Node | Refusal:
    """A map resized along y and x.

    Exact: yes, other summation order
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    Source: Shi et al. 2016 (arXiv 1609.05158), section 3.2
    """
    (channels,) = x.layout.channels
    y, x_ = taps
    pads = [*x_.pads, *y.pads]
    edges = [edge for edge in y.edges if edge in x_.edges]
    if not edges:
        return Refusal(f"treats the edges along y and x differently: {POSITION}")
    if not any(pads):
        return _convolved(context, x.node, channels, taps)
    inside = [
        n
        for axis, each in zip("yx", taps, strict=True)
        for n in (each.inside if _is_unpadded(context, x, axis) else [0, 0])
    ]
    if edges[0] == "replicate":
        padded = context.emit(aten.pad.default, [x, pads, "replicate"], kind="windowed")
        return _convolved(context, padded, channels, taps, inside)
    one = context.emit(aten.slice.Tensor, [x, 1, 0, 1], kind="per_cell")
    ones = context.emit(aten.ones_like.default, [one], kind="pointwise")
    values, weights = (
        _convolved(
            context, context.emit(aten.constant_pad_nd.default, [v, pads, 0.0], kind="windowed"), n, taps, inside
        )
        for v, n in ((x.node, channels), (ones, 1))
    )
    return context.emit(aten.div.Tensor, [values, weights], kind="pointwise")


def _convolved(
    context: Context, padded: Node, channels: int, taps: tuple[AxisTaps, AxisTaps], inside: Sequence[int] = (0,) * 4
) -> Node:
    """The blocks of a padded map, of which so many cells ``inside`` the border blocks depend on no padding."""
    y, x = taps
    (py, ky), (px, kx) = y.weights.shape, x.weights.shape
    apart = py * ky * x.down + py * px * kx  # multiply-adds a block
    if py * px * ky * kx <= _DEARER * apart:
        kernels = torch.einsum("pk,ql->pqkl", y.weights, x.weights).flatten(0, 1)[:, None]
        padded = _convolution(context, padded, channels, kernels, [y.down, x.down])
    else:
        padded = _convolution(context, padded, channels, y.weights[:, None, :, None], [y.down, 1])
        padded = _convolution(context, padded, channels * py, x.weights[:, None, None, :], [1, x.down])
    return emit_blocks(context, padded, [py, px], inside)


def _convolution(context: Context, value: Node, channels: int, kernels: Tensor, stride: list[int]) -> Node:
    """The same kernels on every channel; nothing where a kernel is one cell of weight 1."""
    if kernels.numel() == 1 and float(kernels) == 1 and stride == [1, 1]:
        return value
    weight = context.fixed(kernels.repeat(channels, 1, 1, 1))
    operands = [value, weight, None, stride, [0, 0], [1, 1], channels]
    return context.emit(aten.conv2d.default, operands, kind="windowed")


def emit_blocks(context: Context, x: Node, factors: list[int], inside: Sequence[int] = (0,) * 4) -> Node:
    """The operator that moves channels to the positions within blocks of cells; none for blocks of one cell."""
    if factors == [1, 1]:
        return x
    if any(inside):
        return context.emit(operators.depth_to_space.default, [x, factors, list(inside)], kind="windowed")
    if factors[0] == factors[1]:
        return context.emit(aten.pixel_shuffle.default, [x, factors[0]], kind="windowed")
    return context.emit(operators.depth_to_space.default, [x, factors], kind="windowed")


def identity_taps() -> AxisTaps:
    """The taps of an axis that stays as it is."""
    return AxisTaps(torch.ones(1, 1, dtype=torch.float64), 0, 1, ("replicate", "left out"))


def has_blocks(context: Context, x: Mapped, axis: str, before: int, after: int) -> bool:
    """Whether so many cells of a map along an axis are resized in blocks: one or several to one, or some of several."""
    blocks = math.gcd(before, after)
    least = _LEAST_BLOCKS if context.may_slide or _is_unpadded(context, x, axis) else _LEAST_PADDED
    return blocks in (before, after) or blocks >= least


def _is_unpadded(context: Context, x: Mapped, axis: str) -> bool:
    """Whether along an axis all of a window's cells are its own, in ``exact`` mode: no layer before has padded it."""
    return not context.may_slide and not context.builder.pads(x.node, axis)


def resample_axis(context: Context, x: Mapped, symbol: str, matrix: Tensor) -> Mapped | Refusal:
    """A map multiplied along one of its axes by a matrix that resizes it.

    Shape: matrix ``(m, n)``
    """
    layout: Layout = x.layout
    cells, count = matrix.shape
    if len(layout.channels) != 1:
        return Refusal("mixes the positions of the window")
    found = axis_taps(matrix) if has_blocks(context, x, symbol, count, cells) else None
    if found is None:
        return Refusal("mixes the positions of the window, by other weights at each")
    taps = (found, identity_taps()) if symbol == "y" else (identity_taps(), found)
    result = resample(context, x, taps)
    height, width = (cells if s == symbol else layout.size(s) for s in "yx")
    return result if isinstance(result, Refusal) else Mapped(result, layout.with_cells(height, width))
