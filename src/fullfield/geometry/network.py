"""A network as integers: what each node reads, how, and which of its cells neighbouring windows can share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal

from fullfield.errors import GeometryError
from fullfield.geometry.axis import Axis, Op, px_text

NodeKind = Literal["input", "windowed", "cell", "whole"]
IDENTITY = (Op(1), Op(1))
_MEET = "borders meet: every cell depends on padding"


@dataclass(frozen=True)
class Scratch:
    """Memory that an operator allocates besides its result.

    Args:
        weights: copies of its weights in an order of the library's own.
        taps: whether the taps of all cells are laid side by side for a matrix product, unless numbers have 32 bits.
        index_bytes: bytes of an index for each number of its result, where its kernel is dilated.
        results: values of the size of its result.
    """

    weights: int = 0
    taps: bool = False
    index_bytes: int = 0
    results: int = 0


@dataclass(frozen=True)
class NodeSpec:
    """One node of a network, as far as integers go.

    Args:
        name: unique name in the graph.
        path: the layer it belongs to, for reports.
        op: its operator's short name, for reports.
        kind: ``windowed`` reads a neighbourhood, ``cell`` one cell of each input, ``whole`` the whole window.
        inputs: names of the nodes it reads, without repeats.
        ops: its kernel, stride and padding along y and x.
        shape: its cells per window (all dimensions of channels, y, x), or the shape of a ``whole`` node's value.
        macs: multiply-adds per cell; of a ``whole`` node per window.
        reason: why a ``whole`` node works on the whole window.
        itemsize_factor: bytes of one of its numbers over those of the network's type.
        scratch: memory that it allocates besides its result.
        overwrites: how many inputs it reads if it may write its result over one of them; 0 if it may not.
        new_memory: whether its result is memory of its own, which its reader may overwrite.
        cells_first: whether its value's dimensions of cells come before those of channels.
        counts_padding: whether its result depends on how many of the cells under its kernel are padding.
    """

    name: str
    path: str
    op: str
    kind: NodeKind
    inputs: tuple[str, ...]
    ops: tuple[Op, Op] = IDENTITY
    shape: tuple[int, ...] = ()
    macs: int = 0
    reason: str = ""
    itemsize_factor: int = 1
    scratch: Scratch = Scratch()
    overwrites: int = 0
    new_memory: bool = False
    cells_first: bool = False
    counts_padding: bool = False

    @property
    def elements(self) -> int:
        """Numbers per cell; of a ``whole`` node per window."""
        count = 1
        for size in self.shape if self.kind == "whole" else self.shape[:-2]:
            count *= size
        return count

    @property
    def window_macs(self) -> int:
        """Multiply-adds of the node on one window by itself."""
        return self.macs if self.kind == "whole" else self.macs * self.shape[-1] * self.shape[-2]

    @property
    def window_elements(self) -> int:
        """Numbers of the node's result for one window."""
        return self.elements if self.kind == "whole" else self.elements * self.shape[-1] * self.shape[-2]


@dataclass(frozen=True)
class Place:
    """Where a node runs: its axes if windows share it, else the reason why it runs per window."""

    axes: tuple[Axis, Axis] | None
    reason: str = ""

    @property
    def shared(self) -> bool:
        """Whether neighbouring windows share its cells."""
        return self.axes is not None


@dataclass(frozen=True)
class Network:
    """The nodes of a network in the order in which they run; the last one gives the scores.

    Args:
        nodes: those that depend on the image.
        window: height and width, px.
        needs_batch_of_one: whether windows run one at a time, as the network multiplies the windows of a batch.
    """

    nodes: tuple[NodeSpec, ...]
    window: tuple[int, int]
    needs_batch_of_one: bool = False
    _index: Mapping[str, NodeSpec] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {n.name: n for n in self.nodes})

    def __getitem__(self, name: str) -> NodeSpec:
        return self._index[name]

    def __iter__(self) -> Iterator[NodeSpec]:
        return iter(self.nodes)

    @property
    def output(self) -> NodeSpec:
        """The node that gives the scores."""
        return self.nodes[-1]

    @cached_property
    def pads_by_numbers(self) -> bool:
        """Whether padding is always cells that hold a number: maps that end in other places can have one program."""
        return not any(node.counts_padding or any(op.edge for op in node.ops) for node in self.nodes)

    @property
    def upsamples(self) -> bool:
        """Whether any node upsamples."""
        return any(op.up > 1 for node in self.nodes for op in node.ops)

    def places(
        self,
        *,
        cap: int | None = None,
        small: int = 0,
        stop: int | None = None,
        step: tuple[int, int] | None = None,
    ) -> dict[str, Place]:
        """Where every node runs.

        A node is shared if its borders leave cells between them and all its inputs are shared and lie on one grid; what
        reads a node that runs per window runs per window too. Upsampling is shared only if ``step`` is a multiple of
        the cells' jump: otherwise upsampled cells lie at other places in each window.

        Args:
            cap: most border cells at each edge of a map; ``None`` for all.
            small: maps of at most this many cells along an axis keep all their border cells there.
            stop: index of a node from which on the network runs per window.
            step: px between windows; a multiple of every jump if ``None``.
        """
        places: dict[str, Place] = {}
        for index, node in enumerate(self.nodes):
            if stop is not None and index >= stop:
                places[node.name] = Place(None, "the plan runs it per window")
            else:
                found = self._place(node, [places[i] for i in node.inputs], cap, small)
                places[node.name] = found if step is None else _at_step(found, node, step)
        return self._without_empty(places)

    def _without_empty(self, places: dict[str, Place]) -> dict[str, Place]:
        """Places where maps of border cells alone are shared only if all that read them are."""
        reasons: dict[str, str] = {}  # why what reads a node runs per window
        for node in reversed(self.nodes):
            place = places[node.name]
            if place.axes is not None and node.name in reasons and not all(axis.shared for axis in place.axes):
                place = places[node.name] = Place(None, reasons[node.name])
            if not place.shared:
                reasons |= dict.fromkeys(node.inputs, place.reason)
        return places

    @cached_property
    def _before_blocks(self) -> frozenset[str]:
        """Nodes whose cells become blocks of which some cells depend on padding and others do not."""
        found: set[str] = set()
        for node in reversed(self.nodes):
            if node.name in found or any(any(op.inside) for op in node.ops):
                found.update(node.inputs)
        return frozenset(found)

    @cached_property
    def units(self) -> tuple[int, int]:
        """Parts of a pixel, along y and x, in which the distances between the cells of all shared maps are whole."""
        y, x = (_unit(self.nodes, k) for k in (0, 1))
        return y, x

    def stride(self, places: Mapping[str, Place]) -> tuple[int, int]:
        """Px between the cells of the coarsest shared map, along y and x.

        Where that is no multiple of the px after which upsampled cells lie alike, the next smaller multiple, or one.
        """
        y, x = (self._stride(places, k) for k in (0, 1))
        return y, x

    def _stride(self, places: Mapping[str, Place], k: int) -> int:
        unit, coarsest, period = self.units[k], 1, 1
        for node in self.nodes:
            axes = places[node.name].axes
            if axes is not None:
                coarsest = max(coarsest, axes[k].jump)
                period = math.lcm(period, axes[k].jump * node.ops[k].up) if node.ops[k].up > 1 else period
        period = math.lcm(period, unit) // unit
        return max(1, coarsest // (unit * period)) * period

    def _place(self, node: NodeSpec, inputs: list[Place], cap: int | None, small: int) -> Place:
        if node.kind == "whole":
            return Place(None, node.reason or "follows a layer that runs per window")
        if node.kind == "input":
            y, x = (Axis.window(pixels, unit) for pixels, unit in zip(self.window, self.units, strict=True))
            return Place((y, x))
        if not all(p.shared for p in inputs):
            return Place(None, "follows a layer that runs per window")
        pairs = [p.axes for p in inputs if p.axes is not None]
        try:
            axes = [_along([pair[k] for pair in pairs], node.ops[k], cap, small) for k in (0, 1)]
        except GeometryError as error:
            return Place(None, error.what)
        if not all(axis.shared or (node.name in self._before_blocks and axis.touch) for axis in axes):
            return Place(None, _MEET)
        return Place((axes[0], axes[1]))


def _unit(nodes: tuple[NodeSpec, ...], k: int) -> int:
    """The least common denominator of the distances, px, between cells along an axis."""
    jumps: dict[str, Fraction] = {}
    for node in nodes:
        before = [jumps[name] for name in node.inputs if name in jumps]
        if node.kind == "input":
            jumps[node.name] = Fraction(1)
        elif node.kind != "whole" and before and len(before) == len(node.inputs):
            jumps[node.name] = max(before) * node.ops[k].stride / node.ops[k].up
    return math.lcm(*(jump.denominator for jump in jumps.values()))


def _at_step(place: Place, node: NodeSpec, step: tuple[int, int]) -> Place:
    """The place of a node, given how far windows are apart."""
    for axis, op, s in zip(place.axes or (), node.ops, step, strict=False):
        if op.up > 1 and s * axis.unit % (axis.jump * op.up):
            cells = f"cells every {px_text(axis.jump * op.up, axis.unit)} px are upsampled"
            return Place(None, f"{cells}, which a step of {s} px puts elsewhere in each window")
    return place


def _along(axes: list[Axis], op: Op, cap: int | None, small: int) -> Axis:
    axis = axes[0]
    for other in axes[1:]:
        axis = axis.union(other)
    if op == Op(1):
        return axis
    if axis.closed and (op.extent > 1 or op.low or op.high):
        raise GeometryError("head", "reads beside the one cell of a head", fix="scan in exact mode")
    return axis.through(op, cap=None if op.cells(axis.count) <= small else cap)
