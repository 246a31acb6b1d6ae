"""The kinds of operators whose multiply-adds take another time than those of dense convolutions. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fullfield.geometry.network import Network, NodeSpec
from fullfield.geometry.strip import Slide
from fullfield.geometry.tile import TileLayout

MacKind = Literal["dense", "pointwise", "depthwise", "dilated", "linear"]


@dataclass(frozen=True)
class MacKinds:
    """Multiply-adds by kind; all others are those of dense convolutions.

    Args:
        pointwise: of convolutions with a kernel of one cell.
        depthwise: of convolutions of each channel by itself.
        dilated: of dense convolutions whose taps lie apart.
        linear: of linear layers, and of convolutions that run as matrix products.
    """

    pointwise: int = 0
    depthwise: int = 0
    dilated: int = 0
    linear: int = 0

    @classmethod
    def of(cls, counts: Iterable[tuple[MacKind, int]]) -> MacKinds:
        """The sums of counts by kind."""
        sums: dict[MacKind, int] = dict.fromkeys(("dense", "pointwise", "depthwise", "dilated", "linear"), 0)
        for kind, count in counts:
            sums[kind] += count
        return cls(sums["pointwise"], sums["depthwise"], sums["dilated"], sums["linear"])


def mac_kind(node: NodeSpec, network: Network, layout: TileLayout | None = None) -> MacKind:
    """The kind of a node's multiply-adds.

    Args:
        node: any.
        network: that it belongs to.
        layout: of the tile, where windows share the node: it may spread its taps.
    """
    if node.op == "linear" or (node.op == "conv2d" and _is_matmul(node, network, layout)):
        return "linear"
    if node.op != "conv2d" or node.kind == "whole":
        return "dense"
    (source,) = node.inputs
    taps = math.prod(op.kernel for op in node.ops)
    if taps == 1:
        return "pointwise"
    if node.macs == node.elements * taps and network[source].elements > 1:
        return "depthwise"
    own = any(op.dilation > 1 for op in node.ops)
    return "dilated" if own or (layout is not None and spreads_taps(node, layout)) else "dense"


def spreads_taps(node: NodeSpec, layout: TileLayout) -> bool:
    """Whether the kernel of a node slides over a tile's cells with its taps apart."""
    axes = layout.y[node.name], layout.x[node.name]
    strips = (strip for axis in axes for by_input in axis.strips.values() for strip in by_input.values())
    return any(isinstance(strip.how, Slide) and strip.how.dilation > 1 for strip in strips)


def covers(node: NodeSpec, network: Network) -> bool:
    """Whether a node is a convolution as large as its map, which runs as a matrix product on windows' own cells."""
    return node.kind == "windowed" and all(
        op.covers(n) for op, n in zip(node.ops, network[node.inputs[0]].shape[-2:], strict=True)
    )


def _is_matmul(node: NodeSpec, network: Network, layout: TileLayout | None) -> bool:
    """Whether a convolution runs as a matrix product."""
    return covers(node, network) and (layout is None or layout.head_as_matmul(node.name))
