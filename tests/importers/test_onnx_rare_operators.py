"""Rare operators of ONNX and ONNX Runtime give the numbers of onnxruntime, or of the operators that they merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import Array, check, flat, model, oracle, stored, windows  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(5)
NODE = helper.make_node
STEP = 0.05  # of integers
LAST, FIRST = NODE("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]), NODE("Transpose", ["u"], ["z"], perm=[0, 3, 1, 2])
FLAT = NODE("Flatten", ["z"], ["y"])


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def runtime(nodes: list[onnx.NodeProto], weights: dict[str, Any], **options: Any) -> onnx.ModelProto:
    """A model with operators of ONNX Runtime's own."""
    made = model(nodes, weights, opset=17, **options)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


def microsoft(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return NODE(op, inputs, [output], domain="com.microsoft", **attributes)


def quantised(*nodes: onnx.NodeProto) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Operators from ``q`` to ``k``, on integers between a map ``t`` and a map ``u``; the numbers of both scales."""
    before = NODE("QuantizeLinear", ["t", "s", "zero"], ["q"])
    after = NODE("DequantizeLinear", ["k", "s", "zero"], ["u"])
    return [before, *nodes, after], {"s": np.float32(STEP), "zero": np.uint8(120)}


def difference(made: onnx.ModelProto, wanted: onnx.ModelProto, folder: Path, shape: tuple[int, ...]) -> float:
    """Greatest difference between a model and what onnxruntime computes of another."""
    x = windows(3, shape)
    with torch.no_grad():
        found = load_onnx(stored(made, folder), window=shape[-2:])(torch.from_numpy(x)).numpy()
    expected = oracle(wanted, x).reshape(3, -1)
    assert found.shape == expected.shape
    assert np.ptp(expected) > 10 * STEP
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("k", [-1, 0, 2])
def test_the_identity_of_a_matrix(k: int, tmp_path: Path) -> None:
    nodes = [NODE("EyeLike", ["w"], ["e"], k=k), NODE("MatMul", ["x", "e"], ["z"]), FLAT]
    check(model(nodes, {"w": numbers(10, 6)}), tmp_path, atol=1e-6)


def test_determinants(tmp_path: Path) -> None:
    check(flat("Det", shape=("n", 3, 4, 4), opset=11), tmp_path, atol=2e-5)


def test_all_bits_turned(tmp_path: Path) -> None:
    nodes = [
        NODE("Abs", ["x"], ["a"]), NODE("Mul", ["a", "ten"], ["t"]), NODE("Cast", ["t"], ["i"], to=2),
        NODE("BitwiseNot", ["i"], ["k"]), NODE("Cast", ["k"], ["z"], to=1), FLAT,
    ]  # fmt: skip
    check(model(nodes, {"ten": np.float32(10)}, opset=18), tmp_path, atol=0)


@pytest.mark.parametrize("reverse", [0, 1])
def test_running_products(reverse: int, tmp_path: Path) -> None:
    """onnxruntime has none: NumPy's are the oracle."""
    made = flat("CumProd", {"a": np.int64(2)}, inputs=["a"], opset=26, reverse=reverse)
    x = windows(2, (3, 9, 10))
    turned = x[:, :, ::-1] if reverse else x
    wanted = np.cumprod(turned, axis=2)[:, :, :: -1 if reverse else 1].reshape(2, -1)
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_scatter_of_old_opsets(tmp_path: Path) -> None:
    places = np.argsort(numbers(1, 3, 9, 4), -1)
    made = flat("Scatter", {"i": places, "u": numbers(*places.shape)}, inputs=["i", "u"], opset=9, axis=3,
                shape=(1, 3, 9, 10))  # fmt: skip
    x = windows(1, (3, 9, 10))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_array_equal(found, oracle(made, x))


@pytest.mark.parametrize("op", ["Bernoulli", "Multinomial", "RandomNormal", "RandomUniform", "RandomUniformLike"])
def test_random_numbers_are_refused(op: str, tmp_path: Path) -> None:
    inputs = [] if op in ("RandomNormal", "RandomUniform") else ["f"]
    attributes: dict[str, Any] = {} if inputs else {"shape": [1, 270]}
    if op == "Multinomial":
        attributes = {"sample_size": 270, "dtype": 6}
    nodes = [
        NODE("Flatten", ["x"], ["f"]), NODE(op, inputs, ["r"], **attributes), NODE("Cast", ["r"], ["c"], to=1),
        NODE("Add", ["f", "c"], ["y"]),
    ]  # fmt: skip
    with pytest.raises(CaptureError, match="makes random numbers, other ones in every run"):
        load_onnx(stored(model(nodes, opset=15), tmp_path))


def test_a_product_with_a_transposed_matrix(tmp_path: Path) -> None:
    nodes = [microsoft("TransposeMatMul", ["x", "w"], "z", transB=1, alpha=0.5), FLAT]
    check(runtime(nodes, {"w": numbers(4, 10)}), tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", ["NhwcMaxPool", "ReduceMax", "ReduceMin", "Resize"])
def test_operators_that_take_integers_as_they_are(op: str, tmp_path: Path) -> None:
    node, more = {
        "NhwcMaxPool": (microsoft(op, ["q"], "k", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {}),
        "ReduceMax": (NODE(op, ["q"], ["k"], axes=[1], keepdims=1), {}),
        "ReduceMin": (NODE(op, ["q"], ["k"], axes=[2], keepdims=1), {}),
        "Resize": (NODE(op, ["q", "", "by"], ["k"], mode="linear"), {"by": np.float32([1, 2, 2, 1])}),
    }[op]
    between, weights = quantised(node)
    made = runtime([LAST, *between, FIRST, FLAT], weights | more)
    off = 1.5 * STEP if op == "Resize" else STEP / 2  # onnxruntime rounds to integers, and cuts off what it resizes
    assert difference(made, made, tmp_path, (3, 9, 10)) <= 1.001 * off


def test_the_place_of_the_greatest_integer_is_that_of_the_greatest_number(tmp_path: Path) -> None:
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "zero"], ["q"]), NODE("ArgMax", ["q"], ["k"], axis=3, keepdims=1),
        NODE("Cast", ["k"], ["c"], to=1), NODE("Mul", ["c", "s"], ["z"]), FLAT,
    ]  # fmt: skip
    made = model(nodes, {"s": np.float32(STEP), "zero": np.uint8(120)}, opset=13)
    x = STEP * np.stack([np.random.default_rng(i).permutation(100)[:10] for i in range(54)]).reshape(2, 3, 9, 10)
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_array_equal(found, oracle(made, x.astype(np.float32)))


@pytest.mark.parametrize("added", [False, True])
def test_a_convolution_of_maps_with_channels_last(added: bool, tmp_path: Path) -> None:
    """onnxruntime computes it in 16 bits only: the operators that it merges are the oracle."""
    weights = {"w": numbers(3, 3, 3, 3), "b": numbers(3)}
    inputs = ["t", "w", "b", *(["t"] if added else [])]
    merged = microsoft("NhwcFusedConv", inputs, "u", pads=[1, 1, 1, 1], activation="Relu")
    plain = [
        NODE("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        NODE("Add", ["c", "x"], ["a"]) if added else NODE("Identity", ["c"], ["a"]),
        NODE("Relu", ["a"], ["z"]), FLAT,
    ]  # fmt: skip
    made, wanted = runtime([LAST, merged, FIRST, FLAT], weights), model(plain, weights)
    assert difference(made, wanted, tmp_path, (3, 9, 10)) <= 2e-5


def test_softmax_of_integers(tmp_path: Path) -> None:
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        microsoft("QLinearSoftmax", ["q", "s", "zero", "fine", "none"], "k", axis=1, opset=13),
        NODE("DequantizeLinear", ["k", "fine", "none"], ["z"]), FLAT,
    ]  # fmt: skip
    weights = {"s": np.float32(STEP), "zero": np.uint8(120), "fine": np.float32(1 / 256), "none": np.uint8(0)}
    made = runtime(nodes, weights)
    assert difference(made, made, tmp_path, (3, 9, 10)) <= 0.5 / 256 + 0.5 * STEP / 2


def test_the_mean_of_integers(tmp_path: Path) -> None:
    """onnxruntime has no kernel for it: the mean of the real numbers is the oracle."""
    between, weights = quantised(
        microsoft("QLinearReduceMean", ["q", "s", "zero", "s", "zero"], "k", axes=[3], keepdims=1)
    )
    made = runtime([NODE("Identity", ["x"], ["t"]), *between, NODE("Flatten", ["u"], ["y"])], weights)
    plain = model([NODE("ReduceMean", ["x"], ["z"], axes=[3], keepdims=1), FLAT])
    assert difference(made, plain, tmp_path, (3, 9, 10)) <= 1e-5


def test_attention_with_integer_weights(tmp_path: Path) -> None:
    weights = {
        "shape": np.array([0, 27, 8]), "w": RNG.integers(60, 200, (8, 24)).astype(np.uint8), "b": numbers(24),
        "ws": np.float32(0.01), "wz": np.uint8(128),
    }  # fmt: skip
    nodes = [
        NODE("Reshape", ["x", "shape"], ["t"]), NODE("DynamicQuantizeLinear", ["t"], ["q", "qs", "qz"]),
        microsoft("QAttention", ["q", "w", "b", "qs", "ws", "", "qz", "wz"], "z", num_heads=2), FLAT,
    ]  # fmt: skip
    made = runtime(nodes, weights, shape=("n", 3, 9, 8))
    assert difference(made, made, tmp_path, (3, 9, 8)) <= 0.05  # the input's integers: 256 of them


def test_files_optimised_for_one_processor_are_refused_with_the_level_that_is_read(tmp_path: Path) -> None:
    weights = {"w": numbers(16, 3, 3, 3), "v": numbers(16, 16, 3, 3)}
    nodes = [
        NODE("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), NODE("Relu", ["a"], ["b"]), NODE("Conv", ["b", "v"], ["c"]),
        NODE("GlobalAveragePool", ["c"], ["u"]), NODE("Flatten", ["u"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, weights)
    levels = onnxruntime.GraphOptimizationLevel
    for name, level in (("all", levels.ORT_ENABLE_ALL), ("extended", levels.ORT_ENABLE_EXTENDED)):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.optimized_model_filepath = level, str(tmp_path / f"{name}.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with pytest.raises(CaptureError, match=r"com\.microsoft\.nchwc\.Conv \(2\)") as caught:
        load_onnx(tmp_path / "all.onnx")
    assert "ORT_ENABLE_EXTENDED" in str(caught.value)
    x = windows(3, (3, 9, 10))
    with torch.no_grad():
        found = load_onnx(tmp_path / "extended.onnx")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=1e-4)
