"""What a tile costs: multiply-adds and the bytes alive at once. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property

from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.tile import AxisCells, TileLayout

_PIECES = 2.2  # bytes of the heap that lie idle over bytes in use there, at most, as measured
_HEAP = 32 << 20  # bytes from which on the C library asks the system for pages of their own
_PROGRAM = 40_000  # bytes of an operator in the programs of four kinds of tile, as measured


@dataclass(frozen=True)
class Cost:
    """The cost of one tile, or the sum over many.

    Args:
        shared_macs: multiply-adds of cells that windows share, borders included.
        window_macs: multiply-adds of what runs per window.
        moved_bytes: bytes of all values written once, the measure of memory traffic.
        peak_bytes: most bytes alive at once.
        calls: operators called, families of cells and batches of windows counted.
    """

    shared_macs: int
    window_macs: int
    moved_bytes: int
    peak_bytes: int
    calls: int = 0

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.shared_macs + self.window_macs


def tile_cost(network: Network, layout: TileLayout, *, batch: int, itemsize: int) -> Cost:
    """The cost of one tile.

    Every value lives from the node that makes it to its last reader, which may overwrite it (``_overwrites``). Beside
    them an operator holds what ``_copies`` and ``_beside`` count. Allocators keep more than that: pieces of the heap,
    where smaller values lay, that later ones do not fit into; the programs add theirs.
    """
    windows = layout.windows[0] * layout.windows[1]
    batch = min(batch, windows)
    memory = _Memory(network, layout, batch, itemsize)
    shared, rest = memory.shared, memory.rest
    size = {n.name: layout.cells(n.name) * n.elements * n.wide * itemsize for n in shared}
    window_size = {n.name: n.window_elements * n.wide * itemsize for n in network}
    batch_size = {name: batch * bytes_ for name, bytes_ in window_size.items()}
    in_use, on_heap = memory.peak(size, batch_size), memory.peak(size, batch_size, below=_HEAP)
    gathered = sum(window_size[name] for name in layout.frontier_inputs) if rest else 0
    cut = [n for n in shared if any(c.cut and c.cut.ratio > 1 for c in (layout.y[n.name], layout.x[n.name]))]
    rearranged = 2 * sum(size[n.name] + sum(size[i] for i in n.inputs) for n in cut)
    families = sum(len(layout.y[n.name].families) * len(layout.x[n.name].families) for n in shared)
    calls = families + len(rest) * -(-windows // batch)
    return Cost(
        shared_macs=sum(layout.cells(n.name) * n.macs for n in shared),
        window_macs=windows * sum(n.window_macs for n in rest),
        moved_bytes=rearranged + sum(size.values()) + windows * (gathered + sum(window_size[n.name] for n in rest)),
        peak_bytes=in_use + int(_PIECES * on_heap) + _PROGRAM * calls,
        calls=calls,
    )


@dataclass(frozen=True)
class _Memory:
    """The bytes that one tile's program holds at once."""

    network: Network
    layout: TileLayout
    batch: int
    itemsize: int

    @cached_property
    def shared(self) -> list[NodeSpec]:
        """The nodes that windows share."""
        return [n for n in self.network if n.name in self.layout.y]

    @cached_property
    def rest(self) -> list[NodeSpec]:
        """The nodes that run per window."""
        return [n for n in self.network if n.name not in self.layout.y]

    @cached_property
    def over(self) -> set[str]:
        """The nodes that write over an input."""
        return _overwrites(self.network)

    @property
    def windows(self) -> int:
        """Windows of the tile."""
        return math.prod(self.layout.windows)

    def peak(self, size: Mapping[str, int], batch_size: Mapping[str, int], below: float = math.inf) -> int:
        """Most bytes in use.

        Args:
            size: bytes of every shared node.
            batch_size: bytes of every node on one batch of windows.
            below: bytes; only what is smaller counts: with ``_HEAP`` what lies on the heap, as larger values are the
                system's own pages, which go back at once.
        """
        size, batch_size = _smaller(size, below), _smaller(batch_size, below)
        keep = self.layout.frontier_inputs
        scores = self.windows * self.network.output.window_elements * self.itemsize
        beside = {n.name: self._beside_shared(n, size, below) for n in self.shared}
        peak = scores + _peak(self.shared, size, beside, self.over, keep=set(keep))
        if not self.rest:
            return peak
        beside = {n.name: self._beside_window(n, batch_size, below) for n in self.rest}
        held = sum(size[name] + batch_size[name] for name in keep)
        return max(peak, held + 2 * scores + _peak(self.rest, batch_size, beside, self.over, keep=set()))

    def _beside_shared(self, node: NodeSpec, size: Mapping[str, int], below: float) -> int:
        layout = self.layout
        plain = self.itemsize == 4 and all(_is_plain(c[node.name]) for c in (layout.y, layout.x))
        head = layout.head_as_matmul(node.name) and _covers(node, self.network)
        held = [self._head(node)] if head else _beside(node, layout.cells(node.name), self.itemsize)
        held += [_indices(node, layout), *[size[node.name]] * node.scratch.results]
        return _copies(node, size, self.itemsize, plain=plain) + _sum(held, below)

    def _beside_window(self, node: NodeSpec, size: Mapping[str, int], below: float) -> int:
        cells = self.batch * math.prod(node.shape[-2:])
        held = [self._head(node)] if _covers(node, self.network) else _beside(node, cells, self.itemsize)
        held += [size[node.name]] * node.scratch.results
        return _copies(node, size, self.itemsize, plain=False) + _sum(held, below)

    def _head(self, node: NodeSpec) -> int:
        """Every window's own cells, side by side for a matrix product."""
        return self.windows * self.network[node.inputs[0]].window_elements * self.itemsize


def crop_macs(network: Network) -> int:
    """Multiply-adds of one window by itself."""
    return sum(n.window_macs for n in network)


def _smaller(size: Mapping[str, int], below: float) -> dict[str, int]:
    """The sizes, 0 in place of what is no smaller than ``below``."""
    return {name: bytes_ if bytes_ < below else 0 for name, bytes_ in size.items()}


def _sum(parts: list[int], below: float) -> int:
    return sum(part for part in parts if part < below)


def _beside(node: NodeSpec, cells: int, itemsize: int) -> list[int]:
    """Bytes of a convolution's weights laid out anew, and of the taps of all its cells."""
    taps = cells * node.macs // node.elements if node.scratch.taps and itemsize != 4 else 0
    return [node.macs * itemsize] * node.scratch.weights + [taps * itemsize]


def _copies(node: NodeSpec, size: Mapping[str, int], itemsize: int, *, plain: bool) -> int:
    """Bytes of copies that a node makes of what it reads: padded, or put together of strips.

    Of numbers that are not of 32 bits, convolution libraries copy all to an order of their own.

    Args:
        size: bytes of every node.
        plain: it reads one map.
    """
    inputs = sum(size[i] for i in node.inputs)
    if node.kind != "windowed":
        return 0 if plain else inputs
    order = inputs + size[node.name] if itemsize != 4 else 0
    return order + (inputs if not plain or any(op.low or op.high for op in node.ops) else 0)


def _is_plain(cells: AxisCells) -> bool:
    """Whether all cells along an axis are of one family, and none is rearranged into fragments."""
    return cells.families == ("interior",) and not (cells.cut and cells.cut.ratio > 1)


def _indices(node: NodeSpec, layout: TileLayout) -> int:
    """Bytes of the places of its maxima that a pool with dilation keeps."""
    if not node.scratch.index_bytes:
        return 0
    strips = (strip for axis in (layout.y, layout.x) for by in axis[node.name].strips.values() for strip in by.values())
    count = layout.cells(node.name) * node.elements
    return node.scratch.index_bytes * count if any(s.slide.dilation > 1 for s in strips) else 0


def _overwrites(network: Network) -> set[str]:
    """The nodes that write over an input: new memory that no one else reads."""
    readers = Counter(i for n in network for i in n.inputs)
    found = set()
    for node in network:
        inputs = [network[i] for i in node.inputs]
        may = node.kind == "cell" and 0 < node.overwrites == len(inputs)
        alike = len(inputs) == 1 or all(i.shape == node.shape for i in inputs)
        if may and alike and any(readers[i.name] == 1 and i.new_memory for i in inputs):
            found.add(node.name)
    return found


def _covers(node: NodeSpec, network: Network) -> bool:
    """Whether a node is a convolution as large as its map, which runs as a matrix product on windows' own cells."""
    return node.kind == "windowed" and all(
        op.covers(n) for op, n in zip(node.ops, network[node.inputs[0]].shape[-2:], strict=True)
    )


def _peak(
    nodes: list[NodeSpec], size: Mapping[str, int], beside: Mapping[str, int], over: Set[str], *, keep: set[str]
) -> int:
    """Most bytes alive at once when ``nodes`` run in order; ``keep`` stays alive to the end."""
    last = {i: k for k, n in enumerate(nodes) for i in n.inputs}
    own_nodes = {n.name for n in nodes}
    alive, peak = 0, 0
    for k, node in enumerate(nodes):
        own = size[node.name]
        ending = sum(size[i] for i in node.inputs if last[i] == k and i not in keep and i in own_nodes)
        peak = max(peak, alive + beside[node.name] + (0 if node.name in over and ending else own))
        alive += own - ending
    return peak


def frontier(network: Network, places: Mapping[str, Place]) -> NodeSpec | None:
    """The first node that runs per window, if any."""
    return next((n for n in network if not places[n.name].shared), None)
