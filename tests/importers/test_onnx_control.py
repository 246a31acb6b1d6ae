"""Branches whose condition is known, and loops whose number of turns is, are read as onnxruntime runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, model, stored  # noqa: TID252 - tests are no package

NODE = helper.make_node
RNG = np.random.default_rng(5)


def graph(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    inputs: Sequence[tuple[str, int]] = (),
    weights: dict[str, Any] | None = None,
    flags: Sequence[str] = (),
) -> onnx.GraphProto:
    """A graph inside a node; ``flags`` are the outputs that are booleans."""
    return helper.make_graph(
        list(nodes),
        "inner",
        [helper.make_tensor_value_info(name, kind, None if kind == TensorProto.FLOAT else []) for name, kind in inputs],
        [
            helper.make_tensor_value_info(name, TensorProto.BOOL if name in flags else TensorProto.FLOAT, None)
            for name in outputs
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
    )


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def squeezed(axis: int, shape: Sequence[int | str]) -> onnx.ModelProto:
    """``x.mean(2, keepdim=True).squeeze(axis)`` as torch writes it where the size is free."""
    nodes = [
        NODE("ReduceMean", ["x"], ["m"], axes=[2]),
        NODE("Shape", ["m"], ["s"]),
        NODE("Gather", ["s", "axis"], ["size"]),
        NODE("Equal", ["size", "one"], ["single"]),
        NODE(
            "If", ["single"], ["z"],
            then_branch=graph([NODE("Squeeze", ["m", "axes"], ["a"])], ["a"]),
            else_branch=graph([NODE("Mul", ["m", "two"], ["b"])], ["b"]),
        ),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    weights = {"axis": np.array(axis), "one": np.array(1), "axes": ints(axis), "two": np.float32(2)}
    return model(nodes, weights, shape=shape)


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(2, ("n", 3, 9, 10)), (2, ("n", 3, "h", "w")), (3, ("n", 3, "h", "w")), (2, (1, 3, 9, 10))],
    ids=str,
)
def test_a_branch_that_the_sizes_decide_is_taken(axis: int, shape: Any, tmp_path: Path) -> None:
    x = RNG.standard_normal((1 if shape[0] == 1 else 3, 3, 9, 10)).astype(np.float32)
    loaded = check(squeezed(axis, shape), tmp_path, atol=1e-6, x=x, window=(9, 10))
    assert ("squeeze" in str(loaded.graph.graph)) == (axis == 2)


def test_the_branch_that_is_not_taken_may_have_unknown_operators(tmp_path: Path) -> None:
    for taken, message in ((True, None), (False, r"operators that fullfield cannot read: NonMaxSuppression \(1\)")):
        inner = graph([NODE("NonMaxSuppression", ["x"], ["b"])], ["b"])
        nodes = [
            NODE("If", ["c"], ["z"], then_branch=graph([NODE("Relu", ["x"], ["a"])], ["a"]), else_branch=inner),
            NODE("Flatten", ["z"], ["y"]),
        ]
        path = stored(model(nodes, {"c": np.array(taken)}), tmp_path)
        if message is None:
            assert load_onnx(path).classes == 270
        else:
            with pytest.raises(CaptureError, match=message):
                load_onnx(path)


def test_branches_inside_branches_read_values_and_weights_of_all_graphs_around_them(tmp_path: Path) -> None:
    inner = NODE("If", ["inside"], ["b"], then_branch=graph([NODE("Mul", ["a", "w"], ["g"])], ["g"]),
                 else_branch=graph([NODE("Neg", ["a"], ["d"])], ["d"]))  # fmt: skip
    outer = graph([NODE("Add", ["r", "w"], ["a"]), inner, NODE("Add", ["b", "x"], ["e"])], ["e"],
                  weights={"inside": np.array(True), "w": np.float32(0.5)})  # fmt: skip
    nodes = [
        NODE("Tanh", ["x"], ["r"]),
        NODE("If", ["c"], ["z"], then_branch=outer, else_branch=graph([NODE("Neg", ["r"], ["f"])], ["f"])),
        NODE("Flatten", ["z"], ["y"]),
    ]
    check(model(nodes, {"c": np.array(True)}), tmp_path, atol=1e-6)


def test_operators_that_onnx_defines_by_others_are_read_inside_a_branch(tmp_path: Path) -> None:
    taken = graph([NODE("NegativeLogLikelihoodLoss", ["f", "t"], ["l"], reduction="none")], ["l"])
    other = graph([NODE("ReduceMax", ["f", "axes"], ["o"], keepdims=0)], ["o"])
    nodes = [
        NODE("Flatten", ["x"], ["f"], axis=1),
        NODE("ArgMax", ["f"], ["t"], axis=1, keepdims=0),
        NODE("If", ["c"], ["z"], then_branch=taken, else_branch=other),
        NODE("Unsqueeze", ["z", "axes"], ["y"]),
    ]
    check(model(nodes, {"c": np.array(True), "axes": ints(1)}, opset=18), tmp_path, atol=1e-6)


def test_a_condition_on_the_pixels_is_refused_by_the_layer_that_computes_it(tmp_path: Path) -> None:
    nodes = [
        NODE("ReduceMax", ["x"], ["m"], keepdims=0),
        NODE("Greater", ["m", "limit"], ["c"], name="stage1/is_bright"),
        NODE("If", ["c"], ["z"], name="choose", then_branch=graph([NODE("Relu", ["x"], ["a"])], ["a"]),
             else_branch=graph([NODE("Neg", ["x"], ["b"])], ["b"])),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    path = stored(model(nodes, {"limit": np.float32(0.5)}), tmp_path)
    with pytest.raises(CaptureError, match=r"choose \(If\): its condition depends on the pixels, by stage1.is_bright"):
        load_onnx(path)


def test_a_condition_on_the_number_of_windows_is_refused(tmp_path: Path) -> None:
    nodes = [
        NODE("Shape", ["x"], ["s"], end=1),
        NODE("Greater", ["s", "limit"], ["c"]),
        NODE("If", ["c"], ["z"], then_branch=graph([NODE("Relu", ["x"], ["a"])], ["a"]),
             else_branch=graph([NODE("Neg", ["x"], ["b"])], ["b"])),
        NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    path = stored(model(nodes, {"limit": ints(60)}), tmp_path)
    with pytest.raises(CaptureError, match="its condition depends on the number of windows in a batch"):
        load_onnx(path)


def test_a_bias_that_a_branch_adds_stays_in_the_branch(tmp_path: Path) -> None:
    nodes = [
        NODE("Flatten", ["x"], ["f"]),
        NODE("MatMul", ["f", "w"], ["m"]),
        NODE("If", ["c"], ["z"], then_branch=graph([NODE("Add", ["m", "b"], ["a"])], ["a"]),
             else_branch=graph([NODE("Neg", ["m"], ["d"])], ["d"])),
        NODE("Mul", ["z", "m"], ["y"]),
    ]  # fmt: skip
    weights = {"c": np.array(True), "w": np.full((270, 4), 1 / 16, np.float32), "b": np.arange(4, dtype=np.float32)}
    check(model(nodes, weights), tmp_path, atol=1e-4)


INPUTS = [("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("v", TensorProto.FLOAT)]


def looped(body: onnx.GraphProto, weights: dict[str, Any], first: Sequence[str] = ("turns", "")) -> onnx.ModelProto:
    """A loop over ``x``; the last value and all collected ones are added."""
    nodes = [
        NODE("Loop", [*first, "x"], ["last", "all"], name="loop", body=body),
        NODE("ReduceSum", ["all", "axes"], ["total"], keepdims=0),
        NODE("Add", ["last", "total"], ["z"]),
        NODE("Flatten", ["z"], ["y"]),
    ]
    return model(nodes, {"axes": ints(0), **weights})


def body(condition: Sequence[onnx.NodeProto], out: str) -> onnx.GraphProto:
    """``v = tanh(v * w + i)``, which is collected too."""
    nodes = [
        NODE("Cast", ["i"], ["f"], to=1), NODE("Mul", ["v", "w"], ["a"]), NODE("Add", ["a", "f"], ["b"]),
        NODE("Tanh", ["b"], ["t"]), NODE("Identity", ["t"], ["kept"]), *condition,
    ]  # fmt: skip
    return graph(nodes, [out, "t", "kept"], INPUTS, flags=[out])


def test_a_loop_is_unrolled(tmp_path: Path) -> None:
    same = [NODE("Identity", ["go"], ["on"])]
    check(looped(body(same, "on"), {"turns": np.array(3), "w": np.float32(0.7)}), tmp_path, atol=1e-5)


def test_a_loop_ends_by_its_condition(tmp_path: Path) -> None:
    counted = [NODE("Less", ["i", "limit"], ["on"])]
    weights = {"turns": np.array(9), "w": np.float32(0.7), "go": np.array(True), "limit": np.array(1)}
    check(looped(body(counted, "on"), weights, ("turns", "go")), tmp_path, atol=1e-5)
    bright = [NODE("ReduceMax", ["t"], ["m"], keepdims=0), NODE("Less", ["m", "w"], ["on"], name="dim")]
    path = stored(looped(body(bright, "on"), weights, ("turns", "go")), tmp_path)
    with pytest.raises(CaptureError, match="whether it continues depends on the pixels, by dim"):
        load_onnx(path)


def test_a_loop_of_many_turns_is_refused_before_it_is_unrolled(tmp_path: Path) -> None:
    same = [NODE("Identity", ["go"], ["on"])]
    path = stored(looped(body(same, "on"), {"turns": np.array(10**9), "w": np.float32(0.7)}), tmp_path)
    with pytest.raises(CaptureError, match="is repeated by loops, and comes after more nodes"):
        load_onnx(path)


@pytest.mark.parametrize(("axis", "backwards"), [(1, 0), (2, 1)])
def test_a_scan_is_unrolled(axis: int, backwards: int, tmp_path: Path) -> None:
    nodes = [NODE("Add", ["state", "part"], ["a"]), NODE("Tanh", ["a"], ["b"]), NODE("Mul", ["b", "w"], ["out"])]
    made = graph(nodes, ["b", "out"], [("state", TensorProto.FLOAT), ("part", TensorProto.FLOAT)])
    nodes = [
        NODE("ReduceMean", ["x"], ["state0"], axes=[axis], keepdims=0),
        NODE("Scan", ["state0", "x"], ["last", "all"], body=made, num_scan_inputs=1, scan_input_axes=[axis],
             scan_input_directions=[backwards], scan_output_axes=[axis], scan_output_directions=[1 - backwards]),
        NODE("Flatten", ["last"], ["l"]), NODE("Flatten", ["all"], ["f"]), NODE("Concat", ["l", "f"], ["y"], axis=1),
    ]  # fmt: skip
    check(model(nodes, {"w": np.float32(0.3)}), tmp_path, atol=1e-5)


def scanned(body: onnx.GraphProto, weights: dict[str, Any], **options: Any) -> onnx.ModelProto:
    """A scan over the rows of a constant, whose state is the window's pixels ``(n, 270)``."""
    nodes = [
        NODE("Flatten", ["x"], ["f"]),
        NODE("Scan", ["f", "rows"], ["last", "all"], name="scan", body=body, num_scan_inputs=1, **options),
        NODE("Transpose", ["all"], ["d"], perm=[1, 0]), NODE("ReduceSum", ["last", "axes"], ["s"]),
        NODE("Concat", ["d", "s"], ["y"], axis=1),
    ]  # fmt: skip
    rows = np.random.default_rng(3).standard_normal((600, 270)).astype(np.float32)
    return model(nodes, {"rows": rows, "axes": ints(1), **weights})


ROW_INPUTS = [("state", TensorProto.FLOAT), ("row", TensorProto.FLOAT)]
KEPT = NODE("Identity", ["state"], ["kept"])
DISTANCES = [  # of a window to a row; the last step of each is called d
    [NODE("Sub", ["state", "row"], ["a"]), NODE("ReduceSumSquare", ["a"], ["d"], axes=[1], keepdims=0)],
    [NODE("Sub", ["row", "state"], ["a"]), NODE("Abs", ["a"], ["b"]),
     NODE("ReduceMax", ["b"], ["d"], axes=[-1], keepdims=0)],
    [NODE("Sub", ["state", "row"], ["a"]), NODE("Abs", ["a"], ["b"]), NODE("Pow", ["b", "three"], ["c"]),
     NODE("ReduceSum", ["c", "axes"], ["d"], keepdims=0)],
    [NODE("Cast", ["row"], ["e"], to=TensorProto.DOUBLE), NODE("Cast", ["e"], ["r"], to=TensorProto.FLOAT),
     NODE("Softmax", ["r"], ["a"], axis=0), NODE("Mul", ["state", "a"], ["b"]),
     NODE("ReduceMean", ["b"], ["c"], axes=[1]), NODE("Squeeze", ["c", "axes"], ["d"])],
    [NODE("ReduceMax", ["row"], ["a"], keepdims=0), NODE("Unsqueeze", ["a", "zero"], ["b"]),
     NODE("Add", ["state", "b"], ["c"]), NODE("ReduceLogSumExp", ["c"], ["d"], axes=[1], keepdims=0)],
]  # fmt: skip


@pytest.mark.parametrize("steps", DISTANCES)
@pytest.mark.parametrize("backwards", [0, 1])
def test_turns_of_a_scan_that_read_no_others_are_computed_at_once(
    steps: list[onnx.NodeProto], backwards: int, tmp_path: Path
) -> None:
    made = graph([KEPT, *steps], ["kept", "d"], ROW_INPUTS)
    weights = {"three": np.float32(3), "zero": ints(0)}
    options = {"scan_input_directions": [backwards], "scan_output_directions": [backwards]}
    loaded = check(scanned(made, weights, **options), tmp_path, atol=2e-3)
    assert len(loaded.graph.graph.nodes) < 20
    one_way = scanned(made, weights, scan_input_directions=[backwards])
    check(one_way, tmp_path, atol=2e-3)


def test_results_of_a_scan_lie_along_the_axis_that_it_names(tmp_path: Path) -> None:
    made = graph([NODE("Exp", ["part"], ["out"])], ["out"], [("part", TensorProto.FLOAT)])
    nodes = [
        NODE("Scan", ["x"], ["z"], body=made, num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[-1]),
        NODE("Flatten", ["z"], ["y"]),
    ]
    loaded = check(model(nodes), tmp_path, atol=1e-5)
    assert not [node for node in loaded.graph.graph.nodes if node.target is torch.ops.aten.stack.default]


@pytest.mark.parametrize(
    ("steps", "results"),
    [
        ([NODE("Add", ["state", "row"], ["t"]), NODE("ReduceSum", ["t", "axes"], ["d"], keepdims=0)], ["t", "d"]),
        ([KEPT, NODE("Mul", ["state", "row"], ["t"]), NODE("PRelu", ["t", "slopes"], ["u"]),
          NODE("ReduceSum", ["u", "axes"], ["d"], keepdims=0)], ["kept", "d"]),
        ([KEPT, NODE("Unsqueeze", ["row", "axes"], ["t"]), NODE("MatMul", ["state", "t"], ["u"]),
          NODE("Squeeze", ["u", "axes"], ["d"])], ["kept", "d"]),
        ([KEPT, NODE("ReduceSum", ["state", "axes"], ["d"], keepdims=0)], ["kept", "d"]),
        ([KEPT, NODE("Split", ["row"], ["t", "u"], num_outputs=2, axis=0), NODE("ReduceSum", ["u"], ["v"], keepdims=0),
          NODE("ReduceSum", ["state", "axes"], ["w"], keepdims=0), NODE("Add", ["v", "w"], ["d"])], ["kept", "d"]),
        ([KEPT, NODE("Cast", ["row"], ["t"], to=7), NODE("Slice", ["t", "zero", "axes"], ["u"]),
          NODE("Gather", ["state", "u"], ["w"], axis=1), NODE("Squeeze", ["w", "axes"], ["d"])], ["kept", "d"]),
    ],
    ids=["a changed state", "a slope for each channel", "a product", "a result without the part", "pieces", "an index"],
)  # fmt: skip
def test_other_scans_are_unrolled(steps: list[onnx.NodeProto], results: list[str], tmp_path: Path) -> None:
    made = scanned(graph(steps, results, ROW_INPUTS), {"zero": ints(0), "slopes": RNG.random((1, 270), np.float32)})
    made.opset_import[0].version = 18
    rows = next(tensor for tensor in made.graph.initializer if tensor.name == "rows")
    rows.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(rows)[:3], "rows"))
    loaded = check(made, tmp_path, atol=1e-3)
    assert len([node for node in loaded.graph.graph.nodes if node.target is torch.ops.aten.stack.default]) == 1


def test_a_scan_along_the_batch_is_refused(tmp_path: Path) -> None:
    made = graph([NODE("Relu", ["part"], ["out"])], ["out"], [("part", TensorProto.FLOAT)])
    nodes = [NODE("Scan", ["x"], ["z"], body=made, num_scan_inputs=1), NODE("Flatten", ["z"], ["y"])]
    with pytest.raises(CaptureError, match="scans along the batch"):
        load_onnx(stored(model(nodes), tmp_path))
