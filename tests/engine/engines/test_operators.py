"""Every operator of the engines' table, against torch, for arguments that networks rarely have."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule

from fullfield.engine.engines.chain import Run, UncompiledPart, chained, divided
from fullfield.engine.engines.emission.table import TABLE
from fullfield.layers import custom_operators
from fullfield.planning.programs import IN_TORCH

aten = torch.ops.aten
N, C, H, W = 2, 4, 7, 9


def openvino(source: UncompiledPart) -> Run:
    from fullfield.engine.engines.openvino.engine import compile_part

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return compile_part(source, settings)


def onnxruntime(source: UncompiledPart) -> Run:
    from fullfield.engine.engines.onnxruntime.engine import compile_part

    return compile_part(source, threads=1)


ENGINES: dict[str, Callable[[UncompiledPart], Run]] = {"openvino": openvino, "onnxruntime": onnxruntime}


class Weight:
    """A fixed tensor of a shape."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


POINTWISE = [
    *(aten.abs.default, aten.neg.default, aten.exp.default, aten.erf.default, aten.sin.default, aten.cos.default),
    *(aten.floor.default, aten.ceil.default, aten.sign.default, aten.relu.default, aten.relu6.default),
    *(aten.sigmoid.default, aten.tanh.default, aten.softplus.default, aten.mish.default, aten.hardswish.default),
    *(aten.silu.default, aten.hardsigmoid.default, aten.elu.default, aten.selu.default, aten.leaky_relu.default),
    *(aten.hardtanh.default, aten.gelu.default, aten.square.default, aten.clone.default),
]
CASES: list[tuple[Any, ...]] = [
    *((operator,) for operator in POINTWISE),
    (aten.leaky_relu.default, 0.2),
    (aten.elu.default, 0.5),
    (aten.clamp.default, -0.3),
    (aten.clamp.default, None, 0.4),
    (aten.clamp_min.default, 0.1),
    (aten.prelu.default, Weight(C)),
    (aten.add.Tensor, 2.5),
    (aten.rsub.Scalar, 1.0, 2.0),
    (aten.div.Tensor, 3),
    (aten.mul.Tensor, Weight(C, 1, 1)),
    (aten.maximum.default, Weight(1, C, 1, 1)),
    (aten.pow.Tensor_Scalar, 2.0),
    (aten.conv2d.default, Weight(6, 2, 3, 2), Weight(6), [2, 1], [1, 2], [1, 2], 2),
    (aten.conv2d.padding, Weight(3, C, 4, 3), None, [1, 1], "same"),
    (aten.conv_transpose2d.input, Weight(C, 2, 3, 3), Weight(4), [2, 2], [1, 1], [1, 0], 2),
    (aten.max_pool2d.default, [3, 2], [2, 2], [1, 1], [1, 2], True),
    (aten.max_pool2d.default, [3, 2], [1, 2], [0, 1], [2, 3], True),
    (aten.avg_pool2d.default, [3, 3], [2, 2], [1, 1], True, False),
    (aten.avg_pool2d.default, [3, 3], [2, 2], [1, 1], True, True),
    (aten.avg_pool2d.default, [2, 3], [], [0, 1], False, True, 5),
    (aten.adaptive_avg_pool2d.default, [1, 1]),
    (aten.adaptive_avg_pool2d.default, [7, 3]),
    (aten.adaptive_avg_pool2d.default, [3, 4]),
    (aten.linear.default, Weight(5, W), Weight(5)),
    (aten.matmul.default, Weight(W, 3)),
    (aten.mean.default,),
    (aten.sum.dim_IntList, [1, -1]),
    (aten.amax.default, [2], True),
    (aten.amin.default, [-1]),
    (aten.var.correction, [2, 3]),
    (aten.linalg_vector_norm.default, 2, [1], True),
    (aten.layer_norm.default, [H, W], Weight(H, W), Weight(H, W), 1e-3),
    (aten.group_norm.default, 2, Weight(C), Weight(C), 1e-3),
    (aten.rms_norm.default, [W], Weight(W), 1e-3),
    (aten.softmax.int, 1),
    (aten.log_softmax.int, -1),
    (aten.transpose.int, 1, -1),
    (aten.slice.Tensor, -1, -6, 9223372036854775807, 2),
    (aten.narrow.default, 2, -3, 2),
    (aten.select.int, 1, -1),
    (aten.unsqueeze.default, 1),
    (aten.roll.default, [-2, 1], [2, 3]),
    (aten.flip.default, [1, 3]),
    (aten.constant_pad_nd.default, [1, -2, 0, 3], 0.5),
    (aten.pad.default, [2, 1, 1, 3], "reflect"),
    (aten.pad.default, [2, 1, 1, 3], "replicate"),
    (aten.pad.default, [2, 1, 1, 3], "circular"),
    (aten.reflection_pad2d.default, [2, 1, 1, 3]),
    (aten.repeat_interleave.self_int, 3, 2),
    (aten.unfold.default, 3, 4, 2),
    (aten.channel_shuffle.default, 2),
    (aten.pixel_shuffle.default, 2),
    (aten.upsample_nearest2d.vec, None, [2.0, 3.0]),
]


def program() -> GraphModule:
    """All cases on one input, and some on several; between operators of the engine, or views would run in torch."""
    torch.manual_seed(5)
    root, graph = nn.Module(), Graph()
    x, y = (graph.call_function(aten.neg.default, (node,)) for node in [graph.placeholder(name) for name in "xy"])

    def held(argument: Any) -> Any:
        if not isinstance(argument, Weight):
            return argument
        name = f"w{len(list(root.buffers()))}"
        root.register_buffer(name, torch.rand(argument.shape) - 0.3)
        return graph.get_attr(name)

    outputs = [graph.call_function(operator, (x, *map(held, rest))) for operator, *rest in CASES]
    outputs.append(graph.call_function(aten.gelu.default, (x,), {"approximate": "tanh"}))
    outputs.append(graph.call_function(aten.sub.Tensor, (x, y), {"alpha": 2}))
    outputs.append(graph.call_function(aten.addcmul.default, (x, x, y), {"value": 0.5}))
    outputs.append(graph.call_function(aten.cat.default, ([x, y, x], -1)))
    outputs.append(graph.call_function(aten.stack.default, ([x, y], 1)))
    squares = graph.call_function(aten.mul.Tensor, (x, x))
    outputs.append(graph.call_function(custom_operators.root.default, (squares,)))
    mask = held(Weight(H, H))
    outputs.append(graph.call_function(aten.scaled_dot_product_attention.default, (x, y, y, mask)))
    graph.output(tuple(graph.call_function(aten.neg.default, (output,)) for output in outputs))
    return GraphModule(root, graph)


@pytest.mark.parametrize("name", [name for name in ENGINES if importlib.util.find_spec(name)])
@torch.no_grad()
def test_engines_compute_what_torch_computes(name: str) -> None:
    module = program()
    inputs: list[Tensor] = [torch.randn(N, C, H, W) for _ in range(2)]
    bare = [x.to("meta") for x in inputs]
    parts, _, _ = divided(module, bare)
    assert [part.engine for part in parts].count(True) == 1
    wanted = module(*inputs)
    chain, _ = chained(module, bare, ENGINES[name])
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    operators = [node.all_input_nodes[0].target for node in output.all_input_nodes]
    for operator, found, expected in zip(operators, chain(*inputs), wanted, strict=True):
        assert found.shape == expected.shape, operator
        assert float((found - expected).abs().max()) <= 2e-6 * float(expected.abs().max() + 1), operator


def test_the_planner_knows_which_own_operators_torch_runs() -> None:
    """Sliding pools are lowered to other operators, and cells are filled between parts, which is counted apart."""
    own = set(custom_operators.__all__) - {"sliding_pool", "fill_cells", "fill_cells_"}
    assert own - set(TABLE) == IN_TORCH
