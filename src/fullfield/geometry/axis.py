"""One axis of a network: an operator's kernel, stride and padding, and where a node's cells lie.

Sources: Dumoulin & Visin 2016 (arXiv 1603.07285); Araujo, Norris & Sim 2019 (doi 10.23915/distill.00021).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from fullfield.errors import GeometryError


def px(length: int, unit: int) -> int | float:
    """A length in parts of a pixel, ``unit`` to each, as px.

    Examples:
        >>> px(32, 1), px(112, 7), px(3, 2)
        (32, 16, 1.5)
    """
    return length / unit if length % unit else length // unit


def px_text(length: int, unit: int) -> str:
    """A length in parts of a pixel as px, to two decimals.

    Examples:
        >>> px_text(32, 1), px_text(16, 7), px_text(112, 7)
        ('32', '2.29', '16')
    """
    found = px(length, unit)
    return str(found) if isinstance(found, int) else f"{found:.2f}"


@dataclass(frozen=True)
class Op:
    """A windowed operator along one axis: kernel F, stride S, padding P, dilation.

    Negative padding crops, so an ``Op`` also describes a slice. ``ceil`` rounds the count of cells up as
    pools with ``ceil_mode`` do; a last cell that would start beyond the low padding and the data is dropped.
    ``edge`` is ``reflect`` or ``replicate`` if padding repeats cells (the kernel is 1), and ``inside`` if a kernel that
    would read padding is moved inside the map. ``up`` is the factor of an upsampling, of whose other fields only
    ``inside`` is not neutral: cells, of the blocks that depend on padding at either end, which do not themselves.

    Examples:
        >>> Op(3, stride=2).cells(7), Op(3).cells(7)
        (3, 5)
    """

    kernel: int
    stride: int = 1
    low: int = 0
    high: int = 0
    dilation: int = 1
    ceil: bool = False
    up: int = 1
    edge: str = ""
    inside: tuple[int, int] = (0, 0)

    @property
    def extent(self) -> int:
        """Cells from the first tap to the last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    def covers(self, count: int) -> bool:
        """Whether the kernel reads exactly the ``count`` cells of a map.

        Examples:
            >>> Op(5).covers(5), Op(3, dilation=2).covers(5)
            (True, False)
        """
        return self.kernel == self.extent == count and self.low == self.high == 0

    def cells(self, count: int) -> int:
        """Cells that result from ``count`` cells; 0 if the kernel is larger than the padded input.

        Source: torch ``pooling_output_shape``; the rule for ``ceil`` is Caffe's too.
        """
        if self.up > 1:
            return count * self.up
        room = count + self.low + self.high - self.extent
        if room < 0 and not (self.ceil and room > -self.stride):
            return 0
        if not self.ceil:
            return room // self.stride + 1
        cells = -(-room // self.stride) + 1
        if (cells - 1) * self.stride >= count + self.low:
            cells -= 1
        return cells

    def source_cell(self, cell: int, first: int, stop: int, *, ratio: int = 1) -> int:
        """In-range index, in ``[first, stop)``, of a cell that may lie in the padding: reflected or clamped.

        Every ``ratio``-th cell belongs to one map.

        Examples:
            >>> [Op(1, edge="reflect").source_cell(cell, 0, 4) for cell in range(-2, 6)]
            [2, 1, 0, 1, 2, 3, 2, 1]
            >>> [Op(1, edge="replicate").source_cell(cell, 0, 4, ratio=2) for cell in range(-2, 6)]
            [0, 1, 0, 1, 2, 3, 2, 3]
        """
        if cell < first:
            end = first + (cell - first) % ratio
        elif cell >= stop:
            end = stop - 1 - (stop - 1 - cell) % ratio
        else:
            return cell
        return min(max(2 * end - cell if self.edge == "reflect" else end, first), stop - 1)

    def first_tap_inside(self, tap: int, first: int, stop: int, *, ratio: int = 1) -> int:
        """The first tap of a kernel that would start at ``tap``, moved until all of it lies in ``[first, stop)``.

        Every ``ratio``-th cell belongs to one map. On maps smaller than the kernel, which no window has, it ends at the
        last cell.

        Examples:
            >>> [Op(3, edge="inside").first_tap_inside(tap, 0, 5) for tap in range(-1, 4)]
            [0, 0, 1, 2, 2]
            >>> [Op(2, edge="inside").first_tap_inside(tap, 0, 6, ratio=2) for tap in range(-2, 6)]
            [0, 1, 0, 1, 2, 3, 2, 3]
        """
        reach = (self.extent - 1) * ratio
        low, high = first + (tap - first) % ratio, stop - 1 - (stop - 1 - tap) % ratio - reach
        return min(max(tap, low), high) if low <= high else stop - 1 - reach

    def leftover(self, count: int) -> int:
        """Padded cells that no tap reads because the stride does not divide; 0 when the operator fits.

        Negative when ``ceil`` lets the last window end beyond the padding.

        Examples:
            >>> Op(3, stride=3).leftover(7), Op(3, stride=2).leftover(7), Op(3, 2, ceil=True).leftover(22)
            (1, 0, -1)
        """
        if self.up > 1:
            return 0
        cells = self.cells(count)
        return count + self.low + self.high - self.extent - (cells - 1) * self.stride


@dataclass(frozen=True)
class Axis:
    """Where the cells of a node lie along one axis of one window.

    Cell ``y`` reads the pixels ``[start + y*jump, start + y*jump + size)`` of the window (those outside are padding).
    Of its ``count`` cells the first ``low`` and the last ``high`` depend on padding. ``closed`` marks the single
    cell of a head, which reads a whole unpadded map: it is computed at window positions only. ``size``, ``jump`` and
    ``start`` count parts of a pixel, ``unit`` to each: 1 unless maps are made finer, so that all stay integers.

    Examples:
        >>> Axis.window(224).through(Op(7, stride=2, low=3, high=3))
        Axis(size=7, jump=2, start=-3, count=112, low=2, high=1, closed=False)
    """

    size: int
    jump: int
    start: int
    count: int
    low: int = 0
    high: int = 0
    closed: bool = False
    unit: int = field(default=1, repr=False)

    @classmethod
    def window(cls, pixels: int, unit: int = 1) -> Axis:
        """The axis of the window: every pixel is a cell, of ``unit`` parts."""
        return cls(size=unit, jump=unit, start=0, count=pixels, unit=unit)

    @property
    def shared(self) -> bool:
        """Whether any cell is free of padding, so that neighbouring windows can share it."""
        return self.low + self.high < self.count

    @property
    def touch(self) -> bool:
        """Whether each cell belongs to one border: blocks of which some cells may yet be free of padding."""
        return self.low + self.high == self.count

    def through(self, op: Op, *, cap: int | None = None) -> Axis:
        """The axis after ``op``; ``low`` and ``high`` are at most ``cap`` cells each.

            size'  = size + d*(k-1)*jump      jump' = jump*t      start' = start - p_lo*jump
            a'     = ceil((a + p_lo) / t)
            b'     = n' - (first y with y*t - p_lo + d*(k-1) >= n - b)

        Raises:
            GeometryError: the kernel does not fit the padded axis even once; cells are too close to be upsampled.
        """
        if op.up > 1:
            return self._upsampled(op, cap)
        count = op.cells(self.count)
        if count < 1:
            padded = self.count + op.low + op.high
            raise GeometryError(
                f"kernel {op.kernel}",
                f"spans {op.extent} cells, more than the {padded} cells of its padded input",
                fix="use a larger window, a smaller kernel or more padding",
            )
        low = max(0, math.ceil((self.low + op.low) / op.stride))
        good = (self.count - self.high) - (op.extent - 1) + op.low
        high = count - max(0, math.ceil(good / op.stride))
        low, high = min(low, count), min(max(high, 0), count)
        if cap is not None:
            low, high = min(low, cap), min(high, cap)
        return Axis(
            size=self.size + (op.extent - 1) * self.jump,
            jump=self.jump * op.stride,
            start=self.start - op.low * self.jump,
            count=count,
            low=low,
            high=high,
            closed=count == 1 and op.low == op.high == 0 and (self.closed or op.extent == self.count),
            unit=self.unit,
        )

    def _upsampled(self, op: Op, cap: int | None) -> Axis:
        """Each cell becomes ``op.up`` cells with the receptive field of all of them."""
        up = op.up
        if self.jump % up or self.closed:
            raise GeometryError(
                "upsampling",
                f"each of the cells every {px_text(self.jump, self.unit)} px becomes {up}",
                fix="exact scanning still works: it runs these layers per window",
            )
        jump = self.jump // up
        low, high = (max(0, n * up - inside) for n, inside in zip((self.low, self.high), op.inside, strict=True))
        if cap is not None:
            low, high = min(low, cap), min(high, cap)
        reach = (up - 1) * jump
        return Axis(self.size + reach, jump, self.start - reach, self.count * up, low, high, unit=self.unit)

    def to_dict(self) -> dict[str, Any]:
        """Its fields, lengths in px."""
        lengths = {name: px(getattr(self, name), self.unit) for name in ("size", "jump", "start")}
        return {name: value for name, value in asdict(self).items() if name != "unit"} | lengths

    def union(self, other: Axis) -> Axis:
        """The axis where two branches meet: the larger receptive field, the larger borders.

        Raises:
            GeometryError: the branches do not have the same count and spacing of cells.
        """
        meet = self.jump == other.jump or self.closed or other.closed
        if self.count != other.count or not meet:
            raise GeometryError(
                "branches",
                f"{self.count} cells every {px_text(self.jump, self.unit)} px meet {other.count} cells every "
                f"{px_text(other.jump, other.unit)} px",
                fix="exact scanning still works: it runs these layers per window",
            )
        start = min(self.start, other.start)
        stop = max(self.start + self.size, other.start + other.size)
        return Axis(
            size=stop - start,
            jump=max(self.jump, other.jump),
            start=start,
            count=self.count,
            low=max(self.low, other.low),
            high=max(self.high, other.high),
            closed=self.closed or other.closed,
            unit=self.unit,
        )

    def aligned(self, other: Axis) -> bool:
        """Whether cells of both branches are centred on the same pixels."""
        return 2 * self.start + self.size == 2 * other.start + other.size and self.jump == other.jump
