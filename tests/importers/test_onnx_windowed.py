"""Convolutions and pools read from ONNX compute what onnxruntime computes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, flat, model, oracle, stored, windows  # noqa: TID252 - tests are no package

NODE = helper.make_node
RNG = np.random.default_rng(3)

PADDED: list[dict[str, Any]] = [
    {},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 2, 1]},
    {"pads": [1, 0, 0, 2]},
    {"auto_pad": "VALID"},
    {"auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER"},
]


def _weights(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("padding", PADDED, ids=str)
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3)], ids=str)
def test_a_convolution_pads_as_the_file_says(padding: Any, strides: Any, kernel: Any, tmp_path: Path) -> None:
    weights = {"w": _weights(4, 3, *kernel), "b": _weights(4)}
    check(flat("Conv", weights, inputs=["w", "b"], strides=strides, **padding), tmp_path, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 22])
@pytest.mark.parametrize("dilations", [[1, 1], [2, 3]], ids=str)
def test_a_dilated_convolution_in_every_opset(opset: int, dilations: Any, tmp_path: Path) -> None:
    made = flat("Conv", {"w": _weights(2, 3, 3, 2)}, inputs=["w"], dilations=dilations, opset=opset, pads=[2, 1, 2, 1])
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize(("group", "channels"), [(2, 4), (4, 4), (4, 8)])
def test_a_grouped_convolution(group: int, channels: int, tmp_path: Path) -> None:
    weights = {"w": _weights(channels, 4 // group, 3, 3)}
    made = flat("Conv", weights, inputs=["w"], group=group, shape=("n", 4, 9, 9), pads=[1, 1, 1, 1])
    loaded = check(made, tmp_path, atol=1e-5)
    conv = next(n for n in loaded.graph.graph.nodes if n.target is torch.ops.aten.conv2d.default)
    assert conv.args[4] == [1, 1]


def test_same_padding_that_is_even_stays_inside_the_convolution(tmp_path: Path) -> None:
    made = flat("Conv", {"w": _weights(4, 3, 3, 3)}, inputs=["w"], auto_pad="SAME_UPPER")
    targets = [n.target for n in load_onnx(stored(made, tmp_path)).graph.graph.nodes]
    assert torch.ops.aten.pad.default not in targets


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0], "output_padding": [1, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 2], "output_shape": [18, 20]},
        {"dilations": [2, 1], "strides": [3, 2]},
    ],
    ids=str,
)
def test_a_transposed_convolution(attributes: Any, tmp_path: Path) -> None:
    weights = {"w": _weights(4, 2, 3, 3), "b": _weights(4)}
    shape = ("n", 4, 9, 10)
    made = flat("ConvTranspose", weights, inputs=["w", "b"], group=2, shape=shape, **attributes)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool+pad", "LpPool"])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("padding", PADDED, ids=str)
@pytest.mark.parametrize(
    ("kernel", "strides"), [((3, 3), (2, 2)), ((2, 3), (1, 2)), ((3, 2), (3, 3)), ((2, 2), (3, 3))]
)
def test_a_pool_reads_and_counts_as_onnxruntime_does(
    op: str, ceil_mode: int, padding: Any, kernel: Any, strides: Any, tmp_path: Path
) -> None:
    pads = padding.get("pads", [0] * 4)
    if any(p >= k for p, k in zip(pads, (*kernel, *kernel), strict=True)):
        pytest.skip("onnxruntime refuses padding as wide as the kernel")
    if op == "MaxPool" and strides > kernel and "SAME" in padding.get("auto_pad", ""):
        pytest.skip("onnxruntime refuses SAME where the stride leaves cells unread")
    extra = {"count_include_pad": 1} if op.endswith("+pad") else {}
    opset = 18 if op == "LpPool" else 19
    shared = {"kernel_shape": kernel, "strides": strides, "ceil_mode": ceil_mode, "opset": opset}
    check(flat(op.removesuffix("+pad"), **shared, **padding, **extra), tmp_path, atol=1e-5)


@pytest.mark.parametrize(("size", "op"), list(itertools.product(range(6, 14), ["MaxPool", "AveragePool"])))
def test_a_pool_that_rounds_up_at_every_remainder(size: int, op: str, tmp_path: Path) -> None:
    shape = ("n", 2, size, size + 1)
    for kernel, stride, pad in ((3, 2, 0), (3, 2, 1), (2, 3, 1), (3, 4, 1), (2, 2, 0)):
        for counted in (0, 1) if op == "AveragePool" else (None,):
            extra = {} if counted is None else {"count_include_pad": counted}
            made = flat(
                op,
                shape=shape,
                opset=22,
                kernel_shape=[kernel] * 2,
                strides=[stride] * 2,
                pads=[pad] * 4,
                ceil_mode=1,
                **extra,
            )
            check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("padding", PADDED, ids=str)
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_a_dilated_pool(op: str, padding: Any, ceil_mode: int, tmp_path: Path) -> None:
    extra = {} if op == "MaxPool" else {"count_include_pad": 0}
    shared = {"opset": 19, "kernel_shape": [3, 3], "dilations": [2, 1], "strides": [1, 2], "ceil_mode": ceil_mode}
    if "SAME" not in padding.get("auto_pad", ""):
        check(flat(op, **shared, **padding, **extra), tmp_path, atol=1e-5)
        return
    made = flat(op, **shared, **padding, **extra)
    loaded = load_onnx(stored(made, tmp_path))
    # onnxruntime ignores the dilation in SAME, against the standard's formula: it is given explicit pads.
    pads = [2, 0, 2, 1] if padding["auto_pad"] == "SAME_UPPER" else [2, 1, 2, 0]
    x = windows(2, (3, 9, 10))
    wanted = oracle(flat(op, **shared, **extra, pads=pads), x)
    np.testing.assert_allclose(loaded(torch.from_numpy(x)).numpy(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_a_pool_over_the_whole_map(op: str, tmp_path: Path) -> None:
    check(flat(op), tmp_path, atol=1e-5)


@pytest.mark.parametrize("opset", [8, 11, 17, 22])
def test_a_max_pool_in_every_opset(opset: int, tmp_path: Path) -> None:
    check(flat("MaxPool", opset=opset, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), tmp_path, atol=0)


def test_a_pool_larger_than_its_map_is_refused_with_both_sizes(tmp_path: Path) -> None:
    made = flat("MaxPool", kernel_shape=[20, 20])
    with pytest.raises(CaptureError, match=r"tested \(MaxPool\): kernel \[20, 20\].*\(9, 10\)"):
        load_onnx(stored(made, tmp_path))


def test_a_pool_whose_indices_are_used_is_refused(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("MaxPool", ["x"], ["z", "i"], kernel_shape=[2, 2]),
        helper.make_node("Cast", ["i"], ["f"], to=1),
        helper.make_node("Add", ["z", "f"], ["y"]),
    ]
    with pytest.raises(CaptureError, match="indices"):
        load_onnx(stored(model(nodes), tmp_path))


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "size"),
    [
        (3, 2, [0, 0, 1, 1], 16), (2, 1, [0, 0, 1, 1], 16), (2, 1, [1, 1, 0, 0], 15), (3, 3, [0, 0, 1, 1], 14),
        (3, 1, [0, 1, 1, 1], 16), (4, 2, [0, 1, 2, 1], 16), (5, 2, [1, 1, 2, 2], 16),
    ],
    ids=str,
)  # fmt: skip
def test_means_without_uneven_padding_are_shared(
    kernel: int, stride: int, pads: list[int], size: int, tmp_path: Path
) -> None:
    weights = {"w": _weights(4, 3, 3, 3)}
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        NODE("AveragePool", ["c"], ["p"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads),
        NODE("Relu", ["p"], ["r"]), NODE("GlobalMaxPool", ["r"], ["g"]), NODE("Flatten", ["g"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, weights, shape=("n", 3, size, size))
    net = check(made, tmp_path, atol=1e-5)
    assert all(row.shared for row in fullfield.inspect(net).rows if row.type in ("avg_pool2d", "relu", "slice"))
    image = windows(1, (size + 8, size + 4, 3))[0]
    scores = fullfield.scan(net, image, step=4).array
    crops = [image[y : y + size, x : x + size].transpose(2, 0, 1) for y in (0, 4, 8) for x in (0, 4)]
    wanted = oracle(made, np.stack(crops)).reshape(6, -1)
    np.testing.assert_allclose(scores.reshape(len(scores), -1).T, wanted, rtol=0, atol=1e-5)
