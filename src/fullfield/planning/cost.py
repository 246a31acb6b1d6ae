"""What a tile costs: multiply-adds, and the bytes in use at once. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.region import Pair
from fullfield.geometry.tile import AxisCells, TileLayout
from fullfield.planning.constants import CONSTANTS
from fullfield.planning.mac_kinds import MacKinds, covers, mac_kind, spreads_taps
from fullfield.planning.programs import filled_cells, pools_windows, strip_cells, weights_of

_FILL_INDICES = 2  # of four bytes, for each cell that is filled as padding
KINDS = 4  # of tiles, whose programs ``CostConstants.call_bytes`` counts


@dataclass(frozen=True)
class Cost:
    """The cost of one tile.

    Args:
        shared_macs: multiply-adds of cells that windows share, borders included.
        window_macs: multiply-adds of what runs per window.
        moved_bytes: bytes of all values written once, and of linear layers' weights for every call, the measure of
            memory traffic.
        weight_bytes: weights of convolutions, once for every call.
        peak_bytes: most bytes in use at once, programs of ``KINDS`` kinds of tiles included.
        calls: operators called, counted for each family of cells and each batch of windows.
        region: height and width of the image's part that the tile reads, px.
        kinds: multiply-adds by kind, where they are not those of dense convolutions.
        prepared_calls: operators of the tile's programs: those called, each once for all batches of windows.
        kind_bytes: bytes of the programs of one more kind of tile.
        large_bytes: of ``peak_bytes``, values that get pages of their own from the system.
    """

    shared_macs: int
    window_macs: int
    moved_bytes: int
    peak_bytes: int
    calls: int = 0
    region: Pair = (0, 0)
    weight_bytes: int = 0
    kinds: MacKinds = field(default_factory=MacKinds)
    prepared_calls: int = 0
    kind_bytes: int = 0
    large_bytes: int = 0

    def peak_with(self, kinds: int) -> int:
        """Most bytes in use at once where programs of so many kinds of tiles are in memory."""
        return self.peak_bytes + max(0, kinds - KINDS) * self.kind_bytes

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.shared_macs + self.window_macs


def tile_cost(network: Network, layout: TileLayout, *, batch: int, itemsize: int) -> Cost:
    """The cost of one tile.

    A value is in use from the operator that computes it to its last reader, which may overwrite it. An operator
    allocates scratch values besides. On the heap, pieces that smaller values leave stay idle; programs take memory too.
    """
    windows = math.prod(layout.windows)
    batch = min(batch, windows)
    shared = [n for n in network if n.name in layout.y]
    rest = [n for n in network if n.name not in layout.y]
    size = {n.name: layout.cells(n.name) * n.elements * n.itemsize_factor * itemsize for n in shared}
    window_size = {n.name: n.window_elements * n.itemsize_factor * itemsize for n in network}
    gathered = sum(window_size[name] for name in layout.frontier_inputs) if rest else 0
    cut = [n for n in shared if not all(_is_uncut(axis[n.name]) for axis in (layout.y, layout.x))]
    rearranged = 2 * sum(size[n.name] + sum(size[i] for i in n.inputs) for n in cut)
    filled = [cells for n in shared if n.inputs for cells in filled_cells(n, layout)]
    families = sum(_family_calls(n, layout) for n in shared) + len(filled)
    calls = families + len(rest) * -(-windows // batch)
    strips = {n.name: sum(strip_cells(n, layout)[1:]) for n in shared if n.inputs}
    taken = sum(windows * math.prod(network[name].shape[-2:]) for name in layout.frontier_inputs) if rest else 0
    operators, indices = families + 2 * len(rest), sum(strips.values()) + taken + _FILL_INDICES * sum(filled)
    programs = _program_bytes(operators, indices, network, itemsize)
    pairs = ((strips[n.name], network[i]) for n in shared for i in n.inputs)
    strip_bytes = sum(cells * i.elements * i.itemsize_factor * itemsize for cells, i in pairs)
    packed = itemsize * _packed(shared, layout)
    convolved = itemsize * sum(weights_of(n) for n in rest if n.scratch.weights or _is_whole_convolution(n))
    linear = itemsize * sum(weights_of(n) for n in rest if n.op == "linear")
    batches = -(-windows // batch)
    weights = packed + batches * convolved
    top, bottom, left, right = layout.pixels(network.nodes[0].name)
    moved = rearranged + strip_bytes + batches * linear + sum(size.values())
    moved += windows * (gathered + sum(window_size[n.name] for n in rest))
    kinds = [(mac_kind(n, network, layout), layout.cells(n.name) * n.macs) for n in shared if n.macs]
    kinds += [(mac_kind(n, network), windows * n.window_macs) for n in rest if n.macs]
    peak, large = _peak_bytes(network, layout, size, batch, itemsize)
    return Cost(
        shared_macs=sum(layout.cells(n.name) * n.macs for n in shared),
        window_macs=windows * sum(n.window_macs for n in rest),
        moved_bytes=moved,
        peak_bytes=peak + programs,
        calls=calls,
        region=(bottom - top, right - left),
        weight_bytes=weights,
        kinds=MacKinds.of(kinds),
        prepared_calls=families + len(rest),
        kind_bytes=CONSTANTS.call_bytes // KINDS * operators + 4 * indices,
        large_bytes=large,
    )


def _family_calls(node: NodeSpec, layout: TileLayout) -> int:
    """Operators that are called for a shared node: one for each of its families, several where it is a sum of sums."""
    families = len(layout.y[node.name].families) * len(layout.x[node.name].families)
    return families * (CONSTANTS.pool_calls if families > 1 and pools_windows(node) else 1)


def _is_whole_convolution(node: NodeSpec) -> bool:
    """Whether a node is a convolution behind one that works on the whole window."""
    return node.kind == "whole" and node.op == "conv2d"


def _packed(shared: list[NodeSpec], layout: TileLayout) -> int:
    """Numbers of all weights of shared convolutions, once for each family of cells."""
    return sum(
        n.macs * n.itemsize_factor * len(layout.y[n.name].families) * len(layout.x[n.name].families)
        for n in shared
        if n.scratch.weights
    )


def crop_macs(network: Network) -> int:
    """Multiply-adds of one window by itself."""
    return sum(n.window_macs for n in network)


def frontier(network: Network, places: Mapping[str, Place]) -> NodeSpec | None:
    """The first node that runs per window, if any."""
    return next((n for n in network if not places[n.name].shared), None)


def _program_bytes(calls: int, gathered: int, network: Network, itemsize: int) -> int:
    """Bytes of a tile's programs: their operators, the indices of what they gather, and weights in another order."""
    convolutions = [n for n in network if n.scratch.weights and not covers(n, network)]
    ordered = sum(n.macs for n in convolutions if max(op.kernel for op in n.ops) > 1)
    return CONSTANTS.call_bytes * calls + 4 * gathered + ordered * itemsize


def _peak_bytes(
    network: Network, layout: TileLayout, size: Mapping[str, int], batch: int, itemsize: int
) -> tuple[int, int]:
    """Most bytes in use while a tile is computed, idle pieces of the heap included; and those of large values."""
    shared = [n for n in network if n.name in layout.y]
    rest = [n for n in network if n.name not in layout.y]
    batch_size = {n.name: batch * n.window_elements * n.itemsize_factor * itemsize for n in network}
    overwriting = _overwriting(network)
    tile = _Stage(
        shared,
        size,
        {n.name: _shared_scratch(n, network, layout, size, itemsize) for n in shared},
        overwriting,
        frozenset(layout.frontier_inputs),
    )
    windows = _Stage(
        rest,
        batch_size,
        {n.name: _window_scratch(n, network, layout, batch_size, batch, itemsize) for n in rest},
        overwriting,
    )
    scores = math.prod(layout.windows) * network.output.window_elements * itemsize

    def peak(below: float) -> int:
        """Most bytes in use, of values smaller than ``below``."""
        first = scores + tile.peak(below)
        if not rest:
            return first
        held = [s[name] for s in (size, batch_size) for name in layout.frontier_inputs]
        return max(first, _total(held, below) + 2 * scores + windows.peak(below))

    most, on_heap = peak(math.inf), peak(CONSTANTS.heap_bytes)
    return most + int(CONSTANTS.idle_heap * on_heap), most - on_heap


@dataclass(frozen=True)
class _Stage:
    """Operators that run one after the other.

    Args:
        nodes: in this order.
        size: bytes of every result.
        scratch: bytes of each value that an operator allocates besides its result.
        overwriting: nodes that write over an input.
        keep: nodes whose results stay in use to the end.
    """

    nodes: list[NodeSpec]
    size: Mapping[str, int]
    scratch: Mapping[str, list[int]]
    overwriting: Set[str]
    keep: Set[str] = frozenset()

    def peak(self, below: float) -> int:
        """Most bytes in use at once, of values smaller than ``below``."""
        size = {n.name: _total([self.size[n.name]], below) for n in self.nodes}
        last = {i: k for k, n in enumerate(self.nodes) for i in n.inputs}
        in_use, peak = 0, 0
        for k, node in enumerate(self.nodes):
            ending = sum(size[i] for i in node.inputs if last[i] == k and i not in self.keep and i in size)
            own = 0 if node.name in self.overwriting and ending else size[node.name]
            peak = max(peak, in_use + _total(self.scratch[node.name], below) + own)
            in_use += size[node.name] - ending
        return peak


def _total(parts: list[int], below: float) -> int:
    return sum(part for part in parts if part < below)


def _shared_scratch(
    node: NodeSpec, network: Network, layout: TileLayout, size: Mapping[str, int], itemsize: int
) -> list[int]:
    """Bytes of the scratch values of an operator on all of a tile's cells."""
    axes = layout.y[node.name], layout.x[node.name]
    one_map = itemsize == 4 and all(c.families == ("interior",) and _is_uncut(c) for c in axes)
    copies = _copies(node, size, itemsize, one_map=one_map)
    if node.inputs and filled_cells(node, layout):
        copies += [size[i] for i in node.inputs]  # unless the only reader fills them where they are
    if not one_map:  # families are put together into a table once they are computed
        copies.append(max(0, size[node.name] - sum(copies)))
    if layout.head_as_matmul(node.name) and covers(node, network):
        return [*copies, _gathered_bytes(node, network, layout, itemsize)]
    return [*copies, *_scratch(node, size, layout.cells(node.name), itemsize, dilated=spreads_taps(node, layout))]


def _window_scratch(
    node: NodeSpec, network: Network, layout: TileLayout, size: Mapping[str, int], batch: int, itemsize: int
) -> list[int]:
    """Bytes of the scratch values of an operator on one batch of windows."""
    copies = _copies(node, size, itemsize, one_map=False)
    if covers(node, network):
        return [*copies, _gathered_bytes(node, network, layout, itemsize)]
    return [*copies, *_scratch(node, size, batch * math.prod(node.shape[-2:]), itemsize, dilated=False)]


def _gathered_bytes(node: NodeSpec, network: Network, layout: TileLayout, itemsize: int) -> int:
    """Bytes of all windows' own cells of a node's input, side by side for a matrix product."""
    return math.prod(layout.windows) * network[node.inputs[0]].window_elements * itemsize


def _scratch(node: NodeSpec, size: Mapping[str, int], cells: int, itemsize: int, *, dilated: bool) -> list[int]:
    """Bytes of the scratch values that the operator's record states, for so many cells."""
    scratch = node.scratch
    weights = [node.macs * itemsize] * scratch.weights
    taps = cells * node.macs // node.elements * itemsize if scratch.taps and itemsize != 4 else 0
    indices = scratch.index_bytes * cells * node.elements if dilated else 0
    return [*weights, taps, indices, *[size[node.name]] * scratch.results]


def _copies(node: NodeSpec, size: Mapping[str, int], itemsize: int, *, one_map: bool) -> list[int]:
    """Bytes of copies that a node makes of its inputs: padded, or joined from several pieces.

    Of numbers that are not of 32 bits, convolution libraries copy all to an order of their own.

    Args:
        node: any.
        size: bytes of every node.
        itemsize: bytes of one number.
        one_map: its cells are one map, computed from one piece.
    """
    inputs = [size[i] for i in node.inputs]
    if node.kind != "windowed":
        return [] if one_map else inputs
    order = [*inputs, size[node.name]] if itemsize != 4 else []
    return order + (inputs if not one_map or any(op.low or op.high for op in node.ops) else [])


def _is_uncut(cells: AxisCells) -> bool:
    """Whether no cells along an axis are rearranged into fragments."""
    return cells.cut is None or cells.cut.ratio == 1


def _overwriting(network: Network) -> set[str]:
    """The nodes that write over an input: new memory without other readers."""
    readers = Counter(i for n in network for i in n.inputs)
    found = set()
    for node in network:
        inputs = [network[i] for i in node.inputs]
        may = node.kind == "cell" and 0 < node.overwrites == len(inputs)
        alike = len(inputs) == 1 or all(i.shape == node.shape for i in inputs)
        if may and alike and any(readers[i.name] == 1 and i.new_memory for i in inputs):
            found.add(node.name)
    return found
