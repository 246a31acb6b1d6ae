"""What a tile's programs take where an engine compiles them: values, buffers and weights. Imports no torch.

Where cells of several families are put together, the moves between them run in torch, and what lies between two moves
is one program. Its buffers, and its weights in an order of its own, it keeps as long as it lives.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from fullfield.geometry.network import Network, NodeSpec
from fullfield.geometry.region import Pair
from fullfield.geometry.strip import Slide, Strip
from fullfield.geometry.tile import TileLayout
from fullfield.planning.mac_kinds import covers, spreads_taps

CACHED_PROGRAMS = 16  # of a network, kept from tile to tile and from scan to scan
_POOL_OPERATORS = 6  # a pool over whole windows is 34 slices and sums a family, of a sixth of others' memory
IN_TORCH = frozenset(  # operators of fullfield's own that no engine has: torch runs them between two programs
    (
        *("coupled_probabilities", "fake_quantise", "feature_l2_pool", "fft_conv2d", "l2_pool2d"),
        *("local_response_norm", "local_response_norm_within", "locally_connected2d", "neighbourhood"),
        "variance_pool",
    )
)
_TORCH_COPIES = 4  # of the largest family that such an operator holds: a response norm's squares, padded, mean, power
_IN_TURN = 2  # buffers that a run of operators takes: one is read while the other is written


@dataclass(frozen=True)
class ProgramCost:
    """The memory of a tile's programs, bytes.

    Args:
        live: most that is held at once outside of programs: tables, and what the running one reads and gives.
        buffers: of values that programs keep for themselves, of all together.
        largest_buffers: the same of the program that has most.
        convolved: weights of convolutions, once for each program that uses them.
        multiplied: weights of linear layers, likewise.
        operators: that are compiled, those merged with a convolution left out.
    """

    live: int = 0
    buffers: int = 0
    largest_buffers: int = 0
    convolved: int = 0
    multiplied: int = 0
    operators: int = 0


def program_cost(network: Network, layout: TileLayout, *, batch: int, itemsize: int) -> ProgramCost:
    """The memory of a tile's programs.

    Args:
        network: the network.
        layout: of the tile.
        batch: windows at a time where the network runs per window.
        itemsize: bytes of one number.
    """
    window_size = {n.name: n.window_elements * n.itemsize_factor * itemsize for n in network}
    shared = _shared(network, layout, itemsize)
    windows = _windows(network, layout, window_size, batch)
    parts = [*shared.parts.values(), *windows]
    buffers = [part.buffers for part in parts]
    return ProgramCost(
        live=shared.live(windows),
        buffers=sum(buffers),
        largest_buffers=max(buffers, default=0),
        convolved=itemsize * sum(part.convolved for part in parts),
        multiplied=itemsize * sum(part.multiplied for part in parts),
        operators=sum(part.operators for part in parts),
    )


def shared_parts(network: Network, layout: TileLayout, *, itemsize: int) -> list[PredictedPart]:
    """The programs of what a tile's windows share, in the order in which they run; without those that compute nothing.

    Args:
        network: the network.
        layout: of the tile.
        itemsize: bytes of one number.
    """
    return [part for _, part in sorted(_shared(network, layout, itemsize).parts.items()) if part.operators]


def _shared(network: Network, layout: TileLayout, itemsize: int) -> _Shared:
    nodes = [n for n in network if n.name in layout.y]
    size = {n.name: layout.cells(n.name) * n.elements * n.itemsize_factor * itemsize for n in nodes}
    return _Shared(network, layout, size, itemsize)


def weights_of(node: NodeSpec) -> int:
    """Numbers of the weights of a convolution or a linear layer."""
    if node.kind != "whole":
        return node.macs * node.itemsize_factor
    if node.op == "conv2d":
        return node.macs * node.itemsize_factor // math.prod(node.shape[-2:])
    return node.macs * node.itemsize_factor * node.shape[-1] // max(1, math.prod(node.shape))


def strip_cells(node: NodeSpec, layout: TileLayout) -> list[int]:
    """Cells of the strips that are put together for the families of a node, the interior's first, if there is one.

    None where it reads no neighbours, or adds up sums of families instead, as pools that read whole windows do.
    """
    y, x = layout.y[node.name], layout.x[node.name]
    if node.kind != "windowed" or pools_windows(node) or _reads_one_cell(node):
        return []
    if y.families == x.families == ("interior",) and not filled_cells(node, layout):
        return []
    return _read_cells(node, node.inputs[0], layout)


def _read_cells(node: NodeSpec, source: str, layout: TileLayout) -> list[int]:
    """Cells that the families of a node read of one input, the interior's first, if there is one."""
    y, x = layout.y[node.name], layout.x[node.name]
    along = (
        {f: axis.strips[f][source].length * axis.maps(f, count) for f in axis.families}
        for axis, count in zip((y, x), layout.windows, strict=True)
    )
    rows, columns = along
    inner = rows.get("interior", 0) * columns.get("interior", 0)
    others = [a * b for fy, a in rows.items() for fx, b in columns.items() if not fy == fx == "interior"]
    return [inner, *others]


def filled_cells(node: NodeSpec, layout: TileLayout) -> list[int]:
    """Cells of each strip of a node that are filled as padding: they do not exist on all maps of the interior."""
    if layout.shifts == (1, 1):
        return []
    axes = tuple(zip((layout.y[node.name], layout.x[node.name]), layout.windows, strict=True))
    found = []
    for family in itertools.product(*(axis.families for axis, _ in axes)):
        strips = [next(iter(axis.strips[f].values())) for (axis, _), f in zip(axes, family, strict=True)]
        if not any(strip.inside for strip in strips):
            continue
        maps = [axis.maps(f, count) for (axis, count), f in zip(axes, family, strict=True)]
        cells = [n * strip.unpadded for n, strip in zip(maps, strips, strict=True)]
        exist = [sum(b - a for a, b in s.inside) if s.inside else n for s, n in zip(strips, cells, strict=True)]
        found.append(math.prod(cells) - math.prod(exist))
    return found


def pools_windows(node: NodeSpec) -> bool:
    """Whether a node is a pool in which every cell of a window's border reads all of the window."""
    return any(op.edge == "inside" for op in node.ops)


def _reads_one_cell(node: NodeSpec) -> bool:
    """Whether each cell of a windowed node is computed from the same cell of its input."""
    return all(op.kernel == 1 and op.stride == 1 and not (op.low or op.high) for op in node.ops)


@dataclass
class PredictedPart:
    """One program.

    Args:
        inputs: bytes of each value that it reads.
        outputs: bytes of each value that it gives.
        buffers: bytes of values that it keeps for itself.
        convolved: numbers of the weights of its convolutions.
        multiplied: the same of its linear layers.
        operators: that are compiled, those merged with a convolution left out.
    """

    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    buffers: int = 0
    convolved: int = 0
    multiplied: int = 0
    operators: int = 0


class _Shared:
    """The programs of what windows share: one for each level, which is one more behind every move of cells."""

    def __init__(self, network: Network, layout: TileLayout, size: Mapping[str, int], itemsize: int) -> None:
        self.network, self.layout, self.size, self.itemsize = network, layout, size, itemsize
        self.level: dict[str, int] = {}
        self.last: dict[str, int] = {}  # level of the last program that reads a node's table
        self.columns: set[str] = set()  # nodes that are computed as one table
        self.torch: set[str] = set()  # nodes that torch runs between two programs
        self.scratch: defaultdict[int, int] = defaultdict(int)  # bytes that these hold besides, by level
        self.parts: defaultdict[int, PredictedPart] = defaultdict(PredictedPart)
        nodes = [n for n in network if n.name in layout.y]
        self.strips = {n.name: strip_cells(n, layout) for n in nodes if n.inputs}
        self.tables: set[str] = set()  # nodes whose families are put together in one table
        self.whole: set[tuple[str, int]] = set()  # nodes of which a level's program reads all cells, and the level
        for node in nodes:
            self._place(node)
            self._count(node)
        for name in self.last:
            self.parts[self.level[name]].outputs += self._pieces(name)
        self._count_buffers(nodes)

    def _place(self, node: NodeSpec) -> None:
        """Finds the level of a node, and what the program there reads of earlier ones."""
        name, inputs = node.name, node.inputs
        if not inputs:
            self.level[name] = 0
            return
        if _is_in_torch(node, self.network):  # after the program of its inputs, and before that of its readers
            self.torch.add(name)
            level = max(self.level[i] for i in inputs)
            self.scratch[level] = max(self.scratch[level], _TORCH_COPIES * max(self._pieces(name)))
            self.level[name] = level
            self.last |= {i: max(self.last.get(i, 0), level) for i in inputs}
            self.last |= {name: level} if name in self.layout.frontier_inputs else {}
            return
        level = max(self.level[i] + (i in self.torch) for i in inputs)
        if node.macs and covers(node, self.network) and self.layout.head_as_matmul(name):
            level += 1
            (source,) = inputs
            own = self.network[source]
            windows = math.prod(self.layout.windows)
            self.parts[level].inputs.append(windows * own.window_elements * own.itemsize_factor * self.itemsize)
            self.last[source] = level
            self.tables.add(source)
        elif strips := self.strips[name]:
            level += 1
            (source,) = inputs
            each = self.network[source].elements * self.network[source].itemsize_factor * self.itemsize
            self.parts[level].inputs += [cells * each for cells in strips]
            if filled_cells(node, self.layout):  # in torch, in a copy of each
                self.scratch[level] = max(self.scratch[level], each * max(strips))
            self.last[source] = level
            self.tables.add(source)
        else:
            gathered = {i: self._gathered(node, i) for i in inputs}
            if self._is_at_once(node):
                self.columns.add(name)
                self.tables |= {name, *inputs}
                level = max(level, *(self.level[i] + (i not in self.columns) for i in inputs))
            else:
                level = max(self.level[i] + (i in self.torch or i in self.columns or bool(gathered[i])) for i in inputs)
                self.tables |= {i for i in inputs if gathered[i]}
            for i in inputs:
                if self.level[i] < level:
                    self.last[i] = level
                    if gathered[i]:
                        self.parts[level].inputs += gathered[i]
                    elif (i, level) not in self.whole:
                        self.whole.add((i, level))
                        self.parts[level].inputs += self._pieces(i)
        if name in self.layout.frontier_inputs:
            self.last.setdefault(name, level)
        self.level[name] = level

    def _count(self, node: NodeSpec) -> None:
        """Counts a node's operators and weights."""
        if not node.inputs or node.name in self.torch:
            return
        part = self.parts[self.level[node.name]]
        if node.op == "linear":
            part.multiplied += weights_of(node)
        elif node.scratch.weights:
            part.convolved += weights_of(node)
        if _is_merged(node, self.network):
            return
        pieces = len(self._pieces(node.name))
        each = _POOL_OPERATORS if pieces > 1 and pools_windows(node) else _operators(node, self.layout)
        part.operators += pieces * each

    def _count_buffers(self, nodes: list[NodeSpec]) -> None:
        """Counts values that a program keeps for itself: outputs lie in memory outside; families come in turn."""
        reads = {n.name: self._read_by(n) for n in nodes}
        reader = {i: n.name for n in nodes for i in reads[n.name]}
        held: dict[str, int] = {}
        for node in nodes:
            level = self.level[node.name]
            if node.inputs and node.name in reader and node.name not in self.last and node.name not in self.torch:
                held[node.name] = max(self._pieces(node.name))
            part = self.parts[level]
            within = sum(size for name, size in held.items() if self.level[name] == level)
            part.buffers = max(part.buffers, within + self._taps(node))
            for i in reads[node.name]:
                if reader[i] == node.name:
                    held.pop(i, None)

    def _taps(self, node: NodeSpec) -> int:
        """Bytes of what each tap of a max pool reads, where they are spread: a value of its own."""
        if not (node.scratch.index_bytes and spreads_taps(node, self.layout)):
            return 0
        return max(op.kernel for op in node.ops) * max(self._pieces(node.name))

    def _read_by(self, node: NodeSpec) -> list[str]:
        """The nodes that an operator reads; of one that is merged with a convolution, those that both read."""
        found: list[str] = []
        for i in node.inputs:
            merged = _is_merged(node, self.network) and self.network[i].scratch.weights
            found += self.network[i].inputs if merged else [i]
        return found

    def _pieces(self, name: str) -> list[int]:
        """Bytes of every family of a node; of all where they are computed at once."""
        if name in self.columns:
            return [self.size[name]]
        y, x = self.layout.y[name], self.layout.x[name]
        along = (
            [axis.computed(f) * axis.maps(f, count) for f in axis.families]
            for axis, count in zip((y, x), self.layout.windows, strict=True)
        )
        rows, columns = along
        each = self.size[name] // max(1, sum(rows) * sum(columns))
        return [a * b * each for a in rows for b in columns]

    def _gathered(self, node: NodeSpec, source: str) -> list[int]:
        """Bytes that each family of a node reads of one input; none where it reads the same family of that, whole."""
        own = self.layout.y[node.name], self.layout.x[node.name]
        read = self.layout.y[source], self.layout.x[source]
        if node.kind != "cell" or all(axis.families == ("interior",) for axis in own):
            return []
        if all(
            to.is_whole(f, axis.strips[f][source]) for axis, to in zip(own, read, strict=True) for f in axis.families
        ):
            return []
        each = self.network[source].elements * self.network[source].itemsize_factor * self.itemsize
        return [cells * each for cells in _read_cells(node, source, self.layout)]

    def _is_at_once(self, node: NodeSpec) -> bool:
        """Whether all families are computed as one table, as ``lower.shared`` decides."""
        if self.layout.y[node.name].families == self.layout.x[node.name].families == ("interior",):
            return False
        if node.cells_first or any(self.network[i].cells_first for i in node.inputs):
            return False
        if node.kind == "windowed":
            (source,) = node.inputs
            grows = node.elements >= self.network[source].elements
            return _reads_one_cell(node) and all(op.up == 1 for op in node.ops) and (grows or source in self.tables)
        return any(i in self.tables and not self._gathered(node, i) for i in node.inputs)

    def live(self, windows: list[PredictedPart]) -> int:
        """Most bytes that are held at once outside of programs.

        Strips are put together of tables, the program runs, and its outputs are put together into tables.
        """
        most = [0]
        for level, part in self.parts.items():
            read = [n for n, last in self.last.items() if self.level[n] < level <= last]
            later = sum(self.size[n] for n in read if self.last[n] > level)
            given = sum(self.size[n] for n in self.last if self.level[n] == level and n not in self.columns)
            strips, outputs = sum(part.inputs), sum(part.outputs)
            most.append(strips + sum(self.size[n] for n in read) + self.scratch[level])
            most.append(later + outputs + max(strips, given) + self.scratch[level])
        tables = sum(self.size[n] for n in self.layout.frontier_inputs)
        return max(most + [tables + 2 * sum(part.inputs) + sum(part.outputs) for part in windows])


def _is_in_torch(node: NodeSpec, network: Network) -> bool:
    """Whether torch runs a node: engines lack it, or it reads or gives numbers of another type."""
    return node.op in IN_TORCH or any(n.itemsize_factor > 1 for n in (node, *(network[i] for i in node.inputs)))


def _operators(node: NodeSpec, layout: TileLayout) -> int:
    """Operators that compute one family of a node.

    Where cells under a kernel are added in pairs, these are slices and sums, of a sixth of others' memory.
    """
    if node.kind != "windowed" or node.scratch.weights or not node.scratch.results:
        return 1
    axes = (layout.y[node.name], layout.x[node.name])
    strips = (next(iter(axis.strips[axis.families[0]].values())) for axis in axes)
    return 1 + sum(_sum_operators(s, op.kernel) for s, op in zip(strips, node.ops, strict=True)) // 6


def _sum_operators(strip: Strip, taps: int) -> int:
    """Slices and additions of sums along one axis, as ``operators.strips.sums_along`` writes them."""
    stride, dilation = (strip.how.stride, strip.how.dilation) if isinstance(strip.how, Slide) else (1, 1)
    few = taps * ((strip.length - dilation * (taps - 1)) // stride + 1) <= 2 * taps.bit_length() * strip.length
    return 2 * taps if few else 3 * taps.bit_length()


def _is_merged(node: NodeSpec, network: Network) -> bool:
    """Whether an operator is merged with the convolution before it."""
    may = node.overwrites > 0 or node.op == "clamp"
    return may and any(network[i].scratch.weights > 0 for i in node.inputs)


def _windows(network: Network, layout: TileLayout, window_size: Mapping[str, int], batch: int) -> list[PredictedPart]:
    """The programs of what runs per window: one for each size of batch."""
    rest = [n for n in network if n.name not in layout.y]
    if not rest:
        return []
    last = {i: k for k, n in enumerate(rest) for i in n.inputs}
    buffers, held = _IN_TURN * max(window_size[n.name] for n in rest), 0
    for k, node in enumerate(rest):
        held += window_size[node.name]
        buffers = max(buffers, held)
        held -= sum(window_size[i] for i in node.inputs if last[i] == k and i not in layout.y)
    in_torch = {n.name for n in rest if _is_in_torch(n, network)}
    scratch = (2 + _TORCH_COPIES) * max((window_size[name] for name in in_torch), default=0)
    linear = sum(weights_of(n) for n in rest if n.op == "linear")
    convolved = sum(weights_of(n) for n in rest if n.op != "linear" and (n.scratch.weights or n.op == "conv2d"))
    return [
        PredictedPart(
            inputs=[count * window_size[i] for i in layout.frontier_inputs],
            outputs=[count * scratch],
            buffers=count * buffers,
            convolved=convolved,
            multiplied=linear,
            operators=sum(not _is_merged(n, network) and n.name not in in_torch for n in rest),
        )
        for count in _batch_sizes(layout.windows, batch)
    ]


def _batch_sizes(windows: Pair, batch: int) -> set[int]:
    """The sizes of the batches into which a tile's windows are split, several full rows or a part of one."""
    rows, columns = windows
    if columns > batch:
        return {min(batch, columns - j) for j in range(0, columns, batch)}
    step = max(1, batch // columns)
    return {columns * min(step, rows - i) for i in range(0, rows, step)}
