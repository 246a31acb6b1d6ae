"""What a tile costs: multiply-adds and the bytes alive at once. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fullfield.geometry.network import Network, NodeSpec, Place
from fullfield.geometry.tile import TileLayout


@dataclass(frozen=True)
class Cost:
    """The cost of one tile, or the sum over many.

    Args:
        shared_macs: multiply-adds of cells that windows share, borders included.
        window_macs: multiply-adds of what runs per window.
        moved_bytes: bytes of all values written once, the measure of memory traffic.
        peak_bytes: most bytes alive at once.
    """

    shared_macs: int
    window_macs: int
    moved_bytes: int
    peak_bytes: int

    @property
    def macs(self) -> int:
        """All multiply-adds."""
        return self.shared_macs + self.window_macs


def tile_cost(network: Network, layout: TileLayout, *, batch: int, itemsize: int) -> Cost:
    """The cost of one tile.

    Every value lives from the node that makes it to its last reader. A windowed operator also holds the strips it
    reads and a second copy of what it reads and writes, which convolution libraries make in their own layout.
    """
    windows = layout.windows[0] * layout.windows[1]
    batch = min(batch, windows)
    shared = [n for n in network if n.name in layout.y]
    rest = [n for n in network if n.name not in layout.y]
    size = {n.name: layout.cells(n.name) * n.elements * itemsize for n in shared}
    shared_peak = _peak(shared, size, keep=set(layout.crossing))
    window_size = {n.name: n.window_elements * itemsize for n in network}
    gathered = sum(window_size[name] for name in layout.crossing) if rest else 0
    held = sum(size[name] for name in layout.crossing)
    scores = windows * network.output.window_elements * itemsize
    window_peak = held + 2 * scores + batch * (gathered + _peak(rest, window_size, keep=set())) if rest else 0
    cut = [n for n in shared if any(c.cut and c.cut.ratio > 1 for c in (layout.y[n.name], layout.x[n.name]))]
    rearranged = 2 * sum(size[n.name] + sum(size[i] for i in n.inputs) for n in cut)
    return Cost(
        shared_macs=sum(layout.cells(n.name) * n.macs for n in shared),
        window_macs=windows * sum(n.window_macs for n in rest),
        moved_bytes=rearranged + sum(size.values()) + windows * (gathered + sum(window_size[n.name] for n in rest)),
        peak_bytes=max(shared_peak + scores, window_peak),
    )


def crop_macs(network: Network) -> int:
    """Multiply-adds of one window by itself."""
    return sum(n.window_macs for n in network)


def _peak(nodes: list[NodeSpec], size: Mapping[str, int], *, keep: set[str]) -> int:
    """Most bytes alive at once when ``nodes`` run in order; ``keep`` stays alive to the end."""
    last = {i: k for k, n in enumerate(nodes) for i in n.inputs}
    own_nodes = {n.name for n in nodes}
    alive, peak = 0, 0
    for k, node in enumerate(nodes):
        inputs = sum(size[i] for i in node.inputs)
        own = size[node.name]
        work = 2 * inputs + own if node.kind == "windowed" else inputs
        peak = max(peak, alive + own + work)
        alive += own
        alive -= sum(size[i] for i in node.inputs if last[i] == k and i not in keep and i in own_nodes)
    return peak


def frontier(network: Network, places: Mapping[str, Place]) -> NodeSpec | None:
    """The first node that runs per window, if any."""
    return next((n for n in network if not places[n.name].shared), None)
