"""Small ONNX models for tests, and onnxruntime as the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fullfield.importers.onnx import load_onnx
from fullfield.model.model import Model

Array = NDArray[Any]

IR_VERSION = 8


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array] | None = None,
    *,
    shape: Sequence[int | str] = ("n", 3, 9, 10),
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
    outputs: Sequence[str] = ("y",),
    out_dtype: int | None = None,
) -> onnx.ModelProto:
    """A model of ``x`` with the nodes and weights given."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "tested",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [helper.make_tensor_value_info(name, out_dtype or dtype, None) for name in outputs],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = IR_VERSION if opset < 22 else 10
    return made


def flat(
    op: str, weights: Mapping[str, Array] | None = None, *, inputs: Sequence[str] = (), opset: int = 17, **rest: Any
) -> onnx.ModelProto:
    """One operator on ``x`` (its other inputs by name), its result flattened to ``(n, k)``."""
    attributes = {k: v for k, v in rest.items() if k not in ("shape", "dtype", "out_dtype")}
    options = {k: v for k, v in rest.items() if k in ("shape", "dtype", "out_dtype")}
    nodes = [
        helper.make_node(op, ["x", *inputs], ["z"], name="tested", **attributes),
        helper.make_node("Flatten", ["z"], ["y"], axis=1),
    ]
    return model(nodes, weights, opset=opset, **options)


def stored(made: onnx.ModelProto, folder: Path) -> Path:
    """The model in a file."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def windows(count: int, shape: Sequence[int], dtype: Any = np.float32) -> Array:
    """The same noise every time."""
    noise = np.random.default_rng(7).standard_normal((count, *shape))
    return noise.astype(dtype)


def oracle(made: onnx.ModelProto, x: Array, output: str = "y") -> Array:
    """onnxruntime's result, without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result = session.run([output], {session.get_inputs()[0].name: x})[0]
    assert isinstance(result, np.ndarray)
    return result


def check(made: onnx.ModelProto, folder: Path, *, atol: float, x: Array | None = None, **options: Any) -> Model:
    """Loads the model and compares it with onnxruntime on three windows, together and one alone."""
    loaded = load_onnx(stored(made, folder), **options)
    if x is None:
        x = windows(3, (loaded.channels, *loaded.window), torch.empty(0, dtype=loaded.dtype).numpy().dtype)
    wanted = oracle(made, x)
    with torch.no_grad():
        got = loaded(torch.from_numpy(x)).numpy()
        alone = loaded(torch.from_numpy(x[:1])).numpy()
    wanted = wanted.reshape(len(x), -1)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)
    np.testing.assert_allclose(alone, wanted[:1], rtol=0, atol=atol)
    return loaded
