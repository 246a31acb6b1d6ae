"""Every other operator read from ONNX computes what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx
from fullfield.importers.onnx.registry import REGISTRY

from .onnx_models import check, flat, model, oracle, stored, windows  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(5)
aten = torch.ops.aten


def _weights(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _ints(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


ACTIVATIONS: list[tuple[str, int, dict[str, Any]]] = [
    ("Relu", 7, {}),
    ("LeakyRelu", 7, {"alpha": 0.2}),
    ("ThresholdedRelu", 10, {"alpha": 0.3}),
    ("Elu", 7, {"alpha": 0.7}),
    ("Selu", 7, {}),
    ("Selu", 7, {"alpha": 1.5, "gamma": 1.1}),
    ("Celu", 12, {"alpha": 0.6}),
    ("Sigmoid", 7, {}),
    ("HardSigmoid", 7, {}),
    ("HardSigmoid", 7, {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSwish", 14, {}),
    ("Mish", 18, {}),
    ("Softplus", 7, {}),
    ("Softsign", 7, {}),
    ("Tanh", 7, {}),
    ("Gelu", 20, {}),
    ("Gelu", 20, {"approximate": "tanh"}),
    ("Erf", 9, {}),
    ("Exp", 7, {}),
    ("Reciprocal", 7, {}),
    ("Neg", 7, {}),
    ("Abs", 7, {}),
    ("Floor", 7, {}),
    ("Ceil", 7, {}),
    ("Round", 11, {}),
    ("Sign", 9, {}),
    ("Sin", 7, {}),
    ("Cos", 7, {}),
    ("Identity", 7, {}),
    ("Dropout", 7, {}),
    ("Dropout", 13, {}),
    ("Clip", 6, {"min": -0.5, "max": 0.25}),
    ("Clip", 13, {}),
]


@pytest.mark.parametrize(("op", "opset", "attributes"), ACTIVATIONS, ids=str)
def test_an_activation(op: str, opset: int, attributes: Any, tmp_path: Path) -> None:
    # Tolerance: reciprocals of small numbers reach 1e4.
    check(flat(op, opset=max(opset, 7), **attributes), tmp_path, atol=5e-3 if op == "Reciprocal" else 2e-6)


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_an_activation_of_positive_numbers(op: str, tmp_path: Path) -> None:
    x = np.abs(windows(2, (3, 9, 10))) + 0.1
    check(flat(op), tmp_path, atol=1e-6, x=x)


@pytest.mark.parametrize("bounds", [("lo", ""), ("", "hi"), ("lo", "hi")], ids=str)
def test_clip_takes_its_bounds_as_inputs(bounds: Any, tmp_path: Path) -> None:
    numbers = {"lo": np.array(-0.5, np.float32), "hi": np.array(0.7, np.float32)}
    check(flat("Clip", numbers, inputs=bounds), tmp_path, atol=0)


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (1, 1, 1), (3, 9, 10), (1, 3, 1, 1), (10,)], ids=str)
def test_prelu_with_any_slope(shape: Any, tmp_path: Path) -> None:
    loaded = check(flat("PRelu", {"slope": _weights(*shape)}, inputs=["slope"]), tmp_path, atol=1e-6)
    assert [name for name, _ in loaded.graph.named_parameters()] == ["slope"]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Pow"])
@pytest.mark.parametrize("shape", [(), (1,), (10,), (3, 1, 1), (1, 3, 9, 10)], ids=str)
@pytest.mark.parametrize("swapped", [False, True])
def test_arithmetic_with_a_constant(op: str, shape: Any, swapped: bool, tmp_path: Path) -> None:
    number = np.asarray(np.abs(_weights(*shape)) + 0.5, np.float32)
    inputs = ["c", "x"] if swapped else ["x", "c"]
    nodes = [helper.make_node(op, inputs, ["z"]), helper.make_node("Flatten", ["z"], ["y"])]
    x = np.abs(windows(2, (3, 9, 10))) + 0.25
    check(model(nodes, {"c": number}), tmp_path, atol=1e-4, x=x)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum"])
def test_arithmetic_between_branches(op: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node(op, ["x", "a"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes), tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_where_with_a_comparison(op: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node(op, ["x", "c"], ["m"]),
        helper.make_node("Not", ["m"], ["k"]),
        helper.make_node("Where", ["k", "x", "d"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes, {"c": np.array(0.1, np.float32), "d": _weights(3, 1, 1)}), tmp_path, atol=0)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Greater", ["x", "c"], ["m"]),
        helper.make_node("Less", ["x", "d"], ["k"]),
        helper.make_node(op, ["m", "k"], ["b"]),
        helper.make_node("Cast", ["b"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes, {"c": np.float32(-0.2), "d": np.float32(0.4)}), tmp_path, atol=0)


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_in_shape_arithmetic(fmod: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mod", ["p", "q"], ["r"], fmod=fmod),
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    made = model(nodes, {"p": np.array([-7], np.int64), "q": np.array([3], np.int64)})
    check(made, tmp_path, atol=0)


def test_cast_like_and_range_and_size(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Range", ["a", "b", "s"], ["r"]),
        helper.make_node("CastLike", ["r", "x"], ["f"]),
        helper.make_node("Size", ["r"], ["k"]),
        helper.make_node("CastLike", ["k", "x"], ["g"]),
        helper.make_node("Mul", ["x", "f"], ["v"]),
        helper.make_node("Add", ["v", "g"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes, {"a": np.int64(0), "b": np.int64(20), "s": np.int64(2)}), tmp_path, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 9, 13, 15, 21])
def test_batch_norm(opset: int, tmp_path: Path) -> None:
    weights = {"s": _weights(3), "b": _weights(3), "m": _weights(3), "v": np.abs(_weights(3)) + 0.1}
    made = flat("BatchNormalization", weights, inputs=["s", "b", "m", "v"], opset=opset, epsilon=1e-3)
    loaded = check(made, tmp_path, atol=1e-5)
    assert [name for name, _ in loaded.graph.named_parameters()] == ["s", "b"]
    assert [name for name, _ in loaded.graph.named_buffers()] == ["m", "v"]


def test_a_batch_norm_in_training_mode_is_refused(tmp_path: Path) -> None:
    weights = {name: np.ones(3, np.float32) for name in "sbmv"}
    made = flat("BatchNormalization", weights, inputs=list("sbmv"), training_mode=1)
    with pytest.raises(CaptureError, match=r"training mode.*\n  fix: .*evaluation mode: model\.eval\(\)"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("op", ["BatchNormalization", "InstanceNormalization"])
def test_a_norm_that_subtracts_from_its_variance_is_refused(op: str, tmp_path: Path) -> None:
    names = "sbmv" if op == "BatchNormalization" else "sb"
    made = flat(op, {name: np.ones(3, np.float32) for name in names}, inputs=list(names), epsilon=-1e14)
    with pytest.raises(CaptureError, match=r"adds -1e\+14 to its variance\n  fix: .*another version of the exporter"):
        load_onnx(stored(made, tmp_path))


def test_a_file_of_a_free_size_says_how_to_give_the_window(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"its size is free\n  fix: .*window=224, --window 224"):
        load_onnx(stored(flat("Relu", shape=("n", 3, "h", "w")), tmp_path))


def test_instance_norm(tmp_path: Path) -> None:
    made = flat("InstanceNormalization", {"s": _weights(3), "b": _weights(3)}, inputs=["s", "b"], epsilon=1e-3)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize(("opset", "count"), [(18, 2), (21, 4)])
def test_group_norm(opset: int, count: int, tmp_path: Path) -> None:
    weights = {"s": _weights(count), "b": _weights(count)}
    made = flat("GroupNormalization", weights, inputs=["s", "b"], shape=("n", 4, 6, 6), num_groups=2, opset=opset)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (10,)), (2, (9, 10)), (1, (3, 9, 10)), (2, (1, 10))])
def test_layer_norm(axis: int, shape: Any, tmp_path: Path) -> None:
    weights = {"s": _weights(*shape), "b": _weights(*shape)}
    check(flat("LayerNormalization", weights, inputs=["s", "b"], axis=axis), tmp_path, atol=1e-5)


def test_rms_norm(tmp_path: Path) -> None:
    made = flat("RMSNormalization", {"s": _weights(10)}, inputs=["s"], axis=-1, opset=23)
    loaded = load_onnx(stored(made, tmp_path))
    x = windows(2, (3, 9, 10)).astype(np.float64)
    scale = numpy_helper.to_array(made.graph.initializer[0]).astype(np.float64)
    wanted = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale
    got = loaded(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_allclose(got.detach().numpy(), wanted.reshape(2, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_norm(size: int, tmp_path: Path) -> None:
    made = flat("LRN", shape=("n", 7, 5, 5), size=size, alpha=0.01, beta=0.6, bias=2.0)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, 2), (11, 3), (13, 1), (13, -1), (17, 2)])
def test_softmax(op: str, opset: int, axis: int, tmp_path: Path) -> None:
    check(flat(op, opset=opset, axis=axis), tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", [name for name in sorted(REGISTRY) if name.startswith("Reduce")])
@pytest.mark.parametrize("axes", [[2, 3], [1], [-1]], ids=str)
@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_reduction(op: str, axes: Any, opset: int, keepdims: int, tmp_path: Path) -> None:
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    weights, inputs = ({"axes": _ints(*axes)}, ["axes"]) if as_input else ({}, [])
    attributes = {} if as_input else {"axes": axes}
    made = flat(op, weights, inputs=inputs, opset=opset, keepdims=keepdims, **attributes)
    x = windows(2, (3, 9, 10)) * 0.7
    check(made, tmp_path, atol=1e-4, x=x)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,), ()], ids=str)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
def test_gemm_becomes_one_linear_layer(trans_b: int, bias: Any, alpha: float, beta: float, tmp_path: Path) -> None:
    shape = (5, 270) if trans_b else (270, 5)
    weights = {"w": _weights(*shape)} | ({} if bias is None else {"b": np.asarray(_weights(*bias))})
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", *weights], ["y"], transB=trans_b, alpha=alpha, beta=beta),
    ]
    loaded = check(model(nodes, weights), tmp_path, atol=1e-4)
    targets = [n.target for n in loaded.graph.graph.nodes if n.op == "call_function"]
    assert targets == [aten.flatten.using_ints, aten.linear.default]


def test_gemm_turns_its_left_side(tmp_path: Path) -> None:
    weights = {"w": _weights(270, 5), "b": _weights(5)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"]),
        helper.make_node("Gemm", ["t", "w", "b"], ["y"], transA=1),
    ]
    check(model(nodes, weights), tmp_path, atol=1e-4)


def test_gemm_of_two_branches(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node("Gemm", ["v", "g", "b"], ["h"], transB=1, alpha=0.5, beta=2.0),
        helper.make_node("Transpose", ["h"], ["y"]),
    ]
    weights = {"w": _weights(270, 5), "v": _weights(4, 5), "b": _weights(4, 1)}
    check(model(nodes, weights), tmp_path, atol=1e-4)


def test_matmul_and_add_become_one_linear_layer_with_its_weight_turned_once(tmp_path: Path) -> None:
    weights = {"head/kernel:0": _weights(270, 5), "head/bias:0": _weights(5)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "head/kernel:0"], ["m"]),
        helper.make_node("Add", ["m", "head/bias:0"], ["y"]),
    ]
    loaded = check(model(nodes, weights), tmp_path, atol=1e-4)
    linear = list(loaded.graph.graph.nodes)[-2]
    assert linear.target is aten.linear.default
    assert len(linear.args) == 3
    parameters = dict(loaded.graph.named_parameters())
    assert {name: tuple(p.shape) for name, p in parameters.items()} == {"head.kernel_0": (5, 270), "head.bias_0": (5,)}
    assert all(p.requires_grad and p.is_contiguous() for p in parameters.values())


def test_a_product_that_something_else_reads_keeps_its_bias_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Mul", ["a", "m"], ["y"]),
    ]
    small = {"w": _weights(270, 5) / 16, "b": _weights(5)}  # sums of 270 products, squared, are about 10
    check(model(nodes, small), tmp_path, atol=1e-4)


def test_a_product_that_is_read_under_another_name_keeps_its_bias_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Identity", ["m"], ["i"]),
        helper.make_node("Add", ["i", "b"], ["a"]),
        helper.make_node("Mul", ["a", "m"], ["y"]),
    ]
    small = {"w": _weights(270, 5) / 16, "b": _weights(5)}
    check(model(nodes, small), tmp_path, atol=1e-4)


@pytest.mark.parametrize("swapped", [False, True])
def test_matmul_on_either_side_and_in_more_dimensions(swapped: bool, tmp_path: Path) -> None:
    inputs = ["w", "x"] if swapped else ["x", "w"]
    weights = {"w": _weights(4, 9) if swapped else _weights(10, 4)}
    nodes = [helper.make_node("MatMul", inputs, ["z"]), helper.make_node("Flatten", ["z"], ["y"])]
    check(model(nodes, weights), tmp_path, atol=1e-4)


def test_einsum(tmp_path: Path) -> None:
    made = flat("Einsum", {"w": _weights(3, 4)}, inputs=["w"], equation="n c h w, c k -> n k h w")
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, 4])
def test_flatten_at_any_axis(axis: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], axis=axis),
        helper.make_node("Reshape", ["f", "s"], ["y"]),
    ]
    check(model(nodes, {"s": _ints(-1, 270)}), tmp_path, atol=0)


@pytest.mark.parametrize("target", [(0, -1), (-1, 270), (0, 3, -1), (-1, 0, 90), (0, 0, 0, 0), (-1, 3, 5, 18)], ids=str)
def test_reshape(target: Any, tmp_path: Path) -> None:
    check(flat("Reshape", {"s": _ints(*target)}, inputs=["s"]), tmp_path, atol=0)


@pytest.mark.parametrize("order", [[0, 2, 3, 1], [0, 1, 3, 2], [0, 1, 2, 3]], ids=str)
def test_transpose(order: Any, tmp_path: Path) -> None:
    check(flat("Transpose", perm=order), tmp_path, atol=0)


def test_transpositions_in_a_row_become_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    loaded = check(model(nodes), tmp_path, atol=0)
    permutes = [n.args[1] for n in loaded.graph.graph.nodes if n.target is aten.permute.default]
    assert permutes == [[0, 3, 2, 1]]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [[2], [2, -1], None], ids=str)
def test_squeeze(opset: int, axes: Any, tmp_path: Path) -> None:
    weights, inputs = ({"a": _ints(*axes)}, ["a"]) if opset >= 13 and axes else ({}, [])
    attributes = {"axes": axes} if opset < 13 and axes else {}
    made = flat("Squeeze", weights, inputs=inputs, opset=opset, shape=("n", 3, 1, 1), **attributes)
    check(made, tmp_path, atol=0)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [[1], [0, -1], [5, 2]], ids=str)
def test_unsqueeze(opset: int, axes: Any, tmp_path: Path) -> None:
    weights, inputs = ({"a": _ints(*axes)}, ["a"]) if opset >= 13 else ({}, [])
    attributes = {} if opset >= 13 else {"axes": axes}
    nodes = [
        helper.make_node("Unsqueeze", ["x", *inputs], ["z"], **attributes),
        helper.make_node("Reshape", ["z", "s"], ["y"]),
    ]
    check(model(nodes, {**weights, "s": _ints(-1, 270)}, opset=opset), tmp_path, atol=0)


def test_concat_of_branches_and_constants(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Concat", ["x", "a"], ["z"], axis=-3),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes), tmp_path, atol=0)


@pytest.mark.parametrize(("opset", "sizes"), [(11, [1, 2]), (13, [1, 2]), (11, None), (18, None)], ids=str)
def test_split(opset: int, sizes: Any, tmp_path: Path) -> None:
    weights, inputs, attributes = {}, [], {}
    if sizes and opset >= 13:
        weights, inputs = {"s": _ints(*sizes)}, ["s"]
    elif sizes:
        attributes = {"split": sizes}
    elif opset >= 18:
        attributes = {"num_outputs": 2}
    nodes = [
        helper.make_node("Split", ["x", *inputs], ["a", "b"], axis=1 if sizes else 3, **attributes),
        helper.make_node("Concat", ["b", "a"], ["z"], axis=1 if sizes else 3),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes, weights, opset=opset), tmp_path, atol=0)


def test_split_with_an_unread_part(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    check(model(nodes, {"s": _ints(1, 2)}), tmp_path, atol=0)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [9], [2], [2]),
        ([-4, 0], [2**62, -1], [3, 1], [1, 1]),
        ([-1], [-(2**62)], [1], [-1]),
        ([7], [2], [-1], [-2]),
        ([0, 1], [2**62, 3], [0, 1], [1, 1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [9, 13])
def test_slice(starts: Any, ends: Any, axes: Any, steps: Any, opset: int, tmp_path: Path) -> None:
    if opset == 9 and any(step != 1 for step in steps):
        pytest.skip("no steps before opset 10")
    weights, inputs, attributes = {}, [], {}
    if opset == 9:
        attributes = {"starts": starts, "ends": ends, "axes": axes}
    else:
        inputs = ["s", "e", "a", "t"]
        weights = dict(zip(inputs, (_ints(*starts), _ints(*ends), _ints(*axes), _ints(*steps)), strict=True))
    check(flat("Slice", weights, inputs=inputs, opset=opset, **attributes), tmp_path, atol=0)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("places", [2, -1, [0, 2], [[1, 0], [-1, 2]]], ids=str)
def test_gather(axis: int, places: Any, tmp_path: Path) -> None:
    check(flat("Gather", {"i": np.array(places, np.int64)}, inputs=["i"], axis=axis), tmp_path, atol=0)


def test_gather_nd_from_a_table(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GatherND", ["table", "i"], ["g"]),
        helper.make_node("Add", ["x", "g"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    made = model(nodes, {"table": _weights(4, 5, 10), "i": np.array([[0, 2]] * 9, np.int64)})
    loaded = check(made, tmp_path, atol=0)
    assert [name for name, _ in loaded.graph.named_parameters()] == ["table"]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 2, 0, 0, 3, 1], [0, 0, 0, 1, 0, 0, 1, 0]], ids=str)
@pytest.mark.parametrize("opset", [9, 13])
def test_pad(mode: str, pads: Any, opset: int, tmp_path: Path) -> None:
    if opset == 9:
        made = flat("Pad", opset=opset, mode=mode, pads=pads, value=1.5 if mode == "constant" else 0.0)
    else:
        weights = {"p": _ints(*pads)} | ({"v": np.array(1.5, np.float32)} if mode == "constant" else {})
        made = flat("Pad", weights, inputs=list(weights), opset=opset, mode=mode)
    check(made, tmp_path, atol=0)


def test_pad_of_channels_and_of_named_axes(tmp_path: Path) -> None:
    check(flat("Pad", {"p": _ints(0, 1, 0, 0, 0, 2, 0, 0)}, inputs=["p"]), tmp_path, atol=0)
    weights = {"p": _ints(1, -1, 2, 0), "a": _ints(-2, 1)}
    check(flat("Pad", weights, inputs=["p", "", "a"], opset=18), tmp_path, atol=0)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, tmp_path: Path) -> None:
    check(flat("DepthToSpace", shape=("n", 8, 3, 5), blocksize=2, mode=mode), tmp_path, atol=0)


def test_space_to_depth(tmp_path: Path) -> None:
    check(flat("SpaceToDepth", shape=("n", 2, 6, 8), blocksize=2), tmp_path, atol=0)


def test_constants_written_in_the_graph(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value_float=0.5),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0] * 10),
        helper.make_node("Constant", [], ["s"], value_ints=[0, -1]),
        helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(_weights(3, 1, 1))),
        helper.make_node("Mul", ["x", "a"], ["u"]),
        helper.make_node("Add", ["u", "b"], ["v"]),
        helper.make_node("Mul", ["v", "t"], ["w"]),
        helper.make_node("Reshape", ["w", "s"], ["y"]),
    ]
    loaded = check(model(nodes), tmp_path, atol=1e-6)
    assert list(loaded.graph.parameters()) == []


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_swish(alpha: float, tmp_path: Path) -> None:
    made = flat("Swish", opset=24, alpha=alpha)
    x = windows(2, (3, 9, 10))
    got = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, (x / (1 + np.exp(-alpha * x))).reshape(2, -1), rtol=0, atol=1e-6)


def test_every_operator_of_the_registry_has_been_compared() -> None:
    import re

    text = "".join(p.read_text() for p in Path(__file__).parent.glob("test_onnx_*.py"))
    names = [name.rpartition(".")[2] for name in REGISTRY if not name.startswith("Reduce")]  # without the domain
    missing = [name for name in names if not re.search(rf'"{name}"', text)]
    assert missing == []


@pytest.mark.parametrize(
    ("numbers", "elements", "atol"),
    [(TensorProto.FLOAT16, np.float16, 2e-2), (TensorProto.DOUBLE, np.float64, 1e-12)],
)
def test_the_network_keeps_its_own_floating_type(numbers: int, elements: Any, atol: float, tmp_path: Path) -> None:
    # onnxruntime has no convolution in double.
    weights = {"w": _weights(10, 5).astype(elements)}
    made = flat("MatMul", weights, inputs=["w"], dtype=numbers)
    loaded = load_onnx(stored(made, tmp_path))
    x = windows(2, (3, 9, 10), elements)
    wanted = oracle(made, x)
    assert loaded.dtype == torch.from_numpy(x).dtype
    got = loaded(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=0, atol=atol)


def test_bfloat16_weights(tmp_path: Path) -> None:
    weights = _weights(4, 3, 3, 3)
    stored16 = helper.make_tensor("w", TensorProto.BFLOAT16, weights.shape, weights.reshape(-1))
    made = flat("Conv", {}, inputs=["w"], dtype=TensorProto.BFLOAT16)
    made.graph.initializer.append(stored16)
    loaded = load_onnx(stored(made, tmp_path))
    assert loaded.dtype == torch.bfloat16
    kept = loaded.graph.state_dict()["w"]
    assert torch.equal(kept, torch.from_numpy(weights).to(torch.bfloat16))


def test_weights_in_typed_lists_and_not_raw(tmp_path: Path) -> None:
    weights = _weights(4, 3, 3, 3)
    made = flat("Conv", {}, inputs=["w"])
    made.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.reshape(-1)))
    assert isinstance(made, onnx.ModelProto)
    check(made, tmp_path, atol=1e-5)
