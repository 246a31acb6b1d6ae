"""Resizing by whole factors: cells become blocks, where windows are whole cells apart, or blocks cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from fullfield.convert.layout import Layout
from fullfield.convert.refusal import Refusal
from fullfield.convert.rewriter import Mapped, Rewriter
from fullfield.convert.rules.pointwise import lay_over

aten = torch.ops.aten
_REACH = 2  # cells on either side that the widest kernel, the bicubic one, reads
_PLACE = "which cells it reads hangs on their place in the window"
_OTHERWISE = f"scales by other factors than its sizes do, or has weights of its own at the edges: {_PLACE}"


@dataclass(frozen=True)
class _Resize:
    """The operator with its arguments, to be tried on small maps."""

    target: Any
    args: dict[str, Any]

    def __call__(self, cells: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """What it makes of one map; to another size, where that is given."""
        named = {**self.args, next(iter(self.args)): cells}
        if size is not None:
            named |= {name: None for name in named if name.startswith("scale")} | {"output_size": size}
        result: Tensor = self.target(**named)
        return result

    def is_form(self, x: Mapped, form: Callable[[Tensor], Tensor]) -> bool:
        """Whether ``form`` gives the same on a map like the window's."""
        noise = torch.rand(1, 1, x.layout.height, x.layout.width, generator=torch.Generator().manual_seed(0))
        cells = noise.double()
        return torch.allclose(form(cells), self(cells), rtol=0, atol=1e-12)


def interpolate(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """Resizing by whole factors: a kernel for each place in a block of cells, or one for each block.

    Nearest upsampling stays. The window's one value is laid over the map with which it slides.

    Exact: yes, other summation order
    Shape: ``(n, c, y, x)`` -> ``(n, c, y', x')``
    """
    x = rewriter.value(node.args[0])
    if not x.layout.is_plain:
        return Refusal("resizes dimensions that are not (channels, y, x)")
    if x.layout.slides:
        return Refusal("spreads the one value of a window over a map")
    before, after = (x.layout.height, x.layout.width), tuple(rewriter.shape(node)[2:])
    if before == after:  # whatever the scale, torch copies
        return x  # type: ignore[no-any-return]
    if x.layout.single:
        laid = lay_over(rewriter, node.args[0])
        if isinstance(laid, Mapped) and (laid.layout.height, laid.layout.width) == after:
            return laid
    sizes = f"{before[0]}x{before[1]} cells to {after[0]}x{after[1]}"
    if args.get("align_corners"):
        return Refusal(f"stretches {sizes} from corner to corner: {_PLACE}")
    resize = _Resize(node.target, args)
    if all(m % n == 0 for n, m in zip(before, after, strict=True)):
        result = _upsampled(rewriter, node, x, [m // n for n, m in zip(before, after, strict=True)], resize)
    elif all(n % m == 0 for n, m in zip(before, after, strict=True)):
        result = _thinned(rewriter, node, x, [n // m for n, m in zip(before, after, strict=True)], resize)
    else:
        return Refusal(f"resizes {sizes} unevenly: {_PLACE}")
    return Mapped(result, Layout.plain(*rewriter.shape(node)[1:])) if isinstance(result, Node) else result


def _upsampled(rewriter: Rewriter, node: Node, x: Mapped, factors: list[int], resize: _Resize) -> Node | Refusal:
    """Each cell repeated; or neighbours mixed by one kernel a place in a block, which pixel shuffle puts there.

    Source: Shi et al. 2016 (arXiv 1609.05158), section 3.2
    """
    if "nearest" in str(node.target):
        return rewriter.emit(aten.upsample_nearest2d.vec, [x, None, [float(f) for f in factors]], kind="windowed")
    factor, channels = factors[0], x.layout.channels[0]
    if factors[1] != factor:
        return Refusal(f"mixes cells for blocks of {factor}x{factors[1]}, which pixel shuffle cannot place")
    kernels = _kernels(resize, factor)
    reach = kernels.shape[-1] // 2

    def blocks(cells: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(F.pad(cells, [reach] * 4, mode="replicate"), kernels), factor)

    if not resize.is_form(x, blocks):
        return Refusal(_OTHERWISE)
    padded = rewriter.emit(aten.pad.default, [x, [reach] * 4, "replicate"], kind="windowed")
    mixed = _by_channel(rewriter, node, padded, kernels, channels, [1, 1])
    return rewriter.emit(aten.pixel_shuffle.default, [mixed, factor], kind="windowed")


def _thinned(rewriter: Rewriter, node: Node, x: Mapped, factors: list[int], resize: _Resize) -> Node | Refusal:
    """One kernel over each block of cells, and over those around it that the mode reads too; the edge is replicated."""
    (rows, fy), (columns, fx) = (_line(resize, k, factor) for k, factor in enumerate(factors))
    kernel = torch.outer(rows, columns)[None, None]
    pads = [fx, len(columns) - factors[1] - fx, fy, len(rows) - factors[0] - fy]

    def blocks(cells: Tensor) -> Tensor:
        return F.conv2d(F.pad(cells, pads, mode="replicate"), kernel, stride=factors)

    if not resize.is_form(x, blocks):
        return Refusal(_OTHERWISE)
    padded = rewriter.emit(aten.pad.default, [x, pads, "replicate"], kind="windowed") if any(pads) else x.node
    return _by_channel(rewriter, node, padded, kernel, x.layout.channels[0], factors)


def _line(resize: _Resize, axis: int, factor: int) -> tuple[Tensor, int]:
    """Weights along one axis of the cells that become one, and how many of them lie before its block.

    The operator's answers, in the middle of five blocks, to one line of cells after the other.
    """
    wide = 2 * _REACH + 1
    lines = torch.eye(wide * factor, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, wide)
    answers = resize(lines if axis == 0 else lines.mT, (wide, wide))[:, 0, _REACH, _REACH]
    first = _REACH * factor
    read = answers.nonzero().flatten().tolist()
    start, stop = min(first, *read), max(first + factor - 1, *read) + 1
    return answers[start:stop], first - start


def _by_channel(rewriter: Rewriter, node: Node, x: Node, kernels: Tensor, channels: int, stride: list[int]) -> Node:
    weight = rewriter.fixed(node, kernels.repeat(channels, 1, 1, 1))
    operands = [x, weight, None, stride, [0, 0], [1, 1], channels]
    return rewriter.emit(aten.conv2d.default, operands, kind="windowed")


def _kernels(resize: _Resize, factor: int) -> Tensor:
    """What each place of a block takes of the cells round it: the operator's answers to one cell alone.

    Shape: ``(factor * factor, 1, cells, cells)``
    """
    size, wide = 4 * _REACH + 1, 2 * _REACH + 1
    alone = torch.eye(size * size, dtype=torch.float64).reshape(size, size, 1, size, size)
    near = alone[_REACH:-_REACH, _REACH:-_REACH].flatten(0, 1)
    block = slice(2 * _REACH * factor, wide * factor)
    answers = resize(near, (size * factor, size * factor))[:, 0, block, block]
    kernels = answers.reshape(wide, wide, -1).permute(2, 0, 1).unsqueeze(1)
    inner = kernels[:, :, 1:-1, 1:-1]
    return inner if torch.equal(F.pad(inner, [1] * 4), kernels) else kernels


def depth_to_space(rewriter: Rewriter, node: Node, args: dict[str, Any]) -> Mapped | Refusal:
    """``pixel_shuffle``: channels become the places within a block of cells.

    Exact: yes
    Shape: ``(n, c*f*f, y, x)`` -> ``(n, c, y*f, x*f)``
    """
    x = rewriter.value(args["self"])
    if not x.layout.is_plain:
        return Refusal("rearranges dimensions that are not (channels, y, x)")
    if x.layout.slides:
        return Refusal("spreads the one value of a window over a map")
    result = rewriter.emit(aten.pixel_shuffle.default, [x, args["upscale_factor"]], kind="windowed")
    return Mapped(result, Layout.plain(*rewriter.shape(node)[1:]))


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
