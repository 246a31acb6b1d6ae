"""Quantised networks, made by onnxruntime's own tools, are read as the float networks that they approximate."""

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

from .onnx_models import model, oracle, stored, windows  # noqa: TID252 - tests are no package

quantization = pytest.importorskip("onnxruntime.quantization")
NODE = helper.make_node


def network() -> Any:
    """Two convolutions, a branch, a pool, a mean and two products."""
    nodes = [
        NODE("Conv", ["x", "w0", "b0"], ["c0"], name="c0", pads=[1, 1, 1, 1]),
        NODE("Relu", ["c0"], ["a"], name="r0"),
        NODE("MaxPool", ["a"], ["p"], name="p", kernel_shape=[2, 2], strides=[2, 2]),
        NODE("Conv", ["p", "w1", "b1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        NODE("Add", ["c1", "p"], ["s"], name="s"),
        NODE("Relu", ["s"], ["t"], name="r1"),
        NODE("Sigmoid", ["t"], ["gate"], name="gate"),
        NODE("Mul", ["t", "gate"], ["m"], name="m"),
        NODE("LeakyRelu", ["m"], ["l"], name="l", alpha=0.1),
        NODE("AveragePool", ["l"], ["v"], name="v", kernel_shape=[2, 2]),
        NODE("Tanh", ["v"], ["v2"], name="v2"),
        NODE("Concat", ["v", "v2"], ["j"], name="j", axis=1),
        NODE("GlobalAveragePool", ["j"], ["g"], name="g"),
        NODE("Flatten", ["g"], ["f"], name="f"),
        NODE("Gemm", ["f", "w2", "b2"], ["h"], name="h", transB=1),
        NODE("MatMul", ["h", "w3"], ["y"], name="y"),
    ]
    weights = {"w0": (6, 3, 3, 3), "b0": (6,), "w1": (6, 6, 3, 3), "b1": (6,), "w2": (8, 12), "b2": (8,), "w3": (8, 4)}
    return model(nodes, {k: windows(1, s)[0] * 0.3 for k, s in weights.items()}, shape=("n", 3, 12, 12), opset=17)


class Images(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
    """Windows to find the ranges with."""

    def __init__(self) -> None:
        self.left = [{"x": windows(8, (3, 12, 12))}]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


MADE = {
    "QDQ": {"QuantizeLinear", "DequantizeLinear"},
    "QDQ per channel": {"QuantizeLinear", "DequantizeLinear"},
    "dynamic": {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"},
    "QOperator": {
        "QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool",
        "QLinearConcat", "QLinearGlobalAveragePool", "QGemm", "QLinearMatMul",
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MADE)
def test_quantised_networks_are_read_as_floats(kind: str, tmp_path: Path) -> None:
    made, target = network(), tmp_path / "quantised.onnx"
    source = stored(made, tmp_path)
    if kind == "dynamic":
        quantization.quantize_dynamic(source, target, weight_type=quantization.QuantType.QUInt8)
    else:
        form = quantization.QuantFormat.QOperator if kind == "QOperator" else quantization.QuantFormat.QDQ
        quantization.quantize_static(source, target, Images(), quant_format=form, per_channel="channel" in kind)
    loaded = load_onnx(target)
    assert {node.op_type for node in onnx.load(target).graph.node} >= MADE[kind]
    assert loaded.name == "quantised (quantised, read as floats)"
    x = windows(4, (3, 12, 12))
    found, wanted = loaded(torch.from_numpy(x)).detach().numpy(), oracle(made, x)
    assert np.abs(found - wanted).max() <= 0.04 * np.ptp(wanted)  # weights of 8 bits
    rounded = oracle(onnx.load(target), x)
    assert np.abs(rounded - wanted).max() > 0
    assert np.abs(found - rounded).max() <= 0.08 * np.ptp(wanted)


def test_the_range_of_integers_is_kept(tmp_path: Path) -> None:
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"]),
        NODE("MaxPool", ["q"], ["p"], kernel_shape=[2, 2]),
        NODE("DequantizeLinear", ["p", "s", "z"], ["d"]),
        NODE("Flatten", ["d"], ["y"]),
    ]
    made = model(nodes, {"s": np.float32(0.004), "z": np.uint8(0)}, opset=13)
    x = windows(2, (3, 9, 10))
    found, wanted = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy(), oracle(made, x)
    assert (wanted.min(), wanted.max()) == (found.min(), pytest.approx(found.max()))  # 0 and 255 * 0.004
    assert np.abs(found - wanted).max() <= 0.0021


def test_integers_of_the_input_are_brought_to_real_numbers(tmp_path: Path) -> None:
    nodes = [NODE("DequantizeLinear", ["x", "s", "z"], ["d"]), NODE("Flatten", ["d"], ["y"])]
    made = model(nodes, {"s": np.float32(0.02), "z": np.uint8(128)}, opset=13, dtype=2, out_dtype=1)
    x = (np.abs(windows(2, (3, 9, 10))) * 60).astype(np.uint8)
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=1e-5)


def test_a_scale_for_each_channel_of_a_map_is_refused(tmp_path: Path) -> None:
    nodes = [NODE("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1), NODE("DequantizeLinear", ["q", "s", "z"], ["y"])]
    made = model(nodes, {"s": np.full(3, 0.01, np.float32), "z": np.zeros(3, np.uint8)}, opset=13)
    with pytest.raises(CaptureError, match="has a scale for each channel of a map"):
        load_onnx(stored(made, tmp_path))
