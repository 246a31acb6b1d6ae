"""Shape arithmetic is resolved, frozen batches are freed, and channels-last files take channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, model, oracle, stored, windows  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(11)
aten = torch.ops.aten


def _weights(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _ints(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def _targets(loaded: Any) -> list[Any]:
    return [n.target for n in loaded.graph.graph.nodes if n.op == "call_function"]


def test_a_flattening_by_shape_gather_and_concat_is_one_flatten(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["b"], axis=0),
        helper.make_node("Unsqueeze", ["b", "axis"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    weights = {"zero": np.int64(0), "axis": _ints(0), "rest": _ints(-1)}
    loaded = check(model(nodes, weights), tmp_path, atol=0)
    assert _targets(loaded) == [aten.flatten.using_ints]
    assert loaded.graph.state_dict() == {}


def test_a_shape_cut_multiplied_and_cast_is_resolved(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=3),
        helper.make_node("ReduceProd", ["s"], ["p"], keepdims=1),
        helper.make_node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "two"], ["d"]),
        helper.make_node("Div", ["d", "two"], ["e"]),
        helper.make_node("Cast", ["e"], ["i"], to=TensorProto.INT64),
        helper.make_node("Concat", ["minus", "i", "ten"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["y"], axes=[1], keepdims=0),
    ]
    check(model(nodes, {"two": np.float32(2), "minus": _ints(-1), "ten": _ints(10)}), tmp_path, atol=1e-6)


def test_a_batch_folded_into_another_axis_and_back_stays_free(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Mul", ["n", "three"], ["m"]),
        helper.make_node("Concat", ["m", "nine", "ten"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("ReduceMax", ["r"], ["k"], axes=[2], keepdims=0),
        helper.make_node("Concat", ["n", "three", "nine"], ["u"], axis=0),
        helper.make_node("Reshape", ["k", "u"], ["v"]),
        helper.make_node("Flatten", ["v"], ["y"]),
    ]
    weights = {"zero": _ints(0), "one": _ints(1), "three": _ints(3), "nine": _ints(9), "ten": _ints(10)}
    check(model(nodes, weights), tmp_path, atol=0)


@pytest.mark.parametrize("constant", [False, True])
def test_a_token_expanded_to_the_batch_and_put_before_the_others(constant: bool, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Concat", ["s", "one", "ten"], ["t"], axis=0),
        helper.make_node("ConstantOfShape", ["t"], ["k"], value=numpy_helper.from_array(np.array([2.0], np.float32)))
        if constant
        else helper.make_node("Expand", ["token", "t"], ["k"]),
        helper.make_node("Reshape", ["x", "r"], ["v"]),
        helper.make_node("Concat", ["k", "v"], ["c"], axis=1),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    weights = {"one": _ints(1), "ten": _ints(10), "token": _weights(1, 1, 10), "r": _ints(0, -1, 10)}
    check(model(nodes, weights), tmp_path, atol=0)


def test_the_batch_as_data_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "f"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    with pytest.raises(CaptureError, match="batch size as data"):
        load_onnx(stored(model(nodes), tmp_path))


FROZEN: list[tuple[str, list[int]]] = [
    ("leading batch", [1, 270]),
    ("leading batch, rest left open", [1, -1]),
    ("batch left open", [-1, 270]),
]


@pytest.mark.parametrize(("why", "target"), FROZEN, ids=lambda v: str(v))
def test_a_batch_frozen_at_one_window_is_freed(why: str, target: list[int], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "s"], ["r"]),
        helper.make_node("MatMul", ["r", "m"], ["z"]),
        helper.make_node("Add", ["z", "b"], ["y"]),
    ]
    weights = {"w": _weights(3, 3, 3, 3), "s": _ints(*target), "m": _weights(270, 4), "b": _weights(1, 4)}
    made = model(nodes, weights, shape=(1, 3, 9, 10))
    loaded = load_onnx(stored(made, tmp_path))
    x = windows(3, (3, 9, 10))
    wanted = np.concatenate([oracle(made, w[None]) for w in x])
    np.testing.assert_allclose(loaded(torch.from_numpy(x)).detach().numpy(), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", ["n", 1])
def test_all_elements_gathered_in_order_are_a_reshape(batch: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalMaxPool", ["x"], ["g"]),
        helper.make_node("Reshape", ["g", "minus"], ["f"]),
        helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
        helper.make_node("Squeeze", ["s"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["r"]),
        helper.make_node("Mul", ["r", "three"], ["q"]),
        helper.make_node("Unsqueeze", ["q", "last"], ["c"]),
        helper.make_node("Add", ["c", "row"], ["i"]),
        helper.make_node("Gather", ["f", "literal" if batch == 1 else "i"], ["y"]),
    ]
    row = np.arange(3, dtype=np.int64)
    weights = {"minus": _ints(-1), "zero": np.int64(0), "one": np.int64(1), "three": np.int64(3), "last": _ints(1)}
    made = model(nodes, {**weights, "row": row, "literal": row[None]}, shape=(batch, 3, 9, 10))
    x = torch.from_numpy(windows(3, (3, 9, 10)))
    loaded = load_onnx(stored(made, tmp_path))
    assert torch.equal(loaded(x), x.amax((2, 3)))
    assert aten.index_select.default not in _targets(loaded)


def test_attention_frozen_at_one_window_is_freed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "tokens"], ["t"]),
        helper.make_node("Transpose", ["t"], ["q"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["token", "q"], ["c"], axis=1),
        helper.make_node("Reshape", ["c", "heads"], ["h"]),
        helper.make_node("Transpose", ["h"], ["p"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["p", "merged"], ["m"]),
        helper.make_node("Transpose", ["m"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["m", "k"], ["s"]),
        helper.make_node("Softmax", ["s"], ["a"], axis=-1),
        helper.make_node("MatMul", ["a", "m"], ["o"]),
        helper.make_node("Reshape", ["o", "split"], ["u"]),
        helper.make_node("Transpose", ["u"], ["v"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["v", "flat"], ["y"]),
    ]
    weights = {
        "tokens": _ints(1, 4, 30),
        "token": _weights(1, 1, 4),
        "heads": _ints(1, 31, 2, 2),
        "merged": _ints(2, 31, 2),
        "split": _ints(1, 2, 31, 2),
        "flat": _ints(1, 124),
    }
    made = model(nodes, weights, shape=(1, 4, 5, 6))
    loaded = load_onnx(stored(made, tmp_path))
    x = windows(3, (4, 5, 6))
    wanted = np.concatenate([oracle(made, w[None]) for w in x])
    np.testing.assert_allclose(loaded(torch.from_numpy(x)).detach().numpy(), wanted, rtol=0, atol=1e-5)


def test_a_literal_one_in_a_file_with_a_free_batch_is_freed(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    made = model(nodes, {"s": _ints(1, 270)})
    loaded = load_onnx(stored(made, tmp_path))
    x = torch.from_numpy(windows(3, (3, 9, 10)))
    assert torch.equal(loaded(x), x.flatten(1))


def test_windows_that_touch_each_other_cannot_be_freed(tmp_path: Path) -> None:
    """In a batch of one there are no others: the file gives each window its own numbers."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    with pytest.raises(CaptureError, match="has a fixed batch size"):
        load_onnx(stored(model(nodes, shape=(2, 3, 9, 10)), tmp_path))
    check(model(nodes, shape=(1, 3, 9, 10)), tmp_path, atol=0, x=windows(1, (3, 9, 10)))


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_batch_squeezed_away_is_kept_if_it_was_frozen_and_refused_if_free(batch: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
        helper.make_node("Squeeze", ["g", "axes"], ["y"]),
    ]
    path = stored(model(nodes, {"axes": _ints(0, 2, 3)}, shape=(batch, 3, 9, 10)), tmp_path)
    if batch == "n":
        with pytest.raises(CaptureError, match="squeezes axis 0, the batch"):
            load_onnx(path)
        return
    x = torch.from_numpy(windows(3, (3, 9, 10)))
    assert torch.allclose(load_onnx(path)(x), x.mean((2, 3)), atol=1e-6)


def _keras_like(height: int | str, width: int | str, batch: int | str = "n") -> Any:
    """Convolutions between transpositions and a head that reads (y, x, c), as in exports from Keras."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="model/conv/transpose"),
        helper.make_node(
            "Conv", ["t", "w", "c"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2], name="model/conv/Conv2D"
        ),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["p"], ["u"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["u", "s"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["z"]),
        helper.make_node("Add", ["z", "b"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"], axis=-1),
    ]
    weights = {"w": _weights(6, 3, 3, 3), "c": _weights(6), "s": _ints(-1, 36), "m": _weights(36, 5), "b": _weights(5)}
    return model(nodes, weights, shape=(batch, height, width, 3))


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_keras_file_takes_channels_first_and_keeps_its_flattening(batch: Any, tmp_path: Path) -> None:
    made = _keras_like(8, 12, batch)
    loaded = load_onnx(stored(made, tmp_path))
    assert loaded.window == (8, 12)
    assert loaded.channels == 3
    x = windows(3, (3, 8, 12))
    wanted = np.concatenate([oracle(made, w[None].transpose(0, 2, 3, 1)) for w in x])
    np.testing.assert_allclose(loaded(torch.from_numpy(x)).detach().numpy(), wanted, rtol=0, atol=1e-5)
    names = [n.target for n in loaded.graph.graph.nodes if n.op == "call_function"]
    assert names.count(aten.permute.default) == 1, "the input's transposition is gone, the head's stays"
    head = names[-4:]
    assert head == [aten.permute.default, aten.flatten.using_ints, aten.linear.default, aten.softmax.int]


def test_a_keras_file_without_sizes_takes_the_callers_window(tmp_path: Path) -> None:
    path = stored(_keras_like("h", "w"), tmp_path)
    with pytest.raises(CaptureError, match="does not state its window"):
        load_onnx(path)
    assert load_onnx(path, window=(8, 12)).window == (8, 12)


def test_nodes_carry_their_layers_names(tmp_path: Path) -> None:
    loaded = load_onnx(stored(_keras_like(8, 12), tmp_path))
    paths = {n.target: n.meta["path"] for n in loaded.graph.graph.nodes}
    assert paths[aten.conv2d.default] == "model.conv.Conv2D"
    assert paths[aten.relu.default] == "Relu_r"


def test_scores_of_one_cell_are_flattened(tmp_path: Path) -> None:
    made = model([helper.make_node("GlobalAveragePool", ["x"], ["y"])])
    check(made, tmp_path, atol=1e-6)


def test_channels_come_from_the_first_convolution_when_the_input_does_not_say(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("GlobalAveragePool", ["a"], ["y"])]
    made = model(nodes, {"w": _weights(2, 5, 3, 3)}, shape=("n", "c", "h", "w"))
    assert load_onnx(stored(made, tmp_path), window=9).channels == 5


def test_several_outputs_need_a_choice(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["y"]),
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
    ]
    path = stored(model(nodes, outputs=("y", "g")), tmp_path)
    with pytest.raises(CaptureError, match=r"2 outputs \(0: y, 1: g\)"):
        load_onnx(path)
    with pytest.raises(CaptureError, match="no output, value, node or layer 'k'"):
        load_onnx(path, score="k")
    assert load_onnx(path, score="g").classes == 3
    assert load_onnx(path, score=0).classes == 270


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    made = model([helper.make_node("Add", ["x", "k"], ["z"]), helper.make_node("Flatten", ["z"], ["y"])])
    made.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, ["n", 3, 9, 10]))
    with pytest.raises(CaptureError, match=r"2 inputs: x \(n, 3, 9, 10\), k"):
        load_onnx(stored(made, tmp_path))


def test_unknown_operators_are_listed_together_with_their_counts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unique", ["x"], ["a"]),
        helper.make_node("Unique", ["x"], ["b"]),
        helper.make_node("FusedThing", ["a", "b"], ["c"], domain="com.vendor"),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    made = model(nodes)
    made.opset_import.append(helper.make_opsetid("com.vendor", 1))
    with pytest.raises(CaptureError, match=r"Unique \(2\), com.vendor.FusedThing \(1\)"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("opset", [1, 5, 6])
def test_operators_from_before_broadcasting_line_up_along_their_axis(opset: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"], broadcast=1, axis=1),
        helper.make_node("PRelu", ["c", "b"], ["z"]),
        helper.make_node("Flatten", ["z"], ["y"]),
    ]
    weights = {"w": _weights(2, 3, 3, 3), "b": _weights(2)}
    made = model(nodes, weights, opset=opset)
    made.ir_version = 3
    for name, value in weights.items():
        made.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    loaded = load_onnx(stored(made, tmp_path))
    x = torch.from_numpy(windows(2, (3, 9, 10)))
    w, b = (torch.from_numpy(weights[name]) for name in "wb")
    wanted = torch.nn.functional.prelu(torch.nn.functional.conv2d(x, w, b), b).flatten(1)
    assert torch.allclose(loaded(x), wanted, atol=1e-5)


def test_an_opset_from_the_future_is_refused(tmp_path: Path) -> None:
    made = model([helper.make_node("Flatten", ["x"], ["y"])])
    made.opset_import[0].version = 999
    with pytest.raises(CaptureError, match="opset 999"):
        load_onnx(stored(made, tmp_path))


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Flatten", ["r"], ["b"])]
    made = model([helper.make_node("Head", ["x"], ["y"], domain="local")])
    made.functions.append(helper.make_function("local", "Head", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    made.opset_import.append(helper.make_opsetid("local", 1))
    check(made, tmp_path, atol=0)


def test_unused_initialisers_are_neither_read_nor_kept(tmp_path: Path) -> None:
    made = model([helper.make_node("Flatten", ["x"], ["y"])], {"spare": _weights(2)})
    made.graph.initializer[0].dims[0] = 10**12
    assert load_onnx(stored(made, tmp_path)).graph.state_dict() == {}


def test_names_that_python_cannot_say_still_become_parameters(tmp_path: Path) -> None:
    names = ["class", "a", "a.b", "forward", "training", "x/y:0", "x/y;0", "0.weight", "..", "ä"]
    nodes, last = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Add", [last, name], [f"v{i}"]))
        last = f"v{i}"
    nodes.append(helper.make_node("Flatten", [last], ["y"]))
    loaded = check(model(nodes, {name: _weights(3, 1, 1) for name in names}), tmp_path, atol=1e-5)
    assert len(dict(loaded.graph.named_parameters())) == len(names)
    assert "0.weight" in dict(loaded.graph.named_parameters())


@pytest.mark.parametrize(("kind", "low", "high"), [(TensorProto.UINT8, 0, 255), (TensorProto.INT8, -128, 127)])
def test_pixels_of_other_depths_are_brought_to_the_integers_that_an_input_declares(
    tmp_path: Path, kind: int, low: int, high: int
) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[2, 3], keepdims=0),
    ]
    onnx.save(model(nodes, shape=("n", 3, 8, 8), dtype=kind, out_dtype=TensorProto.FLOAT), tmp_path / "net.onnx")
    loaded = fullfield.load(tmp_path / "net.onnx")
    eight = RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    sixteen = eight.astype(np.uint16) * np.uint16(257)
    wanted = eight[:8, :8].mean(axis=(0, 1)) + low
    for image in (eight, sixteen):
        np.testing.assert_allclose(fullfield.scan(loaded, image, step=4).array[:, 0, 0], wanted, rtol=0, atol=1e-3)
    assert (loaded.preprocessing.known, loaded.preprocessing.value_range) == (True, (low, high))
