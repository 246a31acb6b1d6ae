"""Pools over windows' maps, from sums of families instead of strips: windows share the sums of what they share.

All cells of a window's border read all of their window. Gathered, these would be as many cells as those of all crops.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.fx import Node

from fullfield.geometry.strip import Gather, Piece, Slide, Strip
from fullfield.lower.assemble import Assembler
from fullfield.lower.rows import FamilyPair
from fullfield.operators.emitter import Call, Strips
from fullfield.operators.strips import gathered, sums_along

aten = torch.ops.aten
_NATIVE = 64  # taps along one axis up to which torch's average pool is taken, which adds one after the other
_MOST = 2**62  # beyond any map


def pool_of_windows(to: Assembler, call: Call, name: str, family: FamilyPair, strips: Strips) -> Node:
    """One cell of a family of a pool for each row, and for each column, that belongs to a window; all others.

    It is the same for the low and the high border.

    Exact: yes, other summation order
    Shape: ``(windows, channels, y, x)``
    Args:
        call: of ``sliding_pool``.
        name: of the node that it reads.
        family: of the pool.
        strips: what it reads along y and x.
    """
    pools = _Pools(to, name, family, strips, call.kernel, largest=call.args["largest"])
    parts = [pools.part(py, px) for py in strips[0].pieces for px in strips[1].pieces]
    value = functools.reduce(pools.joined, parts)
    if not pools.largest:
        value = to.call(aten.div.Tensor, value, math.prod(call.kernel))
    sliding = [s if f == "interior" else Strip(s.pieces) for s, f in zip(strips, family, strict=True)]
    found: Node = gathered(to, value, (sliding[0], sliding[1]))
    return found


class _Pools:
    """The sums, or maxima, that make up a family of a pool: one for each pair of families that it reads."""

    def __init__(
        self, to: Assembler, name: str, family: FamilyPair, strips: Strips, kernel: list[int], *, largest: bool
    ) -> None:
        self.to, self.name, self.family, self.strips = to, name, family, strips
        self.kernel, self.largest = kernel, largest
        self.axes = to.layout.y[name], to.layout.x[name]
        for strip, f, taps in zip(strips, family, kernel, strict=True):
            assert f == "interior" or strip.length == taps

    def joined(self, one: Node, other: Node) -> Node:
        """The sums, or maxima, of two parts together."""
        return self.to.call(aten.maximum.default if self.largest else aten.add.Tensor, one, other)

    def part(self, py: Piece, px: Piece) -> Node:
        """Of the cells of one family. Shape: ``(windows, channels, y, x)``; one row or column for each window."""
        value = self.to.map(self.name, (py.family, px.family))
        along = list(zip((-2, -1), (0, 1), (py, px), strict=True))
        for dim, k, piece in along:
            if self.family[k] != "interior":
                value = self._of_windows(value, dim, k, piece)
        for dim, k, piece in along:
            if self.family[k] == "interior":
                value = self._sliding(value, dim, k, piece)
        return self._windows_first(value, (py, px))

    def _of_windows(self, value: Node, dim: int, k: int, piece: Piece) -> Node:
        """One cell for each window along an axis: apart where windows have cells of their own, else side by side."""
        axis, windows = self.axes[k], self.to.layout.windows[k]
        if piece.family != "interior":
            value = self.to.slice(value, dim, piece.start, piece.stop, axis.extent(piece.family))
            target = aten.amax.default if self.largest else aten.sum.dim_IntList
            return value if piece.stop - piece.start == 1 else self.to.call(target, value, [dim], True)
        first, taps = piece.start * axis.ratio - axis.region[0], piece.stop - piece.start
        if axis.hop % axis.ratio:  # no window has cells of another one
            return self._pooled(value, dim, taps, _line(first, windows, taps, axis.hop, axis.ratio))
        if axis.ratio > 1:
            value = self.to.call(aten.slice.Tensor, value, dim, first, _MOST, axis.ratio)
            first = 0
        return self._of_blocks(value, dim, taps, _line(first, windows, taps, axis.hop // axis.ratio))

    def _of_blocks(self, value: Node, dim: int, taps: int, windows: Strip) -> Node:
        """One cell for each window, from those of blocks that end where windows begin, and of what is left of it."""
        hop, first, count = windows.slide.stride, windows.pieces[0].start, _results(windows, taps)
        blocks, rest = divmod(taps, hop)
        found = []
        if blocks:
            of_blocks = self._pooled(value, dim, hop, _line(first, count - 1 + blocks, hop, hop))
            found.append(self._pooled(of_blocks, dim, blocks, _line(0, count, blocks, 1)))
        if rest:
            found.append(self._pooled(value, dim, rest, _line(first + blocks * hop, count, rest, hop)))
        return functools.reduce(self.joined, found)

    def _sliding(self, value: Node, dim: int, k: int, piece: Piece) -> Node:
        """A cell for each position of the kernel on the interior map."""
        low = self.axes[k].region[0]
        line = Piece("interior", piece.start - low, piece.stop - low)
        return self._pooled(value, dim, self.kernel[k], Strip((line,), Slide(dilation=_dilation(self.strips[k]))))

    def _pooled(self, value: Node, dim: int, taps: int, strip: Strip) -> Node:
        """Sums, or maxima, of so many cells of a strip."""
        (piece,), slide = strip.pieces, strip.slide
        value = self.to.call(aten.slice.Tensor, value, dim, piece.start, piece.stop)
        if taps == slide.stride == 1:
            return value
        kernel, hop, apart = ([n, 1] if dim == -2 else [1, n] for n in (taps, slide.stride, slide.dilation))
        if self.largest:
            return self.to.call(aten.max_pool2d.default, value, kernel, hop, [0, 0], apart, False)
        if slide.dilation == 1 and taps <= _NATIVE and slide.stride > 1:
            return self.to.call(aten.avg_pool2d.default, value, kernel, hop, [0, 0], False, True, 1)
        total: Node = sums_along(self.to, value, dim, strip, taps)
        return total

    def _windows_first(self, value: Node, pieces: tuple[Piece, Piece]) -> Node:
        """Windows that lie side by side, as maps of their own."""
        windows = self.to.layout.windows
        own = [w if p.family != "interior" else 1 for w, p in zip(windows, pieces, strict=True)]
        beside = [
            w if f != "interior" and p.family == "interior" else 1
            for w, f, p in zip(windows, self.family, pieces, strict=True)
        ]
        if beside == [1, 1]:
            return value
        (channels,) = self.to.channels[self.name]
        lengths = [
            p.stop - p.start - (taps - 1) * _dilation(s) if f == "interior" else 1
            for p, taps, s, f in zip(pieces, self.kernel, self.strips, self.family, strict=True)
        ]
        shape = [*own, channels, beside[0], lengths[0], beside[1], lengths[1]]
        value = self.to.call(aten.reshape.default, value, shape)
        value = self.to.call(aten.permute.default, value, [0, 3, 1, 5, 4, 6, 2])
        value = self.to.call(aten.reshape.default, value, [math.prod((*own, *beside)), *lengths, channels])
        return self.to.call(aten.permute.default, value, [0, 3, 1, 2])


def _line(first: int, count: int, taps: int, hop: int, apart: int = 1) -> Strip:
    """The cells from ``first`` on that so many kernels read, ``hop`` apart."""
    stop = first + (count - 1) * hop + (taps - 1) * apart + 1
    return Strip((Piece("interior", first, stop),), Slide(stride=hop, dilation=apart))


def _results(strip: Strip, taps: int) -> int:
    """How many kernels a strip has cells for."""
    return (strip.length - (taps - 1) * strip.slide.dilation - 1) // strip.slide.stride + 1


def _dilation(strip: Strip) -> int:
    """Cells between the taps of a kernel on a strip."""
    assert isinstance(strip.how, (Gather, Slide))
    return strip.how.dilation
