"""Inputs of ONNX files with their channels last, or without a batch, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import NodeProto, TensorProto, helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx
from fullfield.importers.onnx.input_layout import channels_last, first_channels

from .onnx_models import check, model, oracle, stored, windows  # noqa: TID252 - tests are no package

NODE = helper.make_node
TURN = NODE("Transpose", ["scaled"], ["turned"], perm=[0, 3, 1, 2])
HEAD = [
    NODE("Conv", ["turned", "w"], ["conv"]),
    NODE("GlobalAveragePool", ["conv"], ["g"]),
    NODE("Flatten", ["g"], ["y"]),
]


def weights(bands: int, **more: object) -> dict[str, np.ndarray]:
    return {"w": windows(5, (bands, 3, 3)), "s": np.float32(0.25), **{k: np.asarray(v) for k, v in more.items()}}


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 13])
def test_channels_last_are_found_behind_arithmetic(bands: int, free: bool, tmp_path: Path) -> None:
    sizes = ["h", "w"] if free else [8, 9]
    nodes = [NODE("Sub", ["x", "m"], ["centred"]), NODE("Mul", ["centred", "s"], ["scaled"]), TURN, *HEAD]
    made = model(nodes, weights(bands, m=windows(1, (bands,))[0]), shape=("n", *sizes, bands))
    found = load_onnx(stored(made, tmp_path), window=(8, 9))
    assert (found.channels, found.window) == (bands, (8, 9))
    x = windows(3, (bands, 8, 9))
    wanted = oracle(made, x.transpose(0, 2, 3, 1))
    assert np.abs(found(torch.from_numpy(x)).detach().numpy() - wanted).max() <= 1e-5 * np.ptp(wanted)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("bands", [2, 3, 7])
def test_channels_last_are_found_behind_quantised_pixels(bands: int, free: bool, tmp_path: Path) -> None:
    """As TFLite's files are converted: pixels of 8 bits, and weights as integers."""
    scale, zero = {"scale": np.float32(1 / 255)}, {"zero": np.uint8(0), "signed": np.int8(-128), "none": np.int8(0)}
    nodes = [
        NODE("DequantizeLinear", ["x", "scale", "zero"], ["real"]),
        NODE("QuantizeLinear", ["real", "scale", "signed"], ["q"]),
        NODE("Transpose", ["q"], ["first"], perm=[0, 3, 1, 2]),
        NODE("DequantizeLinear", ["first", "scale", "signed"], ["turned"]),
        NODE("DequantizeLinear", ["integers", "scale", "none"], ["w"]),
        *HEAD,
    ]
    integers = np.random.default_rng(0).integers(-127, 128, (5, bands, 3, 3)).astype(np.int8)
    shape = ("n", *(("h", "w", "c") if free else (16, 16, bands)))
    kinds = {"dtype": TensorProto.UINT8, "out_dtype": TensorProto.FLOAT}
    made = model(nodes, {"integers": integers, **scale, **zero}, shape=shape, **kinds)
    found = load_onnx(stored(made, tmp_path), window=16)
    assert (found.channels, found.window) == (bands, (16, 16))
    x = np.random.default_rng(1).integers(0, 256, (3, 16, 16, bands), dtype=np.uint8)
    got = found(torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))).detach().numpy()
    assert np.abs(got - oracle(made, x)).max() <= 1e-5 * np.ptp(got)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("ConvInteger", ["x", "w"], {}),
        ("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], {}),
        ("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], {"channels_last": 1}),
        ("NhwcFusedConv", ["x", "w"], {}),
    ],
)
def test_convolutions_of_integers_say_where_the_channels_are(
    op: str, inputs: list[str], attributes: dict[str, int]
) -> None:
    graph = model([NODE(op, inputs, ["y"], **attributes)], {"w": np.zeros((5, 7, 3, 3), np.int8)}).graph
    assert first_channels(graph) == 7
    assert channels_last(graph, "x", [None, None, None, None]) == (op == "NhwcFusedConv" or bool(attributes))


def test_a_scale_for_each_channel_of_a_single_window_is_refused(tmp_path: Path) -> None:
    real = NODE("DequantizeLinear", ["x", "scales", "zeros"], ["real"], axis=0)
    nodes = [real, NODE("Unsqueeze", ["real", "front"], ["turned"]), *HEAD]
    held = weights(3, scales=np.ones(3, np.float32), zeros=np.zeros(3, np.uint8), front=np.array([0]))
    made = model(nodes, held, shape=(3, 8, 9), dtype=TensorProto.UINT8, out_dtype=TensorProto.FLOAT)
    with pytest.raises(CaptureError, match="one window without a batch, which DequantizeLinear reads as it is"):
        load_onnx(stored(made, tmp_path))


def test_channels_last_of_a_free_size_are_found_by_the_first_convolution(tmp_path: Path) -> None:
    nodes = [
        NODE("Unsqueeze", ["x", "zero"], ["five"]),
        NODE("Reshape", ["five", "shape"], ["turned"]),
        *HEAD,
    ]
    made = model(nodes, weights(1, zero=[0], shape=[-1, 1, 0, 0]), shape=("n", "h", "w", 1))
    x = windows(3, (1, 8, 9))
    found = load_onnx(stored(made, tmp_path), window=(8, 9))(torch.from_numpy(x)).detach().numpy()
    wanted = oracle(made, x.transpose(0, 2, 3, 1))
    assert np.abs(found - wanted).max() <= 1e-5 * np.ptp(wanted)


def test_channels_first_stay_first_where_the_convolution_follows(tmp_path: Path) -> None:
    made = model([NODE("Mul", ["x", "s"], ["turned"]), *HEAD], weights(16), shape=("n", 16, 12, 3))
    assert check(made, tmp_path, atol=1e-5).window == (12, 3)


ONE_BAND: dict[str, tuple[list[NodeProto], tuple[int | str, ...]]] = {
    "unsqueezed": ([NODE("Unsqueeze", ["x", "one"], ["turned"]), *HEAD], ("n", 8, 9)),
    "of one window": ([NODE("Unsqueeze", ["x", "one"], ["turned"]), *HEAD], (1, 8, 9)),
    "of a free size": ([NODE("Unsqueeze", ["x", "one"], ["turned"]), *HEAD], ("n", "h", "w")),
    "reshaped, then transposed": (
        [NODE("Mul", ["x", "s"], ["a"]), NODE("Reshape", ["a", "shape"], ["scaled"]), TURN, *HEAD],
        ("n", 8, 9),
    ),
    "flattened": ([NODE("Reshape", ["x", "flat"], ["f"]), NODE("MatMul", ["f", "dense"], ["y"])], ("n", 8, 9)),
}


@pytest.mark.parametrize("kind", ONE_BAND)
def test_images_of_one_band_need_no_axis_for_it(kind: str, tmp_path: Path) -> None:
    nodes, shape = ONE_BAND[kind]
    dense = windows(72, (5,))
    made = model(nodes, weights(1, one=[1], shape=[-1, 8, 9, 1], flat=[-1, 72], dense=dense), shape=shape)
    found = load_onnx(stored(made, tmp_path), window=(8, 9))
    assert (found.channels, found.window, found.of_signals) == (1, (8, 9), False)
    x = windows(3, (1, 8, 9))
    wanted = np.concatenate([oracle(made, each) for each in x])
    assert np.abs(found(torch.from_numpy(x)).detach().numpy() - wanted).max() <= 1e-5 * np.ptp(wanted)


BATCH: dict[str, tuple[list[NodeProto], tuple[int, ...]]] = {
    "(c, h, w)": ([NODE("Unsqueeze", ["x", "zero"], ["turned"])], (3, 8, 9)),
    "(c, h, w), scaled": (
        [NODE("Mul", ["x", "s"], ["scaled"]), NODE("Unsqueeze", ["scaled", "zero"], ["turned"])],
        (3, 8, 9),
    ),
    "(c, h, w), scaled by (1, c, 1, 1)": ([NODE("Mul", ["x", "each"], ["turned"])], (3, 8, 9)),
    "(c, h, w), reshaped": ([NODE("Reshape", ["x", "one"], ["turned"])], (3, 8, 9)),
    "(c, h, w), BGR": (
        [NODE("Gather", ["x", "bgr"], ["b"], axis=0), NODE("Unsqueeze", ["b", "zero"], ["turned"])],
        (3, 8, 9),
    ),
    "(h, w, c)": ([NODE("Unsqueeze", ["x", "zero"], ["scaled"]), TURN], (8, 9, 3)),
    "(h, w, c), turned first": (
        [NODE("Transpose", ["x"], ["t"], perm=[2, 0, 1]), NODE("Unsqueeze", ["t", "zero"], ["turned"])],
        (8, 9, 3),
    ),
}


@pytest.mark.parametrize("end", ["(1, k)", "(k,)"])
@pytest.mark.parametrize("kind", BATCH)
def test_an_input_of_one_window_gets_a_batch(kind: str, end: str, tmp_path: Path) -> None:
    nodes, shape = BATCH[kind]
    given = weights(3, zero=[0], one=[1, 3, 8, 9], bgr=[2, 1, 0], each=windows(1, (3, 1, 1)))
    body = [*nodes, *HEAD[:2], NODE("Flatten", ["g"], ["y" if end == "(1, k)" else "f"])]
    body += [] if end == "(1, k)" else [NODE("Squeeze", ["f", "zero"], ["y"])]
    made = model(body, given, shape=shape)
    found = load_onnx(stored(made, tmp_path))
    x = windows(3, (3, 8, 9))
    crops = x if shape[0] == 3 else x.transpose(0, 2, 3, 1)
    wanted = np.stack([oracle(made, np.ascontiguousarray(crop)).reshape(-1) for crop in crops])
    assert np.abs(found(torch.from_numpy(x)).detach().numpy() - wanted).max() <= 1e-5 * np.ptp(wanted)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (NODE("ReduceMean", ["x"], ["y"], keepdims=0), "one window without a batch, which ReduceMean reads as it is"),
        (NODE("Unsqueeze", ["x", "last"], ["y"]), "without a batch, which Unsqueeze reads"),
        (NODE("Reshape", ["x", "flat"], ["y"]), "without a batch, which Reshape reads"),
    ],
)
def test_what_needs_the_single_window_is_refused_by_name(node: NodeProto, message: str, tmp_path: Path) -> None:
    made = model([node], {"last": np.array([3]), "flat": np.array([3, 72])}, shape=(3, 8, 9))
    with pytest.raises(CaptureError, match=message):
        load_onnx(stored(made, tmp_path))


def test_inputs_of_a_file_that_has_several_are_named_with_their_sizes(tmp_path: Path) -> None:
    made = model([NODE("Sub", ["x", "mean"], ["turned"]), *HEAD], weights(3), shape=("n", 3, 8, 9))
    made.graph.input.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1]))
    with pytest.raises(CaptureError, match=r"has 2 inputs: x \(n, 3, 8, 9\), mean \(1, 3, 1, 1\); not one image"):
        load_onnx(stored(made, tmp_path))
