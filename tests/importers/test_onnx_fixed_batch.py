"""Files whose batch of one is written into their shapes are scanned as those with a free batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import model, oracle, stored, windows  # noqa: TID252 - tests are no package

NODE = helper.make_node
TOKENS, WIDTH, HEADS = 16, 12, 3


def attention(batch: int = 1) -> onnx.ModelProto:
    """A class token and patches of 4x4 px as a sequence ``(t, n, c)``, their attention, and the first token's scores.

    The shapes are those that torch writes for ``nn.MultiheadAttention`` at one size of batch.
    """
    steps, cell = TOKENS + 1, WIDTH // HEADS
    weights: dict[str, Any] = {
        "w": (WIDTH, 3, 4, 4), "token": (batch, 1, WIDTH), "in": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH),
        "head": (WIDTH, 5),
    }  # fmt: skip
    weights = {name: windows(1, shape)[0] * 0.3 for name, shape in weights.items()}
    weights["token"] = np.repeat(weights["token"][:1], batch, 0)
    shapes = {
        "flat": [batch, WIDTH, TOKENS], "rows": [steps * batch, WIDTH], "each": [steps, batch, 3, WIDTH],
        "heads": [steps, batch * HEADS, cell], "back": [steps, batch, WIDTH],
    }  # fmt: skip
    weights |= {name: np.array(shape, np.int64) for name, shape in shapes.items()}
    weights |= {f"i{i}": np.array(i, np.int64) for i in range(3)} | {"scale": np.float32(cell**-0.5)}
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], strides=[4, 4]),
        NODE("Reshape", ["c", "flat"], ["f"]),
        NODE("Transpose", ["f"], ["p"], perm=[0, 2, 1]),
        NODE("Concat", ["token", "p"], ["t"], axis=1),
        NODE("Transpose", ["t"], ["s"], perm=[1, 0, 2]),
        NODE("Reshape", ["s", "rows"], ["r"]),
        NODE("Gemm", ["r", "in"], ["all"]),
        NODE("Reshape", ["all", "each"], ["qkv"]),
        *(NODE("Gather", ["qkv", f"i{i}"], [name], axis=2) for i, name in enumerate("qkv")),
        *(NODE("Reshape", [name, "heads"], [f"{name}1"]) for name in "qkv"),
        NODE("Transpose", ["q1"], ["q2"], perm=[1, 0, 2]),
        NODE("Transpose", ["k1"], ["k2"], perm=[1, 2, 0]),
        NODE("Transpose", ["v1"], ["v2"], perm=[1, 0, 2]),
        NODE("MatMul", ["q2", "k2"], ["a0"]), NODE("Mul", ["a0", "scale"], ["a1"]),
        NODE("Softmax", ["a1"], ["a"], axis=-1), NODE("MatMul", ["a", "v2"], ["o"]),
        NODE("Transpose", ["o"], ["o1"], perm=[1, 0, 2]),
        NODE("Reshape", ["o1", "rows"], ["o2"]), NODE("MatMul", ["o2", "out"], ["o3"]),
        NODE("Reshape", ["o3", "back"], ["o4"]),
        NODE("Gather", ["o4", "i0"], ["first"], axis=0), NODE("MatMul", ["first", "head"], ["y"]),
    ]  # fmt: skip
    return model(nodes, weights, shape=(batch, 3, 16, 16))


@pytest.mark.parametrize("batch", [1, 4])
def test_attention_of_sequences_that_come_first(batch: int, tmp_path: Path) -> None:
    made = attention(batch)
    net = load_onnx(stored(made, tmp_path))
    image = windows(1, (28, 22, 3))[0]
    scores = fullfield.scan(net, image, step=6)
    crops = [image[y : y + 16, x : x + 16].transpose(2, 0, 1) for y in (0, 6, 12) for x in (0, 6)]
    wanted = np.stack([oracle(made, np.stack([crop] * batch))[0] for crop in crops])
    np.testing.assert_allclose(scores.array.reshape(5, -1).T, wanted, rtol=0, atol=1e-5)


def declared_free(made: onnx.ModelProto) -> onnx.ModelProto:
    """The same file, which says that it takes any number of windows."""
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    return made


def test_shapes_folded_for_one_window_are_those_of_a_batch_of_one(tmp_path: Path) -> None:
    made = declared_free(attention())
    net = load_onnx(stored(made, tmp_path))
    assert dict(net.about)["batch"] == "the file declares any, but its shapes are for one window"
    x = windows(3, (3, 16, 16))
    found = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, [oracle(made, each[None])[0] for each in x], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [2, 4])
def test_shapes_folded_for_several_windows_are_refused_where_the_file_declares_any(batch: int, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"Concat|Reshape"):
        load_onnx(stored(declared_free(attention(batch)), tmp_path))


def mixing(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A file of any batch, whose scores are those of all windows together."""
    weights = {"w": windows(1, (4, 3, 3, 3))[0], "zero": np.array([0], np.int64)}
    first = [NODE("Conv", ["x", "w"], ["c"]), NODE("GlobalAveragePool", ["c"], ["g"]), NODE("Flatten", ["g"], ["f"])]
    return declared_free(model([*first, *nodes], weights, shape=(1, 3, 9, 10)))


@pytest.mark.parametrize(
    "nodes",
    [
        [NODE("ReduceMean", ["f", "zero"], ["m"]), NODE("Sub", ["f", "m"], ["y"])],
        [
            *(NODE("Shape", ["f"], ["s"], end=1), NODE("Cast", ["s"], ["n"], to=onnx.TensorProto.FLOAT)),
            NODE("Mul", ["f", "n"], ["y"]),
        ],
    ],
    ids=["their mean", "their number"],
)
def test_files_of_any_batch_that_mix_windows_are_none_of_one_window(
    nodes: list[onnx.NodeProto], tmp_path: Path
) -> None:
    with pytest.raises(CaptureError, match=r"mixes the windows|uses the batch size"):
        load_onnx(stored(mixing(nodes), tmp_path))


def test_layers_keep_the_names_of_the_file(tmp_path: Path) -> None:
    net = load_onnx(stored(attention(), tmp_path))
    assert {row.name for row in fullfield.inspect(net).rows} >= {"Conv_c", "Reshape_qkv", "MatMul_y"}


def test_one_window_picked_out_of_a_batch_of_one(tmp_path: Path) -> None:
    weights = {"w": windows(1, (4, 3, 3, 3))[0], "b": windows(1, (4,))[0], "i": np.array(0, np.int64)}
    nodes = [
        NODE("Conv", ["x", "w"], ["c"]), NODE("GlobalAveragePool", ["c"], ["g"]), NODE("Flatten", ["g"], ["f"]),
        NODE("Gather", ["f", "i"], ["one"], axis=0), NODE("Add", ["one", "b"], ["a"]),
        NODE("Softmax", ["a"], ["y"], axis=0),
    ]  # fmt: skip
    made = model(nodes, weights, shape=(1, 3, 9, 10))
    x = windows(3, (3, 9, 10))
    found = load_onnx(stored(made, tmp_path))(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, [oracle(made, each[None]) for each in x], rtol=0, atol=1e-5)


def test_an_lstm_over_tokens_that_a_batch_of_one_precedes(tmp_path: Path) -> None:
    shapes = {"w": (1, 20, 12), "r": (1, 20, 5), "b": (1, 40), "h": (1, 1, 5)}
    weights: dict[str, Any] = {name: windows(1, shape)[0] * 0.4 for name, shape in shapes.items()}
    weights |= {"to": np.array([16, 12]), "back": np.array([16, 1, 12])}
    nodes = [
        NODE("Reshape", ["x", "to"], ["t"]), NODE("Tanh", ["t"], ["a"]), NODE("Reshape", ["a", "back"], ["s"]),
        NODE("LSTM", ["s", "w", "r", "b", "", "h", "h"], ["all", "last"], hidden_size=5),
        NODE("Flatten", ["last"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, weights, shape=(1, 3, 8, 8))
    net, x = load_onnx(stored(made, tmp_path)), windows(3, (3, 8, 8))
    found = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, np.concatenate([oracle(made, each[None]) for each in x]), rtol=0, atol=1e-5)
    assert any("lstm" in str(node.target) for node in net.graph.graph.nodes)
