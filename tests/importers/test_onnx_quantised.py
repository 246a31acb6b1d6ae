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

from .onnx_models import check, model, oracle, stored, windows  # noqa: TID252 - tests are no package

quantization = pytest.importorskip("onnxruntime.quantization")
NODE = helper.make_node
SEVEN_BITS = (-64, 64)  # ONNX Runtime sums two products of 8 bits in 16, on processors without instructions for more


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


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_dynamically_quantised_lstms(direction: str, per_channel: bool, tmp_path: Path) -> None:
    directions = 2 if direction == "bidirectional" else 1
    shapes = {"w": (directions, 20, 10), "r": (directions, 20, 5), "b": (directions, 40)}
    nodes = [
        NODE("Reshape", ["x", "steps"], ["s"]), NODE("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
        NODE("LSTM", ["t", "w", "r", "b"], ["all", "last"], name="lstm", hidden_size=5, direction=direction),
        NODE("Transpose", ["last"], ["n"], perm=[1, 0, 2]), NODE("Flatten", ["n"], ["y"]),
    ]  # fmt: skip
    weights = {name: windows(1, shape)[0] * 0.4 for name, shape in shapes.items()}
    made = model(nodes, weights | {"steps": np.array([-1, 27, 10])}, opset=17)
    target = tmp_path / "quantised.onnx"
    quantization.quantize_dynamic(stored(made, tmp_path), target, per_channel=per_channel, reduce_range=True)
    loaded = load_onnx(target)
    assert "DynamicQuantizeLSTM" in {node.op_type for node in onnx.load(target).graph.node}
    assert loaded.name == "quantised (quantised, read as floats)"
    x = windows(4, (3, 9, 10))
    found, wanted = loaded(torch.from_numpy(x)).detach().numpy(), oracle(made, x)
    assert 0 < np.abs(found - wanted).max() <= 0.02 * np.ptp(wanted)  # weights of 7 bits
    assert np.abs(found - oracle(onnx.load(target), x)).max() <= 0.05 * np.ptp(wanted)


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


@pytest.mark.parametrize("sizes", ["channels", "blocks"])
def test_scales_of_each_channel_and_block_of_a_map_clamp_it(sizes: str, tmp_path: Path) -> None:
    more = {"axis": 1} if sizes == "channels" else {"axis": 2, "block_size": 4}
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"], **more),
        NODE("DequantizeLinear", ["q", "s", "z"], ["d"], **more),
        NODE("Flatten", ["d"], ["y"]),
    ]
    shape = (3,) if sizes == "channels" else (1, 3, 3, 10)
    scale = np.random.default_rng(1).uniform(0.002, 0.01, shape).astype(np.float32)
    zero = np.random.default_rng(2).integers(40, 200, shape).astype(np.uint8)
    made = model(nodes, {"s": scale, "z": zero}, opset=21, shape=(1, 3, 9, 10))
    x = windows(1, (3, 9, 10))
    found, wanted = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy(), oracle(made, x)
    assert np.abs(found - x.reshape(1, -1)).max() > 0.5  # much is clamped
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.0051)


def constant(name: str, kind: int, values: np.ndarray, *, raw: bool = True) -> onnx.TensorProto:
    if raw:
        return onnx.numpy_helper.from_array(values.astype(onnx.helper.tensor_dtype_to_np_dtype(kind)), name)
    return onnx.helper.make_tensor(name, kind, values.shape, values.reshape(-1).tolist())


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT8", "UINT16", "FLOAT8E4M3FN", "FLOAT8E5M2"])
@pytest.mark.parametrize("sizes", ["one", "channels", "blocks"])
def test_weights_of_every_type_and_scale_are_dequantised(sizes: str, kind: str, raw: bool, tmp_path: Path) -> None:
    number = getattr(onnx.TensorProto, kind)
    low, high = {"INT4": (-8, 8), "UINT4": (0, 16), "INT8": (-128, 128), "UINT16": (0, 2**16)}.get(kind, (-8, 9))
    draw = np.random.default_rng(3)
    shape = {"one": (), "channels": (7,), "blocks": (6, 7)}[sizes]
    more = {"one": {}, "channels": {"axis": 1}, "blocks": {"axis": 0, "block_size": 5}}[sizes]
    tensors = [constant("w", number, draw.integers(low, high, (30, 7)), raw=raw)]
    if not kind.startswith("FLOAT"):
        tensors.append(constant("z", number, draw.integers(low, high, shape), raw=raw))
    nodes = [
        NODE("Flatten", ["x"], ["f"]),
        NODE("DequantizeLinear", ["w", "s", *(["z"] if len(tensors) > 1 else [])], ["d"], **more),
        NODE("MatMul", ["f", "d"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, {"s": draw.uniform(0.001, 0.01, shape).astype(np.float32)}, opset=21, shape=("n", 3, 2, 5))
    made.graph.initializer.extend(tensors)
    loaded = check(made, tmp_path, atol=2e-5 if kind != "UINT16" else 2e-2)
    assert loaded.name.endswith("(quantised, read as floats)")


@pytest.mark.parametrize(
    ("bits", "zeros"), [(4, "none"), (4, "packed"), (4, "floats"), (8, "none"), (8, "packed"), (2, "packed")]
)
def test_products_with_blocks_of_a_few_bits(bits: int, zeros: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    blocks, features = 6, 6  # the last block has 10 of 16 inputs
    weights: dict[str, Any] = {
        "w": draw.integers(0, 256, (features, blocks, 16 * bits // 8)).astype(np.uint8),
        "s": draw.uniform(0.01, 0.1, features * blocks).astype(np.float32),
        "z": draw.integers(0, 256, (features, -(-blocks * bits // 8))).astype(np.uint8),
        "b": draw.standard_normal(features).astype(np.float32),
    }
    if zeros == "floats":
        weights["z"] = draw.uniform(0, 2**bits, (features, blocks)).astype(np.float32)
    nodes = [
        NODE("Flatten", ["x"], ["f"]),
        NODE("MatMulNBits", ["f", "w", "s", "" if zeros == "none" else "z", "", "b"], ["y"], domain="com.microsoft",
             K=90, N=features, bits=bits, block_size=16),
    ]  # fmt: skip
    made = model(nodes, weights, shape=("n", 3, 3, 10))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    loaded = check(made, tmp_path, atol=2e-4)
    assert loaded.name.endswith("(quantised, read as floats)")


@pytest.mark.parametrize("integers", [(-128, 128), SEVEN_BITS])
@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_merged_dynamic_products(op: str, integers: tuple[int, int], tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    weights = {
        "w": draw.integers(*integers, (90, 6)).astype(np.int8),
        "s": draw.uniform(0.001, 0.01, 6).astype(np.float32),
        "b": draw.standard_normal(6).astype(np.float32),
    }
    nodes = [NODE("Flatten", ["x"], ["f"])]
    if op == "DynamicQuantizeMatMul":
        nodes += [NODE(op, ["f", "w", "s", "", "b"], ["y"], domain="com.microsoft")]
    else:
        nodes += [NODE("DynamicQuantizeLinear", ["f"], ["q", "qs", "qz"]),
                  NODE(op, ["q", "w", "qs", "s", "qz", "", "b"], ["y"], domain="com.microsoft")]  # fmt: skip
    made = model(nodes, weights, shape=("n", 3, 3, 10))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    x = windows(3, (3, 3, 10))
    found, wanted = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy(), oracle(made, x)
    real = x.reshape(3, 90) @ (weights["w"] * weights["s"]) + weights["b"]
    np.testing.assert_allclose(found, real, rtol=0, atol=1e-4)
    if integers == SEVEN_BITS:
        assert 0 < np.abs(wanted - real).max() < 0.03 * np.ptp(real)  # rounding of the input


def test_an_input_of_integers_may_be_read_by_integer_operators(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    weights = {
        "s": np.float32(0.02), "z": np.uint8(120), "w": draw.integers(*SEVEN_BITS, (4, 3, 3, 3)).astype(np.int8),
        "ws": np.float32(0.01), "wz": np.int8(0), "ys": np.float32(0.08), "yz": np.uint8(128),
    }  # fmt: skip
    direct = [
        NODE("QLinearConv", ["x", "s", "z", "w", "ws", "wz", "ys", "yz"], ["q"]),
        NODE("DequantizeLinear", ["q", "ys", "yz"], ["d"]), NODE("Flatten", ["d"], ["y"]),
    ]  # fmt: skip
    plain = [
        NODE("ConvInteger", ["x", "w", "z"], ["c"]), NODE("Cast", ["c"], ["f"], to=1), NODE("Mul", ["f", "ys"], ["d"]),
        NODE("Flatten", ["d"], ["y"]),
    ]  # fmt: skip
    x = draw.integers(0, 256, (2, 3, 9, 10)).astype(np.uint8)
    for nodes, atol in ((direct, 0.041), (plain, 1e-2)):
        made = model(nodes, weights, opset=13, dtype=2, out_dtype=1)
        found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x.astype(np.float32))).detach().numpy()
        np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=atol)


@pytest.mark.parametrize("given", [True, False])
def test_padding_of_integers_is_the_number_that_they_mean(given: bool, tmp_path: Path) -> None:
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"]), NODE("Pad", ["q", "p", *(["v"] if given else [])], ["r"]),
        NODE("DequantizeLinear", ["r", "s", "z"], ["d"]), NODE("Flatten", ["d"], ["y"]),
    ]  # fmt: skip
    weights = {"s": np.float32(0.03), "z": np.uint8(100), "p": np.array([0, 0, 1, 1, 0, 0, 2, 0]), "v": np.uint8(150)}
    made = model(nodes, weights if given else {k: v for k, v in weights.items() if k != "v"}, opset=13)
    x = windows(2, (3, 9, 10))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=0.0151)


@pytest.mark.parametrize("op", ["Cast", "ConvInteger"])
def test_what_computes_with_the_integers_of_a_quantised_value_is_refused(op: str, tmp_path: Path) -> None:
    reader = NODE("Cast", ["q"], ["f"], to=1) if op == "Cast" else NODE("ConvInteger", ["q", "w", "z"], ["c"])
    nodes = [NODE("QuantizeLinear", ["x", "s", "z"], ["q"]), reader]
    nodes += [NODE("Cast", ["c"], ["f"], to=1)] if op == "ConvInteger" else []
    weights = {"s": np.float32(0.02), "z": np.uint8(0), "w": np.ones((4, 3, 3, 3), np.int8)}
    made = model([*nodes, NODE("Flatten", ["f"], ["y"])], weights, opset=13)
    with pytest.raises(CaptureError, match=rf"\({op}\): computes with the integers of the quantised value 'q'"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("turned", [False, True])
def test_constants_that_the_file_quantises_itself_are_integers_too(kind: Any, turned: bool, tmp_path: Path) -> None:
    nodes = [
        *([NODE("Transpose", ["w0"], ["w"], perm=[1, 0, 2, 3])] if turned else [NODE("Identity", ["w0"], ["w"])]),
        NODE("QuantizeLinear", ["x", "s", "z"], ["q"]),
        NODE("QuantizeLinear", ["w", "ws", "wz"], ["wq"]),
        NODE("QuantizeLinear", ["one", "os", "oz"], ["oq"]),
        NODE("QLinearConv", ["q", "s", "z", "wq", "ws", "wz", "cs", "cz"], ["c"]),
        NODE("QLinearAdd", ["c", "cs", "cz", "oq", "os", "oz", "as", "az"], ["a"], domain="com.microsoft"),
        NODE("DequantizeLinear", ["a", "as", "az"], ["d"]), NODE("Flatten", ["d"], ["y"]),
    ]  # fmt: skip
    low = int(np.iinfo(kind).min)
    weights = {
        "w0": windows(1, (3, 3, 3, 3))[0] * 0.1, "s": np.float32(0.05), "z": kind(low + 128), "ws": np.float32(0.004),
        "wz": kind(low + 128), "one": np.float32(1), "os": np.float32(1 / 255), "oz": kind(low), "cs": np.float32(0.03),
        "cz": kind(low + 128), "as": np.float32(0.04), "az": kind(low + 100),
    }  # fmt: skip
    made = model(nodes, weights, opset=13)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    x = windows(2, (3, 9, 10))
    found, wanted = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy(), oracle(made, x)
    assert np.abs(found - wanted).max() < 0.06


def test_constants_quantised_to_floats_of_8_bits_are_rounded_to_them(tmp_path: Path) -> None:
    tensors = [constant("z", onnx.TensorProto.FLOAT8E4M3FN, np.zeros(()))]
    nodes = [
        NODE("QuantizeLinear", ["w", "s", "z"], ["q"]), NODE("DequantizeLinear", ["q", "s", "z"], ["d"]),
        NODE("Mul", ["x", "d"], ["m"]), NODE("Flatten", ["m"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, {"w": np.float32([0.3, 1.07, 5000]), "s": np.float32(1)}, opset=19, shape=("n", 3, 4, 3))
    made.graph.initializer.extend(tensors)
    x = windows(2, (3, 4, 3))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, oracle(made, x), rtol=0, atol=1e-4)
