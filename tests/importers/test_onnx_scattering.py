"""Operators that write to places, read from them, or have bits, states and columns, compute what onnxruntime does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, flat, model, oracle, stored, windows  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(3)
NODE = helper.make_node


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def for_every_window(name: str, given: str, sizes: str) -> list[onnx.NodeProto]:
    """A constant for one window, repeated as often as ``x`` has windows."""
    return [
        NODE("Shape", ["x"], [f"{name}.n"], end=1),
        NODE("Concat", [f"{name}.n", sizes], [f"{name}.size"], axis=0),
        NODE("Expand", [given, f"{name}.size"], [name]),
    ]


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [1, -1])
def test_numbers_are_written_along_an_axis(axis: int, reduction: str, tmp_path: Path) -> None:
    shape = [1, 3, 9, 4] if axis == -1 else [1, 2, 9, 10]
    places = RNG.integers(0, 3, shape) if reduction != "none" else np.argsort(numbers(*shape), axis)
    if reduction == "none" and axis == 1:
        places[:, 0] -= 3  # counted from the end
    nodes = [
        *for_every_window("i", "places", "rest"), *for_every_window("u", "updates", "rest"),
        NODE("ScatterElements", ["x", "i", "u"], ["z"], axis=axis, reduction=reduction),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    weights = {"places": places, "updates": numbers(*shape), "rest": ints(*shape[1:])}
    check(model(nodes, weights, opset=18), tmp_path, atol=1e-6)


def assigned(batch: Any, index: Any, opset: int = 16, **attributes: Any) -> onnx.ModelProto:
    """``x[:, :, 2:4] = tanh(x)[:, :, 4:6]`` with its places spelled out."""
    nodes = [
        NODE("Tanh", ["x"], ["t"]),
        NODE("Slice", ["t", "start", "stop", "axis"], ["u"]),
        *index,
        NODE("ScatterND", ["x", "i", "u"], ["z"], **attributes), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    weights = {"start": ints(4), "stop": ints(6), "axis": ints(2)}
    return model(nodes, weights, shape=(batch, 3, 9, 10), opset=opset)


def places_of(batch: int) -> np.ndarray:
    return np.stack(np.meshgrid(range(batch), range(3), (2, -6), range(10), indexing="ij"), -1)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_blocks_are_written_in_files_of_a_fixed_batch(reduction: str, tmp_path: Path) -> None:
    for batch in (1, 2):
        made = assigned(batch, [NODE("Constant", [], ["i"], value=onnx.numpy_helper.from_array(places_of(batch)))],
                        reduction=reduction)  # fmt: skip
        loaded = load_onnx(stored(made, tmp_path))
        free = assigned("n", [NODE("Constant", [], ["i"], value=onnx.numpy_helper.from_array(places_of(3)))],
                        reduction=reduction)  # fmt: skip
        x = windows(3, (3, 9, 10))
        np.testing.assert_allclose(loaded(torch.from_numpy(x)).numpy(), oracle(free, x), rtol=0, atol=1e-6)


def test_blocks_are_written_at_the_same_places_of_every_window(tmp_path: Path) -> None:
    index = [
        NODE("Shape", ["x"], ["n"], end=1), NODE("Squeeze", ["n"], ["count"]),
        NODE("Constant", [], ["zero"], value_int=0), NODE("Constant", [], ["one"], value_int=1),
        NODE("Range", ["zero", "count", "one"], ["w"]),
        NODE("Constant", [], ["column"], value_ints=[-1, 1, 1, 1, 1]), NODE("Reshape", ["w", "column"], ["w5"]),
        NODE("Constant", [], ["others"], value=onnx.numpy_helper.from_array(places_of(1)[..., 1:])),
        NODE("Constant", [], ["sizes"], value_ints=[3, 2, 10, 1]), NODE("Concat", ["n", "sizes"], ["first"], axis=0),
        NODE("Constant", [], ["sizes3"], value_ints=[3, 2, 10, 3]), NODE("Concat", ["n", "sizes3"], ["rest"], axis=0),
        NODE("Expand", ["w5", "first"], ["a"]), NODE("Expand", ["others", "rest"], ["b"]),
        NODE("Concat", ["a", "b"], ["i"], axis=-1),
    ]  # fmt: skip
    check(assigned("n", index), tmp_path, atol=1e-6)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_blocks_are_reduced_into_places_along_one_axis_first(reduction: str, tmp_path: Path) -> None:
    """The windows are no axis of the places; one place is written twice, one counted from the end."""
    nodes = [
        NODE("Transpose", ["x"], ["t"], perm=[1, 2, 3, 0]), NODE("Transpose", ["x"], ["s"], perm=[2, 3, 1, 0]),
        NODE("Gather", ["s", "first"], ["u"]), NODE("ScatterND", ["t", "i", "u"], ["w"], reduction=reduction),
        NODE("Transpose", ["w"], ["z"], perm=[3, 0, 1, 2]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, {"i": np.array([[1], [0], [-2]]), "first": ints(0, 1, 2)}, shape=("n", 3, 10, 3), opset=18)
    made.graph.node[1].attribute[0].ints[:] = [1, 2, 3, 0]
    check(made, tmp_path, atol=1e-5)


def test_places_of_single_windows_are_refused(tmp_path: Path) -> None:
    index = [NODE("Constant", [], ["i"], value=onnx.numpy_helper.from_array(places_of(2)))]
    with pytest.raises(CaptureError, match="picks single windows out of a batch"):
        load_onnx(stored(assigned("n", index), tmp_path))


def test_blocks_are_read_after_axes_that_both_have(tmp_path: Path) -> None:
    nodes = [
        NODE("Transpose", ["x"], ["t"], perm=[1, 2, 3, 0]), NODE("GatherND", ["t", "i"], ["g"], batch_dims=1),
        NODE("Transpose", ["g"], ["z"], perm=[2, 0, 1]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"i": RNG.integers(0, 9, (3, 4, 2))}, opset=13), tmp_path, atol=0)


@pytest.mark.parametrize("axis", [-1, 1])
def test_one_hot_numbers(axis: int, tmp_path: Path) -> None:
    nodes = [
        NODE("ArgMax", ["x"], ["i"], axis=2, keepdims=0),
        NODE("OneHot", ["i", "depth", "pair"], ["z"], axis=axis), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"depth": np.array(9), "pair": np.array([-0.5, 2], np.float32)}, opset=13), tmp_path, atol=0)


def test_parts_that_a_constant_keeps(tmp_path: Path) -> None:
    check(flat("Compress", {"c": RNG.random(9) > 0.4}, inputs=["c"], opset=11, axis=2), tmp_path, atol=0)


def test_places_of_a_constant_that_are_not_zero(tmp_path: Path) -> None:
    nodes = [
        NODE("NonZero", ["m"], ["p"]), NODE("Squeeze", ["p", "a"], ["i"]),
        NODE("Gather", ["x", "i"], ["z"], axis=3), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"m": np.array([0, 1, 0, 0, 2, 1], np.float32), "a": ints(0)}, opset=13), tmp_path, atol=0)


@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}], ids=str)
def test_running_sums_of_infinite_numbers(attributes: Any, tmp_path: Path) -> None:
    x = windows(2, (3, 9, 10))
    x[0, 0, 0, 4] = np.inf
    made = flat("CumSum", {"a": ints(-1)[0]}, inputs=["a"], opset=14, **attributes)
    check(made, tmp_path, atol=1e-5, x=x)


def test_equal_numbers_come_in_their_order_among_the_greatest(tmp_path: Path) -> None:
    nodes = [
        NODE("Relu", ["x"], ["r"]), NODE("TopK", ["r", "k"], ["v", "i"], axis=-1), NODE("Cast", ["i"], ["c"], to=1),
        NODE("Mul", ["c", "half"], ["z"]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"k": ints(9), "half": np.float32(0.5)}, opset=13), tmp_path, atol=0)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "gates", "more"),
    [("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("RNN", 1, {}), ("RNN", 1, {"activations": ["Relu"]})],
    ids=str,
)
def test_recurrent_layers(op: str, gates: int, more: Any, direction: str, tmp_path: Path) -> None:
    both = 2 if direction == "bidirectional" else 1
    more = {key: value * both if key == "activations" else value for key, value in more.items()}
    nodes = [
        NODE("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0), NODE("Transpose", ["m"], ["t"], perm=[2, 0, 1]),
        NODE(op, ["t", "w", "r", "b"], ["steps", "last"], direction=direction, hidden_size=5, **more),
        NODE("Transpose", ["steps"], ["s"], perm=[2, 0, 1, 3]), NODE("Flatten", ["s"], ["f"]),
        NODE("Transpose", ["last"], ["l"], perm=[1, 0, 2]), NODE("Flatten", ["l"], ["g"]),
        NODE("Concat", ["f", "g"], ["y"], axis=1),
    ]  # fmt: skip
    shapes = {"w": (both, gates * 5, 3), "r": (both, gates * 5, 5), "b": (both, gates * 10)}
    weights = {name: numbers(*shape) * np.float32(0.4) for name, shape in shapes.items()}
    check(model(nodes, weights, opset=14), tmp_path, atol=2e-6)


@pytest.mark.parametrize("count", [10, 4])
def test_sequences_of_one_length_are_reversed(count: int, tmp_path: Path) -> None:
    """As Keras' bidirectional layers are written: the length is repeated for every window."""
    nodes = [
        NODE("Shape", ["x"], ["n"], end=1), NODE("Expand", ["count", "n"], ["lengths"]),
        NODE("Transpose", ["x"], ["t"], perm=[3, 0, 1, 2]),
        NODE("ReverseSequence", ["t", "lengths"], ["r"], time_axis=0, batch_axis=1),
        NODE("Transpose", ["r"], ["z"], perm=[1, 2, 3, 0]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"count": ints(count)}, opset=15), tmp_path, atol=0)


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("GRU", {}),
    ("GRU", {"clip": 0.4}),
    ("GRU", {"linear_before_reset": 1, "activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3]}),
    ("GRU", {"activations": ["Affine", "ScaledTanh"], "activation_alpha": [0.1, 1.2], "activation_beta": [0.4, 0.6]}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"clip": 0.3}),
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["HardSigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.25, 0.05, 0.7]}),
    ("LSTM", {"activations": ["Sigmoid", "ThresholdedRelu", "Tanh"], "activation_alpha": [0.1]}),
    ("RNN", {"activations": ["Softplus"]}),
    ("RNN", {"length": 6}),
    ("LSTM", {"length": 6}),
    ("GRU", {"length": 4}),
]


def recurrent(op: str, more: dict[str, Any], direction: str) -> onnx.ModelProto:
    """A recurrent layer over columns, with its states; its attributes are repeated for both directions."""
    gates, both = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    options = {key: value * both if isinstance(value, list) else value for key, value in more.items()}
    length, peepholes = options.pop("length", None), options.pop("peepholes", False)
    inputs = ["t", "w", "r", "b", "lengths" if length else "", "", "", "p"][: 8 if peepholes else 5]
    nodes = [
        NODE("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0), NODE("Transpose", ["m"], ["t"], perm=[2, 0, 1]),
        NODE("Shape", ["x"], ["n"], end=1), NODE("Expand", ["length", "n"], ["lengths"]),
        NODE(op, inputs, ["steps", "last"], direction=direction, hidden_size=5, **options),
        NODE("Transpose", ["steps"], ["s"], perm=[2, 0, 1, 3]), NODE("Flatten", ["s"], ["f"]),
        NODE("Transpose", ["last"], ["l"], perm=[1, 0, 2]), NODE("Flatten", ["l"], ["g"]),
        NODE("Concat", ["f", "g"], ["y"], axis=1),
    ]  # fmt: skip
    shapes = {"w": (both, gates * 5, 3), "r": (both, gates * 5, 5), "b": (both, gates * 10), "p": (both, 15)}
    weights = {name: numbers(*shape) * np.float32(0.4) for name, shape in shapes.items()}
    return model(nodes, {**weights, "length": np.array(length or 10, np.int32)}, opset=15)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "more"), FORMS, ids=str)
def test_recurrent_layers_of_other_forms(op: str, more: dict[str, Any], direction: str, tmp_path: Path) -> None:
    check(recurrent(op, more, direction), tmp_path, atol=2e-6)


@pytest.mark.parametrize(
    ("op", "more", "reason"),
    [
        ("RNN", {"activations": ["Swish"]}, "activation Swish"),
        ("RNN", {"activations": ["Affine"]}, "activation Affine without alpha and beta"),
        ("LSTM", {"activations": ["Relu"]}, "has 1 activations, not 3"),
        ("GRU", {"length": 11}, "has sequences of different lengths"),
    ],
)
def test_recurrent_layers_without_a_meaning_are_refused(op: str, more: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=reason):
        load_onnx(stored(recurrent(op, more, "forward"), tmp_path))


def test_very_many_steps_of_a_cell_that_torch_lacks_are_refused(tmp_path: Path) -> None:
    made = recurrent("GRU", {}, "forward")
    made.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 1025
    with pytest.raises(CaptureError, match="takes 1025 steps one by one, more than 1024"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 2]], ids=str)
def test_columns_are_summed_to_a_map(pads: list[int], tmp_path: Path) -> None:
    size, kernel = (5, 6), (2, 3)
    places = (size[0] + pads[0] + pads[2] - 1) * ((size[1] + pads[1] + pads[3] - 3) // 1 + 1)
    nodes = [
        NODE("Flatten", ["x"], ["f"]), NODE("Gemm", ["f", "w"], ["g"], transB=1),
        NODE("Reshape", ["g", "shape"], ["c"]),
        NODE("Col2Im", ["c", "size", "kernel"], ["z"], pads=pads), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    weights = {
        "w": numbers(12 * places, 48),
        "shape": ints(0, 12, places),
        "size": ints(*size),
        "kernel": ints(*kernel),
    }
    check(model(nodes, weights, shape=("n", 3, 4, 4), opset=18), tmp_path, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("BitwiseAnd", {}),
        ("BitwiseOr", {}),
        ("BitwiseXor", {}),
        ("BitShift", {"direction": "LEFT"}),
        ("BitShift", {"direction": "RIGHT"}),
    ],
    ids=str,
)
def test_bits(op: str, more: Any, tmp_path: Path) -> None:
    nodes = [
        NODE("Abs", ["x"], ["a"]), NODE("Mul", ["a", "ten"], ["t"]), NODE("Cast", ["t"], ["i"], to=2),
        NODE(op, ["i", "bits"], ["k"], **more), NODE("Cast", ["k"], ["z"], to=1), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"ten": np.float32(10), "bits": np.array([3], np.uint8)}, opset=18), tmp_path, atol=0)


def test_what_is_random_is_refused(tmp_path: Path) -> None:
    noise = [NODE("RandomNormalLike", ["x"], ["r"]), NODE("Add", ["x", "r"], ["z"]), NODE("Flatten", ["z"], ["y"])]
    with pytest.raises(CaptureError, match="makes random numbers, other ones in every run"):
        load_onnx(stored(model(noise), tmp_path))
    dropped = flat("Dropout", {"r": np.float32(0.5), "t": np.array(True)}, inputs=["r", "t"], opset=13)
    with pytest.raises(CaptureError, match="is in training mode"):
        load_onnx(stored(dropped, tmp_path))
    kept = flat("Dropout", {"r": np.float32(0), "t": np.array(True)}, inputs=["r", "t"], opset=13)
    check(kept, tmp_path, atol=0)
