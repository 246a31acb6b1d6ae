"""The parts into which a lowered program is split, as planning predicts them from integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.fx import Node

from fullfield.canonical.fold import fold_batch_norm
from fullfield.engine.engines.chain import divided
from fullfield.graph.calls import op_name
from fullfield.lower.program import lower
from fullfield.planning.programs import PredictedPart, shared_parts
from tests.architectures import build
from tests.engine.engines.scans import in_float32
from tests.oracle import Scan, captured

NETWORKS = ("resnet18", "mobilenetv2", "densenet", "efficientnet")
EXACT, TWO, CONTEXT = None, 2, 0  # border cells that are computed as in the crop
PRODUCTS = ("conv2d", "linear")
MERGED = ("relu", "hardtanh", "silu", "add", "reshape")  # with the product before them; a view takes no memory
PADS = ("constant_pad_nd",)  # merged with the convolution behind them


@dataclass(frozen=True)
class FoundPart:
    """What an engine's program of one part holds, bytes."""

    inputs: int
    outputs: int
    weights: int
    products: int
    kept: int


def bytes_of(value: Any) -> int:
    return 4 * int(value.numel())


def parts(name: str, cap: int | None) -> tuple[list[FoundPart], list[PredictedPart]]:
    """The parts of the lowered program, and those predicted."""
    net = captured(*build(name))
    scan = Scan(replace(net, graph=fold_batch_norm(net.graph)[0]), cap=cap)
    size = net.window[0] + 16
    ((_, layout, pixels),) = scan.tiles(torch.zeros(1, 3, size, size, dtype=torch.float64), (8, 8), None)
    shared: Any = lower(in_float32(scan.canonical), scan.network, layout, batch=4, inference=True).shared
    split, values, constants = divided(shared, [pixels.float().to("meta")])

    def is_kept(node: Node) -> bool:
        if op_name(node) in ("reshape", *PADS):
            return False
        return op_name(node) not in PRODUCTS or not all(op_name(user) in MERGED for user in node.users)

    found = []
    for part in (part for part in split if part.engine):
        products = [node for node in part.nodes if op_name(node) in PRODUCTS]
        weights = {constants[w].data_ptr(): bytes_of(constants[w]) for n in products for w in n.all_input_nodes[1:2]}
        kept = [bytes_of(values[n]) for n in part.nodes if n not in part.outputs and is_kept(n)]
        inputs, outputs = (sum(bytes_of(values[n]) for n in nodes) for nodes in (part.inputs, part.outputs))
        found.append(FoundPart(inputs, outputs, sum(weights.values()), len(products), max(kept, default=0)))
    return found, shared_parts(scan.network, layout, itemsize=4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_of_an_exact_scan_are_those_predicted(name: str) -> None:
    found, predicted = parts(name, EXACT)
    assert [p.inputs for p in found] == [sum(p.inputs) for p in predicted]
    assert [p.outputs for p in found] == [sum(p.outputs) for p in predicted]
    assert [p.weights for p in found] == [4 * (p.convolved + p.multiplied) for p in predicted]


@pytest.mark.parametrize("name", ["convnext", "convnextv2"])
def test_norms_of_channels_are_computed_family_by_family(name: str) -> None:
    """They bring channels to the end, so that no norm runs at once on the cells of all families."""
    found, predicted = parts(name, EXACT)
    assert [p.inputs for p in found[1:]] == [sum(p.inputs) for p in predicted[1:]]  # the first one reads the image
    assert [p.outputs for p in found] == [sum(p.outputs) for p in predicted]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2", "densenet", "convnext", "lenet5", "vgg"])
def test_heads_of_few_windows_begin_the_parts_predicted(name: str) -> None:
    """In context too they run on every window's own cells, which torch gathers."""
    found, predicted = parts(name, CONTEXT)
    assert len(found) > 1
    assert [p.inputs for p in found[1:]] == [sum(p.inputs) for p in predicted[1:]]
    assert [p.outputs for p in found] == [sum(p.outputs) for p in predicted]
    assert [p.weights for p in found] == [4 * (p.convolved + p.multiplied) for p in predicted]


@pytest.mark.parametrize("name", ["hrnet", "unet"])
def test_upsampled_maps_begin_the_parts_predicted(name: str) -> None:
    """No upsampling runs at once on the cells of all families; what reads such a table takes views of it in torch."""
    found, predicted = parts(name, EXACT)
    assert len(found) == len(predicted)
    assert [p.weights for p in found] == [4 * (p.convolved + p.multiplied) for p in predicted]
    assert max(p.kept for p in found) <= max(p.buffers for p in predicted)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_capped_scan_has_at_most_the_parts_predicted(name: str) -> None:
    found, predicted = parts(name, TWO)
    assert len(found) <= len(predicted)
    assert sum(p.inputs for p in found) <= sum(sum(p.inputs) for p in predicted)
    assert sum(p.outputs for p in found) <= sum(sum(p.outputs) for p in predicted)


@pytest.mark.parametrize("cap", [EXACT, TWO, CONTEXT])
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_products_and_values_that_parts_keep_are_counted(name: str, cap: int | None) -> None:
    found, predicted = parts(name, cap)
    assert sum(p.weights for p in found) == sum(4 * (p.convolved + p.multiplied) for p in predicted)
    assert sum(p.products for p in found) <= sum(p.operators for p in predicted)
    assert max(p.kept for p in found) <= max(p.buffers for p in predicted)
