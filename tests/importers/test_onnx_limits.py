"""A small ONNX file that asks for much is refused before it is computed; what its scores do not need is not counted."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, model, stored  # noqa: TID252 - tests are no package

node = helper.make_node
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def _function(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.FunctionProto:
    return helper.make_function("own", name, ["a"], ["b"], nodes, OPSETS)


def _with_functions(made: onnx.ModelProto, functions: Sequence[onnx.FunctionProto]) -> onnx.ModelProto:
    made.functions.extend(functions)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def _nested(levels: int, calls: int) -> list[onnx.FunctionProto]:
    """Functions that each call the one before several times."""
    names = ["a", *(f"t{i}" for i in range(calls - 1)), "b"]
    bodies = [
        [node(f"f{level - 1}", [names[i]], [names[i + 1]], domain="own") for i in range(calls)]
        for level in range(1, levels)
    ]
    return [_function("f0", [node("Relu", ["a"], ["b"])])] + [
        _function(f"f{level}", body) for level, body in enumerate(bodies, 1)
    ]


def _doubled(times: int) -> list[onnx.NodeProto]:
    """Constants that are joined to themselves, again and again."""
    return [node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(times)]


FLAT = node("Flatten", ["x"], ["y"])
ADDED = [node("ReduceMean", ["k"], ["m"], keepdims=0), node("Add", ["x", "m"], ["z"]), node("Flatten", ["z"], ["y"])]


def test_functions_that_multiply_are_counted_before_they_are_inlined(tmp_path: Path) -> None:
    call = [node("f12", ["x"], ["z"], domain="own"), node("Flatten", ["z"], ["y"])]
    made = _with_functions(model(call), _nested(13, 10))
    with pytest.raises(CaptureError, match=r"has 1,000,000,000,001 nodes after its functions"):
        load_onnx(stored(made, tmp_path))


def test_functions_that_copy_large_constants_are_counted_in_bytes(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.zeros(2**14, np.float32))
    body = [node("Constant", [], ["c"], value=table), node("ReduceMax", ["c"], ["m"]), node("Add", ["a", "m"], ["b"])]
    functions = [_function("f0", body), *_nested(3, 10)[1:]]
    call = [node("f2", ["x"], ["z"], domain="own"), node("Flatten", ["z"], ["y"])]
    made = _with_functions(model(call), functions)
    with pytest.raises(CaptureError, match=r"its functions take \d+ bytes where they are called, more than 1000000"):
        load_onnx(stored(made, tmp_path), cap_bytes=1_000_000)


def test_functions_that_call_one_another_in_a_circle_are_refused(tmp_path: Path) -> None:
    functions = [
        _function("f0", [node("f1", ["a"], ["b"], domain="own")]),
        _function("f1", [node("f0", ["a"], ["b"], domain="own")]),
    ]
    made = _with_functions(model([node("f0", ["x"], ["z"], domain="own"), node("Flatten", ["z"], ["y"])]), functions)
    with pytest.raises(CaptureError, match="the function 'f0' calls itself"):
        load_onnx(stored(made, tmp_path))


def test_functions_that_call_one_another_often_but_make_few_nodes_are_inlined(tmp_path: Path) -> None:
    call = [node("f2", ["x"], ["z"], domain="own"), node("Flatten", ["z"], ["y"])]
    loaded = check(_with_functions(model(call), _nested(3, 3)), tmp_path, atol=0)
    assert len([n for n in loaded.graph.graph.nodes if n.op == "call_function"]) == 3 * 3 + 1


@pytest.mark.parametrize("dead", ["functions", "constants", "unknown operator", "nodes"])
def test_what_the_scores_do_not_need_is_dropped_first(dead: str, tmp_path: Path) -> None:
    nodes = {
        "functions": [node("f12", ["x"], ["d"], domain="own")],
        "constants": _doubled(60),
        "unknown operator": [node("NonMaxSuppression", ["x"], ["d"])],
        "nodes": [node("Relu", ["x"], [f"d{i}"]) for i in range(60_000)],
    }[dead]
    made = _with_functions(model([*nodes, FLAT], {"c0": np.ones(4, np.float32)}), _nested(13, 10))
    loaded = load_onnx(stored(made, tmp_path))
    assert len([n for n in loaded.graph.graph.nodes if n.op == "call_function"]) == 1


def test_more_nodes_than_any_classifier_has_are_refused(tmp_path: Path) -> None:
    chain = [node("Relu", ["x" if i == 0 else f"r{i}"], [f"r{i + 1}"]) for i in range(60_000)]
    with pytest.raises(CaptureError, match=r"has 60,001 nodes .* more than the 50,000"):
        load_onnx(stored(model([*chain, node("Flatten", ["r60000"], ["y"])]), tmp_path))


LARGE_CONSTANTS = {
    "doubled": ([*_doubled(40), node("Identity", ["c40"], ["k"])], {"c0": np.ones(1, np.float32)}),
    "filled": ([node("ConstantOfShape", ["s"], ["k"])], {"s": np.array([10**6, 10**6])}),
    "spread": ([node("Expand", ["c", "s"], ["k"])], {"c": np.ones(1, np.float32), "s": np.array([10**6, 10**6])}),
    "counted": (
        [node("Range", ["a", "b", "c"], ["k"])],
        {"a": np.float32(0), "b": np.float32(2**30), "c": np.float32(1)},
    ),
    "many": (
        [
            *(node("ConstantOfShape", ["s"], [f"k{i}"]) for i in range(40)),
            *(node("ReduceMean", [f"k{i}"], [f"m{i}"]) for i in range(40)),
            node("Sum", [f"m{i}" for i in range(40)], ["k"]),
        ],
        {"s": np.array([4_000_000])},
    ),
    "of many axes": (
        [*_doubled(22), node("ConstantOfShape", ["c22"], ["k"])],
        {"c0": np.ones(1, np.int64)},
    ),
}


@pytest.mark.parametrize("kind", LARGE_CONSTANTS)
def test_constants_that_grow_are_refused_before_they_are_computed(kind: str, tmp_path: Path) -> None:
    nodes, weights = LARGE_CONSTANTS[kind]
    path = stored(model([*nodes, *ADDED], weights), tmp_path)
    with pytest.raises(CaptureError, match=r"more than the 64 MiB|lists? of 4194304 sizes"):
        load_onnx(path)


def test_a_large_file_may_compute_large_constants(tmp_path: Path) -> None:
    table = np.ones((4, 2**20), np.float32)  # 16 MiB, so that 64 + 16 * 16 MiB are allowed
    joined = [node("Concat", ["c"] * 6, ["j"], axis=0), node("Relu", ["j"], ["k"])]  # 96 MiB, twice
    loaded = load_onnx(stored(model([*joined, *ADDED], {"c": table}), tmp_path))
    assert loaded.classes == 3 * 9 * 10


WIDE = {
    "one": [node("Expand", ["x", "s"], ["e"]), node("GlobalAveragePool", ["e"], ["z"])],
    "padded": [
        node("MaxPool", ["x"], ["e"], kernel_shape=[1, 1], strides=[1, 1], pads=[0] * 4),
        node("Pad", ["e", "p"], ["f"]),
        node("GlobalAveragePool", ["f"], ["z"]),
    ],
}


@pytest.mark.parametrize("kind", WIDE)
def test_values_that_a_small_file_makes_of_a_window_are_bounded(kind: str, tmp_path: Path) -> None:
    sizes = {"s": np.array([1, 3, 90_000, 100]), "p": np.array([0, 0, 5000, 5000] * 2)}
    made = model([*WIDE[kind], node("Flatten", ["z"], ["y"])], sizes, shape=("n", 3, 1, 1))
    with pytest.raises(CaptureError, match=r"has a value of shape .* more than the 64 MiB a window"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("batch", ["n", 1])
def test_values_that_are_needed_at_the_same_time_are_counted_together(batch: str | int, tmp_path: Path) -> None:
    grown = node("Expand", ["x", "s"], ["e"])  # 46 MiB
    branches = [node("Relu", ["e"], [f"b{i}"]) for i in range(20)]
    joined = [node("Sum", [f"b{i}" for i in range(20)], ["j"]), node("GlobalAveragePool", ["j"], ["z"])]
    nodes = [grown, *branches, *joined, node("Flatten", ["z"], ["y"])]
    made = model(nodes, {"s": np.array([1, 3, 2000, 2000])}, shape=(batch, 3, 1, 1))
    with pytest.raises(CaptureError, match="at the same time"):
        load_onnx(stored(made, tmp_path))


def test_multiply_adds_are_counted_before_they_are_done(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", ["s"], ["w"]),
        node("Conv", ["x", "w"], ["c"], pads=[400, 400, 400, 400]),
        node("GlobalAveragePool", ["c"], ["z"]),
        node("Flatten", ["z"], ["y"]),
    ]
    made = model(nodes, {"s": np.array([8, 3, 400, 400])})
    with pytest.raises(CaptureError, match=r"costs more than the [\d,]+ multiply-adds a window"):
        load_onnx(stored(made, tmp_path))


def test_the_refusal_of_a_constant_takes_little_memory(tmp_path: Path) -> None:
    nodes, weights = LARGE_CONSTANTS["doubled"]
    path = stored(model([*nodes, *ADDED], weights), tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(CaptureError):
            load_onnx(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
