"""What a tile costs: multiply-adds and the bytes alive at once. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.tile import TileLayout

_ALLOCATOR = 2.0  # bytes that a process holds over bytes in use, as measured
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

    Every value lives from the node that makes it to its last reader. A windowed operator also holds the strips it
    reads, a second copy of what it reads and writes, which convolution libraries make in their own layout, and what
    ``_beside`` counts. Of all that, allocators keep a share that they cannot give out again; the programs add theirs.
    """
    windows = layout.windows[0] * layout.windows[1]
    batch = min(batch, windows)
    shared = [n for n in network if n.name in layout.y]
    rest = [n for n in network if n.name not in layout.y]
    size = {n.name: layout.cells(n.name) * n.elements * itemsize for n in shared}
    heads = {n.name for n in network if _covers(n, network) and (n.name not in layout.y or layout.few(n.name))}
    beside = {n.name: _beside(n, layout.cells(n.name), itemsize) for n in shared}
    beside |= {name: windows * network[network[name].inputs[0]].window_elements * itemsize for name in heads}
    shared_peak = _peak(shared, size, beside, keep=set(layout.crossing))
    window_size = {n.name: n.window_elements * itemsize for n in network}
    gathered = sum(window_size[name] for name in layout.crossing) if rest else 0
    held = sum(size[name] for name in layout.crossing)
    scores = windows * network.output.window_elements * itemsize
    batch_size = {name: batch * size for name, size in window_size.items()}
    beside |= {n.name: 0 if n.name in heads else _beside(n, batch * math.prod(n.shape[-2:]), itemsize) for n in rest}
    window_peak = held + 2 * scores + batch * gathered + _peak(rest, batch_size, beside, keep=set()) if rest else 0
    cut = [n for n in shared if any(c.cut and c.cut.ratio > 1 for c in (layout.y[n.name], layout.x[n.name]))]
    rearranged = 2 * sum(size[n.name] + sum(size[i] for i in n.inputs) for n in cut)
    families = sum(len(layout.y[n.name].families) * len(layout.x[n.name].families) for n in shared)
    calls = families + len(rest) * -(-windows // batch)
    return Cost(
        shared_macs=sum(layout.cells(n.name) * n.macs for n in shared),
        window_macs=windows * sum(n.window_macs for n in rest),
        moved_bytes=rearranged + sum(size.values()) + windows * (gathered + sum(window_size[n.name] for n in rest)),
        peak_bytes=int(_ALLOCATOR * max(shared_peak + scores, window_peak)) + _PROGRAM * calls,
        calls=calls,
    )


def crop_macs(network: Network) -> int:
    """Multiply-adds of one window by itself."""
    return sum(n.window_macs for n in network)


def _beside(node: NodeSpec, cells: int, itemsize: int) -> int:
    """Bytes that a convolution holds beside its cells: its weights laid out anew, twice on the way.

    Outside of 32 bits torch multiplies matrices on CPUs: there every cell's taps stand side by side, too.
    """
    if node.kind != "windowed":
        return 0
    taps = cells * node.macs // node.elements if itemsize != 4 else 0
    return (2 * node.macs + taps) * itemsize


def _covers(node: NodeSpec, network: Network) -> bool:
    """Whether a node is a convolution as large as its map, which runs as a matrix product on windows' own cells."""
    return node.kind == "windowed" and all(
        op.extent == n and op.low == op.high == 0
        for op, n in zip(node.ops, network[node.inputs[0]].shape[-2:], strict=True)
    )


def _peak(nodes: list[NodeSpec], size: Mapping[str, int], beside: Mapping[str, int], *, keep: set[str]) -> int:
    """Most bytes alive at once when ``nodes`` run in order; ``keep`` stays alive to the end."""
    last = {i: k for k, n in enumerate(nodes) for i in n.inputs}
    own_nodes = {n.name for n in nodes}
    alive, peak = 0, 0
    for k, node in enumerate(nodes):
        inputs = sum(size[i] for i in node.inputs)
        own = size[node.name]
        work = 2 * inputs + own + beside[node.name] if node.kind == "windowed" else inputs
        peak = max(peak, alive + own + work)
        alive += own
        alive -= sum(size[i] for i in node.inputs if last[i] == k and i not in keep and i in own_nodes)
    return peak


def frontier(network: Network, places: Mapping[str, Place]) -> NodeSpec | None:
    """The first node that runs per window, if any."""
    return next((n for n in network if not places[n.name].shared), None)
