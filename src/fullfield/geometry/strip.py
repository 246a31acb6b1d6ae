"""Strips: the cells that an operator reads along one axis, and how it runs on them.

Along each axis the cells of a window's map fall into three families: ``low`` and ``high`` depend on padding and belong
to one window row (or column); the ``interior`` cells of all windows together form one map. A fourth family, ``window``,
is all cells of each window: the input of a layer that runs per window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fullfield.geometry.axis import Axis, Op
from fullfield.geometry.region import Pair

Family = Literal["low", "interior", "high", "window"]


@dataclass(frozen=True)
class Piece:
    """A run of cells ``[start, stop)`` of one family.

    Border cells count from the border's first. Interior cells count along the interior map if the reader is interior
    itself, and along each window's interior otherwise.
    """

    family: Family
    start: int
    stop: int


@dataclass(frozen=True)
class Slide:
    """A kernel slides over the strip and its padding.

    Args:
        low: cells of padding before the strip; negative drops cells.
        high: cells of padding after it; negative drops cells.
        stride: of the kernel on this strip.
        dilation: of the kernel on this strip.
        overhang: trailing cells of ``high`` beyond the operator's own padding (``ceil_mode``).
    """

    low: int = 0
    high: int = 0
    stride: int = 1
    dilation: int = 1
    overhang: int = 0


@dataclass(frozen=True)
class Upsample:
    """Every cell of the strip becomes ``factor`` cells, of which the first and last ``crop`` are dropped."""

    factor: int
    crop: Pair = (0, 0)


@dataclass(frozen=True)
class Gather:
    """A kernel slides over the strip without padding, and its results are picked by index.

    Args:
        index: for each of the operator's cells the result to take; empty where these are all of them in order.
        dilation: of the kernel on this strip.
    """

    index: tuple[int, ...] = ()
    dilation: int = 1


How = Slide | Upsample | Gather


@dataclass(frozen=True)
class Strip:
    """What one family of a node reads from one input along one axis, and how the node's operator runs on it.

    Args:
        pieces: runs of the input's cells, in order.
        how: the operator on these cells.
        inside: where the interior has several maps, which of these cells exist of each, counted from the first: others
            are padding. Empty where all exist, or the operator does not pad.
    """

    pieces: tuple[Piece, ...]
    how: How = Slide()
    inside: tuple[Pair, ...] = ()

    @property
    def padding(self) -> Pair:
        """Cells of padding before and after the pieces; negative drops cells."""
        return (self.how.low, self.how.high) if isinstance(self.how, Slide) else (0, 0)

    @property
    def unpadded(self) -> int:
        """Cells of the pieces."""
        return sum(p.stop - p.start for p in self.pieces)

    @property
    def length(self) -> int:
        """Cells of the strip, padding included."""
        return self.unpadded + sum(self.padding)

    @property
    def slide(self) -> Slide:
        """How the kernel slides, of an operator that neither upsamples nor gathers."""
        assert isinstance(self.how, Slide)
        return self.how

    @property
    def factor(self) -> int:
        """Cells that the operator makes of each cell: 1 unless it upsamples."""
        return self.how.factor if isinstance(self.how, Upsample) else 1

    def valid_taps(self, kernel: int, *, padding: bool) -> tuple[int, ...]:
        """For each position of the kernel, its taps on the input's cells; with ``padding`` on the own padding too."""
        how, length = self.slide, self.length
        first, last = (0, length - how.overhang) if padding else (how.low, length - how.high)
        span = how.dilation * (kernel - 1)
        starts = range(0, length - span, how.stride)
        return tuple(sum(first <= s + how.dilation * m < last for m in range(kernel)) for s in starts)


@dataclass(frozen=True)
class Line:
    """The cells ``[first, stop)`` that exist along one axis; every ``ratio``-th belongs to one map."""

    first: int
    stop: int
    ratio: int = 1


def input_strip(op: Op, wanted: Pair, line: Line, stride: int) -> tuple[Pair, How]:
    """The cells of ``line`` from which ``op`` computes its cells ``wanted``, and how it runs on them.

    ``stride`` is the distance of its cells in cells of ``line``. At least one cell is read, even where all taps lie in
    the padding: it is dropped again by negative padding.

    Examples:
        >>> input_strip(Op(3, low=1, high=1), (0, 4), Line(0, 4), 1)
        ((0, 4), Slide(low=1, high=1, stride=1, dilation=1, overhang=0))
    """
    if op.up > 1:
        return _upsample(op, wanted)
    if op.edge:
        return _gather(op, wanted, line)
    return _slide(op, wanted, line, stride)


def _slide(op: Op, wanted: Pair, line: Line, stride: int) -> tuple[Pair, How]:
    start = wanted[0] * stride - op.low * line.ratio
    stop = (wanted[1] - 1) * stride + (op.extent - 1 - op.low) * line.ratio + 1
    inner = min(max(start, line.first), line.stop - 1)
    outer = max(min(stop, line.stop), inner + 1)
    dilation = op.dilation * line.ratio if op.kernel > 1 else 1
    overhang = max(0, stop - line.stop - op.high * line.ratio)
    return (inner, outer), Slide(inner - start, stop - outer, stride, dilation, overhang)


def _upsample(op: Op, wanted: Pair) -> tuple[Pair, How]:
    start, stop = wanted[0] // op.up, -(-wanted[1] // op.up)
    return (start, stop), Upsample(op.up, (wanted[0] - start * op.up, stop * op.up - wanted[1]))


def _gather(op: Op, wanted: Pair, line: Line) -> tuple[Pair, How]:
    source = op.first_tap_inside if op.edge == "inside" else op.source_cell
    shift = op.low * line.ratio
    cells = [source(c, line.first, line.stop, ratio=line.ratio) for c in range(wanted[0] - shift, wanted[1] - shift)]
    start, stop = min(cells), max(cells) + (op.extent - 1) * line.ratio + 1
    in_order = cells == list(range(cells[0], cells[0] + len(cells)))
    index = () if in_order else tuple(cell - start for cell in cells)
    return (start, stop), Gather(index, op.dilation * line.ratio if op.kernel > 1 else 1)


def window_pieces(axis: Axis, start: int, stop: int) -> tuple[Piece, ...]:
    """The cells ``[start, stop)`` of each window by family."""
    inside = axis.count - axis.high
    runs: list[tuple[Family, int, int, int]] = [
        ("low", 0, axis.low, 0),
        ("interior", axis.low, inside, 0),
        ("high", inside, axis.count, inside),
    ]
    found = [(f, max(start, a) - base, min(stop, b) - base) for f, a, b, base in runs]
    return tuple(Piece(f, a, b) for f, a, b in found if a < b)
