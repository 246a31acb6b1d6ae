"""Operators that resize, sample, select, sum up or are merged by ONNX Runtime compute what onnxruntime computes."""

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

from .onnx_models import check, flat, model, stored, windows  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(9)
NODE = helper.make_node


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def targets(loaded: Any) -> list[str]:
    return [str(node.target) for node in loaded.graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    ("op", "opset", "attributes"),
    [
        ("Atan", 7, {}), ("Tan", 7, {}), ("Sinh", 9, {}), ("Cosh", 9, {}), ("Asinh", 9, {}), ("Shrink", 9, {}),
        ("Shrink", 9, {"lambd": 0.3, "bias": 0.2}), ("LpNormalization", 22, {"axis": 1, "p": 1}),
        ("LpNormalization", 22, {"axis": -1}), ("MeanVarianceNormalization", 13, {"axes": [2, 3]}),
        ("MeanVarianceNormalization", 13, {"axes": [1]}), ("Hardmax", 13, {"axis": 1}), ("Hardmax", 13, {"axis": -1}),
        ("Hardmax", 11, {"axis": 2}), ("ReduceLogSum", 11, {"axes": [1]}),
    ],
    ids=str,
)  # fmt: skip
def test_a_function_of_one_input(op: str, opset: int, attributes: Any, tmp_path: Path) -> None:
    x = np.abs(windows(3, (3, 9, 10))) if op == "ReduceLogSum" else None
    check(flat(op, opset=opset, **attributes), tmp_path, atol=2e-6, x=x)


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh", "Acosh"])
def test_a_function_of_some_numbers_only(op: str, tmp_path: Path) -> None:
    x = np.tanh(windows(3, (3, 9, 10))) * 0.9
    check(flat(op, opset=9), tmp_path, atol=2e-6, x=1.5 + np.abs(x) if op == "Acosh" else x)


@pytest.mark.parametrize(("op", "attributes"), [("IsNaN", {}), ("IsInf", {}), ("IsInf", {"detect_negative": 0}),
                                               ("IsInf", {"detect_positive": 0})], ids=str)  # fmt: skip
def test_numbers_that_are_none_are_found(op: str, attributes: Any, tmp_path: Path) -> None:
    x = windows(3, (3, 9, 10))
    x[0, 0, 0, :4] = [np.nan, np.inf, -np.inf, 0]
    nodes = [NODE(op, ["x"], ["z"], **attributes), NODE("Cast", ["z"], ["f"], to=1), NODE("Flatten", ["f"], ["y"])]
    check(model(nodes, opset=13), tmp_path, atol=0, x=x)


def test_a_mean_of_several_inputs(tmp_path: Path) -> None:
    nodes = [NODE("Tanh", ["x"], ["t"]), NODE("Mean", ["x", "t", "w"], ["z"]), NODE("Flatten", ["z"], ["y"])]
    check(model(nodes, {"w": numbers(3, 1, 1)}), tmp_path, atol=1e-6)


MODES = [
    ("nearest", how, nearest)
    for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_half_pixel_for_nn")
    for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if how != "tf_half_pixel_for_nn" or nearest == "floor"
]
MODES += [
    (m, how, "")
    for m in ("linear", "cubic")
    for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
]


def resize(mode: str, how: str, nearest: str, **more: Any) -> Any:
    attributes = {"mode": mode, "coordinate_transformation_mode": how, **more}
    return attributes | ({"nearest_mode": nearest} if nearest else {})


@pytest.mark.parametrize(("mode", "how", "nearest"), MODES, ids=str)
@pytest.mark.parametrize("scales", [(2, 2), (3, 2), (1.5, 0.7), (0.5, 0.4)], ids=str)
def test_resize_by_factors_in_every_mode(mode: str, how: str, nearest: str, scales: Any, tmp_path: Path) -> None:
    made = flat("Resize", {"s": np.array([1, 1, *scales], np.float32)}, inputs=["", "s"], opset=13,
                **resize(mode, how, nearest))  # fmt: skip
    check(made, tmp_path, atol=3e-5)


@pytest.mark.parametrize(("mode", "how", "nearest"), MODES[::3], ids=str)
@pytest.mark.parametrize("size", [(18, 30), (12, 7), (5, 1)], ids=str)
def test_resize_to_a_size_in_every_mode(mode: str, how: str, nearest: str, size: Any, tmp_path: Path) -> None:
    made = flat(
        "Resize", {"z2": ints(*size)}, inputs=["", "", "z2"], opset=18, axes=[2, 3], **resize(mode, how, nearest)
    )
    check(made, tmp_path, atol=3e-5)


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("cubic", {"cubic_coeff_a": -0.5}),
        ("cubic", {"exclude_outside": 1}),
        ("linear", {"antialias": 1}),
        ("cubic", {"antialias": 1, "exclude_outside": 1}),
    ],
    ids=str,
)
def test_resize_with_other_kernels(mode: str, more: Any, tmp_path: Path) -> None:
    made = flat("Resize", {"s": np.array([0.5, 0.45], np.float32)}, inputs=["", "s"], opset=18, axes=[2, 3],
                **resize(mode, "half_pixel", "", **more))  # fmt: skip
    check(made, tmp_path, atol=3e-5)


PART = np.array([0.2, -0.1, 0.7, 1.3], np.float32)  # from the first to the last cell of two axes


@pytest.mark.parametrize(("mode", "nearest"), [("linear", ""), ("cubic", ""), ("nearest", "round_prefer_floor")])
@pytest.mark.parametrize("size", [(6, 8), (18, 1), (8, 7)], ids=str)
def test_a_part_of_a_map_is_resized(mode: str, nearest: str, size: Any, tmp_path: Path) -> None:
    attributes = resize(mode, "tf_crop_and_resize", nearest, extrapolation_value=0.25)
    every = np.array([0, 0, *PART[:2], 1, 1, *PART[2:]], np.float32)
    made = flat("Resize", {"r": every, "z2": ints(1, 3, *size)}, inputs=["r", "", "z2"], opset=13,
                shape=(1, 3, 9, 10), **attributes)  # fmt: skip
    check(made, tmp_path, atol=3e-5, x=windows(1, (3, 9, 10)))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("size", [(12, 7), (20, 31), (4, 5)], ids=str)
def test_resize_that_keeps_the_aspect_ratio(policy: str, mode: str, size: Any, tmp_path: Path) -> None:
    made = flat("Resize", {"z2": ints(*size)}, inputs=["", "", "z2"], opset=19, axes=[2, 3], mode=mode,
                keep_aspect_ratio_policy=policy)  # fmt: skip
    check(made, tmp_path, atol=3e-5)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("scales", [(1.5, 0.7), (2.0, 2.3)], ids=str)
def test_resize_about_the_middle(mode: str, scales: Any, tmp_path: Path) -> None:
    made = flat("Resize", {"s": np.array([1, 1, *scales], np.float32)}, inputs=["", "s"], opset=19, mode=mode,
                coordinate_transformation_mode="half_pixel_symmetric")  # fmt: skip
    check(made, tmp_path, atol=3e-5)


def test_what_torch_resizes_is_left_to_torch(tmp_path: Path) -> None:
    for mode, how, nearest, target in (
        ("nearest", "asymmetric", "floor", "upsample_nearest2d"),
        ("nearest", "half_pixel", "round_prefer_floor", "upsample_nearest2d"),
        ("linear", "half_pixel", "", "upsample_bilinear2d"),
        ("linear", "align_corners", "", "upsample_bilinear2d"),
        ("cubic", "half_pixel", "", "upsample_bicubic2d"),
    ):
        made = flat("Resize", {"s": np.array([1, 1, 2, 2], np.float32)}, inputs=["", "s"], opset=13,
                    **resize(mode, how, nearest))  # fmt: skip
        assert any(target in each for each in targets(check(made, tmp_path, atol=3e-5)))


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_older_resizing(op: str, opset: int, mode: str, tmp_path: Path) -> None:
    made = flat(op, {"s": np.array([1, 1, 2, 3], np.float32)}, inputs=["s"], opset=opset, mode=mode)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, padding: str, corners: int, tmp_path: Path) -> None:
    grid = RNG.uniform(-1.2, 1.2, (1, 4, 5, 2)).astype(np.float32)
    nodes = [
        NODE("Shape", ["x"], ["n"], end=1), NODE("Concat", ["n", "rest"], ["size"], axis=0),
        NODE("Expand", ["grid", "size"], ["g"]),
        NODE("GridSample", ["x", "g"], ["z"], mode=mode, padding_mode=padding, align_corners=corners),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"grid": grid, "rest": ints(4, 5, 2)}, opset=20), tmp_path, atol=2e-5)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(("axis", "keepdims", "last"), [(1, 1, 0), (-1, 0, 0), (2, 1, 1)])
def test_places_of_extremes(op: str, axis: int, keepdims: int, last: int, tmp_path: Path) -> None:
    nodes = [
        NODE("Round", ["x"], ["r"]),
        NODE(op, ["r"], ["i"], axis=axis, keepdims=keepdims, select_last_index=last),
        NODE("Cast", ["i"], ["f"], to=1), NODE("Mul", ["f", "half"], ["z"]),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"half": np.float32(0.5)}, opset=13), tmp_path, atol=0)


@pytest.mark.parametrize(("axis", "largest"), [(1, 1), (-1, 0), (2, 1)])
def test_top_k(axis: int, largest: int, tmp_path: Path) -> None:
    nodes = [
        NODE("TopK", ["x", "k"], ["v", "i"], axis=axis, largest=largest), NODE("Cast", ["i"], ["f"], to=1),
        NODE("Mul", ["v", "f"], ["z"]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"k": ints(2)}, opset=13), tmp_path, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_gather_elements(axis: int, tmp_path: Path) -> None:
    shape = [1, 3, 9, 10]
    shape[axis] = 4
    places = RNG.integers(-3, 3, shape)
    nodes = [
        NODE("Shape", ["x"], ["n"], end=1), NODE("Concat", ["n", "rest"], ["size"], axis=0),
        NODE("Expand", ["places", "size"], ["p"]), NODE("GatherElements", ["x", "p"], ["z"], axis=axis),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"places": places, "rest": ints(*shape[1:])}, opset=15), tmp_path, atol=0)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_cumulative_sums(exclusive: int, reverse: int, axis: int, tmp_path: Path) -> None:
    made = flat("CumSum", {"a": ints(axis)[0]}, inputs=["a"], opset=14, exclusive=exclusive, reverse=reverse)
    check(made, tmp_path, atol=1e-5)


@pytest.mark.parametrize("repeats", [(1, 2, 1, 3), (1, 1, 1, 1)], ids=str)
def test_tile(repeats: Any, tmp_path: Path) -> None:
    check(flat("Tile", {"r": ints(*repeats)}, inputs=["r"], opset=13), tmp_path, atol=0)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("diagonal", [None, 2, -1])
def test_triangles(upper: int, diagonal: int | None, tmp_path: Path) -> None:
    given = {} if diagonal is None else {"k": np.array(diagonal)}
    check(flat("Trilu", given, inputs=[*given], opset=14, upper=upper), tmp_path, atol=0)


def microsoft(op: str, weights: dict[str, Any], before: list[onnx.NodeProto] | None = None, **attributes: Any) -> Any:
    """An operator of ONNX Runtime's own, on a map or on tokens."""
    first = "t" if before else "x"
    nodes = [*(before or []), NODE(op, [first, *weights], ["z"], domain="com.microsoft", **attributes)]
    made = model([*nodes, NODE("Flatten", ["z"], ["y"])], {k: v for k, v in weights.items() if k != "x"}, opset=17)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


TOKENS = [NODE("Flatten", ["x"], ["f"], axis=2), NODE("Identity", ["f"], ["t"])]


@pytest.mark.parametrize(
    ("op", "weights", "attributes"),
    [
        ("Gelu", {}, {}),
        ("FastGelu", {}, {}),
        ("FastGelu", {"b": numbers(10)}, {}),
        ("BiasGelu", {"b": numbers(10)}, {}),
        ("QuickGelu", {}, {"alpha": 1.5}),
        ("FusedConv", {"w": numbers(4, 3, 3, 3), "b": numbers(4)}, {"activation": "Relu", "pads": [1, 1, 1, 1]}),
        ("FusedConv", {"w": numbers(4, 3, 3, 3)}, {"activation": "LeakyRelu", "activation_params": [0.2]}),
        ("FusedConv", {"w": numbers(4, 3, 1, 1)}, {"activation": "Clip", "activation_params": [0.0, 1.0]}),
        ("FusedConv", {"w": numbers(4, 3, 1, 1)}, {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}),
        ("FusedConv", {"w": numbers(3, 3, 1, 1), "b": numbers(3), "x": None}, {"activation": "Relu"}),
        ("FusedMatMul", {"w": numbers(4, 10)}, {"transB": 1, "alpha": 0.5}),
        ("FusedMatMul", {"w": numbers(10, 1, 3, 4)}, {"transBatchB": 1}),
        ("FusedMatMul", {"w": numbers(4, 1, 3, 10)}, {"transBatchB": 1, "transB": 1, "alpha": 2.0}),
    ],
    ids=str,
)
def test_what_onnx_runtime_merges_is_read(op: str, weights: Any, attributes: Any, tmp_path: Path) -> None:
    check(microsoft(op, weights, **attributes), tmp_path, atol=2e-5 if op != "FastGelu" else 1e-3)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("each", [False, True])
def test_affine_grids(corners: int, each: bool, tmp_path: Path) -> None:
    weights = {"w": numbers(6, 3, 3, 3) * 0.1, "f": numbers(1, 6, 1, 1), "s": ints(0, 2, 3)}
    turn = [NODE("GlobalAveragePool", ["x"], ["g"]), NODE("Conv", ["x", "w"], ["c"]),
            NODE("GlobalAveragePool", ["c"], ["m"]), NODE("Add", ["m", "f"], ["t0"])]  # fmt: skip
    turn.append(NODE("Reshape", ["t0" if each else "f", "s"], ["theta"]))
    nodes = [
        *turn, NODE("Shape", ["x"], ["all"]), NODE("Slice", ["all", "i0", "i1"], ["n"]),
        NODE("Concat", ["n", "size"], ["to"], axis=0),
        NODE("AffineGrid", ["theta", "to"], ["g1"], align_corners=corners),
        NODE("GridSample", ["x", "g1"], ["y0"]), NODE("Flatten", ["y0"], ["y"]),
    ]  # fmt: skip
    weights |= {"i0": ints(0), "i1": ints(1), "size": ints(3, 6, 5)}
    if not each:
        nodes = [n for n in nodes if n.op_type not in ("GlobalAveragePool", "Conv", "Add")]
        nodes.insert(-3, NODE("Expand", ["theta", "grown"], ["theta2"]))
        nodes.insert(-4, NODE("Concat", ["n", "two"], ["grown"], axis=0))
        nodes[-3].input[0] = "theta2"
        weights["two"] = ints(1, 1)
    check(model(nodes, weights, opset=20), tmp_path, atol=1e-5)


def test_a_merged_product_and_activation(tmp_path: Path) -> None:
    made = microsoft("FusedGemm", {"w": numbers(270, 5), "b": numbers(5)}, [NODE("Flatten", ["x"], ["t"])],
                     activation="LeakyRelu", activation_alpha=0.1)  # fmt: skip
    with pytest.raises(CaptureError, match="activation 'Wave' with 0 numbers is unknown"):
        load_onnx(stored(microsoft("FusedConv", {"w": numbers(4, 3, 1, 1)}, activation="Wave"), tmp_path))
    check(made, tmp_path, atol=2e-5)


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
@pytest.mark.parametrize("bias", [False, True])
def test_merged_layer_norms(op: str, bias: bool, tmp_path: Path) -> None:
    weights = {"gain": numbers(10)} | ({"shift": numbers(10)} if op == "SkipLayerNormalization" else {})
    names = [*weights, *(["bias"] if bias else [])]
    nodes = [
        NODE("Reshape", ["x", "size"], ["t"]),
        NODE("Tanh", ["t"], ["s"]),
        NODE(op, ["t", "s", *names], ["z"], domain="com.microsoft", epsilon=1e-5),
        NODE("Flatten", ["z"], ["y"]),
    ]
    made = model(nodes, {**weights, "size": ints(0, -1, 10)} | ({"bias": numbers(10)} if bias else {}))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    check(made, tmp_path, atol=2e-5)


def test_what_works_along_the_batch_is_refused(tmp_path: Path) -> None:
    for made in (
        flat("MeanVarianceNormalization", opset=13, axes=[0, 2, 3]),
        flat("CumSum", {"a": ints(0)[0]}, inputs=["a"], opset=14),
        flat("Resize", {"s": np.array([2, 1, 1, 1], np.float32)}, inputs=["", "s"], opset=13, mode="nearest"),
    ):
        with pytest.raises(CaptureError, match="batch"):
            load_onnx(stored(made, tmp_path))


def test_the_complement_of_the_error_function_in_files_of_keras(tmp_path: Path) -> None:
    """ONNX has no such operator; tf2onnx writes TensorFlow's own."""
    nodes = [helper.make_node("Erfc", ["x"], ["z"]), helper.make_node("Flatten", ["z"], ["y"])]
    loaded = load_onnx(stored(model(nodes), tmp_path))
    x = torch.from_numpy(windows(2, (3, 9, 10)))
    assert float((loaded(x) - torch.special.erfc(x).flatten(1)).abs().max()) < 1e-6
