"""Counts how much of a scan's arithmetic runs in an engine's programs, and how much in torch between them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor
from torch.fx import GraphModule

from fullfield.canonical.form import Canonical
from fullfield.engine.engines.chain import divided, results_of
from fullfield.engine.engines.tiles import pixels_of, window_cells
from fullfield.geometry.tile import TileLayout
from fullfield.graph.calls import op_name
from fullfield.lower.program import lower
from fullfield.operators.counting import whole_macs
from fullfield.planning import Plan

_PRODUCTS = frozenset(
    (
        *("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
        *("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention"),
    )
)


def engine_share(net: Canonical, plan: Plan, layout: TileLayout) -> float:
    """The share of a tile's multiply-adds that an engine other than torch runs, from 0 to 1.

    Args:
        net: the network in canonical form, in float32.
        plan: of the scan.
        layout: of the tile.
    """
    program = lower(net, plan.network, layout, batch=plan.batch, inference=True)
    known: dict[Hashable, int] = {}
    assert isinstance(program.shared, GraphModule)
    counted, tables = _counted(program.shared, [pixels_of(net, plan, layout)], known)
    for count, module in program.windows.items():
        times = sum(box.count == int(count) for box in program.boxes)
        assert isinstance(module, GraphModule)
        found, _ = _counted(module, window_cells(program, int(count), tables), known)
        counted = counted[0] + times * found[0], counted[1] + times * found[1]
    return counted[0] / counted[1] if counted[1] else 1.0


def _counted(
    module: GraphModule, inputs: Sequence[Tensor], known: dict[Hashable, int]
) -> tuple[tuple[int, int], list[Tensor]]:
    """Multiply-adds of a program in the engine and in all, and its results as tensors without data."""
    parts, values, _ = divided(module, inputs)
    total = {True: 0, False: 0}
    for part in parts:
        products = (node for node in part.nodes if op_name(node) in _PRODUCTS)
        total[part.engine] += sum(whole_macs(node, values, known) for node in products)
    return (total[True], sum(total.values())), results_of(module, values)
