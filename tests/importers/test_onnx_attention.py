"""What ONNX Runtime's optimisers make of transformers and of maps with channels last is read as it computes it."""

from __future__ import annotations

from collections.abc import Sequence
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

RNG = np.random.default_rng(11)
NODE = helper.make_node
TOKENS = [NODE("Reshape", ["x", "shape"], ["t"])]  # (n, 27, 8)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def runtime(nodes: Sequence[onnx.NodeProto], weights: dict[str, Any], shape: Any = ("n", 3, 9, 8)) -> onnx.ModelProto:
    weights = {"shape": np.array([0, 27, 8]), **weights}
    used = {name for node in nodes for name in node.input}
    made = model(nodes, {k: v for k, v in weights.items() if k in used}, shape=shape, opset=17)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        (["t", "w", "b"], {}),
        (["t", "w", "b"], {"scale": 0.3}),
        (["t", "w", "b"], {"unidirectional": 1}),
        (["t", "w", "b", "", "", "added"], {}),
        (["t", "uneven", "c"], {"qkv_hidden_sizes": [4, 4, 8]}),
    ],
    ids=str,
)
def test_attention_of_tokens(inputs: list[str], attributes: Any, tmp_path: Path) -> None:
    nodes = [*TOKENS, NODE("Attention", inputs, ["z"], domain="com.microsoft", num_heads=2, **attributes),
             NODE("Flatten", ["z"], ["y"])]  # fmt: skip
    weights = {"w": numbers(8, 24), "b": numbers(24), "added": numbers(1, 2, 27, 27), "uneven": numbers(8, 16),
               "c": numbers(16)}  # fmt: skip
    check(runtime(nodes, weights), tmp_path, atol=2e-5)


@pytest.mark.parametrize("form", ["tokens", "biased", "heads"])
def test_attention_of_several_heads(form: str, tmp_path: Path) -> None:
    inputs = {"tokens": ["q", "k", "v"], "biased": ["q", "k", "v", "b"], "heads": ["q", "kh", "vh"]}[form]
    nodes = [
        *TOKENS, *(NODE("MatMul", ["t", f"w{i}"], [name]) for i, name in enumerate("qkv")),
        *(NODE("Reshape", [name, "split"], [f"{name}s"]) for name in "kv"),
        *(NODE("Transpose", [f"{name}s"], [f"{name}h"], perm=[0, 2, 1, 3]) for name in "kv"),
        NODE("MultiHeadAttention", inputs, ["z"], domain="com.microsoft", num_heads=2), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    weights = {f"w{i}": numbers(8, 8) for i in range(3)} | {"b": numbers(24), "split": np.array([0, 27, 2, 4])}
    check(runtime(nodes, weights), tmp_path, atol=2e-5)


def test_masks_of_language_models_are_refused(tmp_path: Path) -> None:
    nodes = [*TOKENS, NODE("Attention", ["t", "w", "b", "m"], ["z"], domain="com.microsoft", num_heads=2),
             NODE("Flatten", ["z"], ["y"])]  # fmt: skip
    made = runtime(nodes, {"w": numbers(8, 24), "b": numbers(24), "m": np.ones((1, 27), np.int32)})
    with pytest.raises(CaptureError, match="has a mask, past values or rotations"):
        load_onnx(stored(made, tmp_path))


@pytest.mark.parametrize("activation", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_group_norms_of_runtime_are_those_of_onnx(last: int, activation: int, tmp_path: Path) -> None:
    """ONNX Runtime computes its own operator on GPUs only; that of ONNX is the oracle."""
    weights = {"g": numbers(8), "h": numbers(8), "first": numbers(8, 3, 1, 1)}
    norm = [NODE("GroupNorm", ["c", "g", "h"], ["z"], domain="com.microsoft", groups=2, channels_last=0, epsilon=1e-3,
                 activation=activation)]  # fmt: skip
    if last:
        norm = [NODE("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
                NODE("GroupNorm", ["t", "g", "h"], ["u"], domain="com.microsoft", groups=2, epsilon=1e-3,
                     activation=activation),
                NODE("Transpose", ["u"], ["z"], perm=[0, 3, 1, 2])]  # fmt: skip
    plain = [NODE("GroupNormalization", ["c", "g", "h"], ["o"], num_groups=2, epsilon=1e-3),
             NODE("Sigmoid", ["o"], ["s"]),
             NODE("Mul", ["o", "s"], ["z"]) if activation else NODE("Identity", ["o"], ["z"])]  # fmt: skip
    around = [NODE("Conv", ["x", "first"], ["c"]), NODE("Flatten", ["z"], ["y"])]
    own = runtime([around[0], *norm, around[1]], weights, ("n", 3, 9, 10))
    reference = model([around[0], *plain, around[1]], weights, opset=21)
    x = windows(2, (3, 9, 10))
    found = load_onnx(stored(own, tmp_path), window=(9, 10))(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, oracle(reference, x), rtol=0, atol=2e-5)


def test_other_outputs_of_a_layer_norm(tmp_path: Path) -> None:
    nodes = [
        NODE("LayerNormalization", ["x", "g", "h"], ["a", "mean", "inverse"], axis=-1, epsilon=1e-3),
        NODE("Mul", ["a", "mean"], ["m"]), NODE("Mul", ["m", "inverse"], ["z"]), NODE("Flatten", ["z"], ["y"]),
    ]  # fmt: skip
    check(model(nodes, {"g": numbers(10), "h": numbers(10)}), tmp_path, atol=2e-5)


def test_norms_without_a_mean(tmp_path: Path) -> None:
    nodes = [NODE("SimplifiedLayerNormalization", ["x", "g"], ["z"], axis=-1, epsilon=1e-3),
             NODE("Flatten", ["z"], ["y"])]  # fmt: skip
    check(model(nodes, {"g": numbers(10)}), tmp_path, atol=2e-5)
