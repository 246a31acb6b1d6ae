"""Reading, preparing and scanning an ordinary ONNX file imports no compiler, no SymPy and no other file's reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from torch import nn

import fullfield
from tests.processes import json_of

from .onnx_models import model, stored  # noqa: TID252 - tests are no package

node = helper.make_node
NOISE = np.random.default_rng(0)
COMPILER = ("torch._dynamo", "sympy", "torch.fx.experimental.symbolic_shapes")
OTHERS = ("fullfield.importers.caffe.importer", "fullfield.importers.torch7.importer")


def network(*, rare: bool) -> tuple[list[object], dict[str, np.ndarray]]:
    """Blocks as those of MobileNet and EfficientNet, and if ``rare`` an operator without a rule for its shapes."""
    weights = {
        "w0": NOISE.standard_normal((8, 3, 3, 3)),
        "w1": NOISE.standard_normal((8, 1, 3, 3)),
        "w2": NOISE.standard_normal((8, 8, 1, 1)),
        "w3": NOISE.standard_normal((5, 8)),
        **{f"b{k}": NOISE.random(8) + 1 for k in range(4)},
    }
    nodes = [
        node("Conv", ["x", "w0"], ["a"], strides=[2, 2], pads=[1] * 4),
        node("BatchNormalization", ["a", "b0", "b1", "b2", "b3"], ["n"]),
        node("Clip", ["n", "low", "high"], ["c"]),
        node("Conv", ["c", "w1"], ["d"], group=8, pads=[1] * 4),
        node("GlobalAveragePool", ["d"], ["m"]),
        node("Conv", ["m", "w2"], ["s"]),
        node("HardSigmoid", ["s"], ["g"]),
        node("Mul", ["d", "g"], ["e"]),
        node("Add", ["e", "c"], ["r"]),
        node("Sin" if rare else "Relu", ["r"], ["t"]),
        node("MaxPool", ["t"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", ["p"], ["q"], axes=[2, 3], keepdims=0),
        node("Gemm", ["q", "w3"], ["y"], transB=1),
    ]
    bounds = {"low": np.float32(0), "high": np.float32(6)}
    return nodes, {name: value.astype(np.float32) for name, value in weights.items()} | bounds


def saved(path: Path) -> Path:
    """A network that fullfield saved: its file computes shapes."""
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    fullfield.save(fullfield.load(nn.Sequential(*layers).eval(), window=16), path)
    return path


@pytest.mark.parametrize("kind", ["frequent", "saved", "rare"])
def test_scans_import_no_compiler_unless_an_operator_is_rare(kind: str, tmp_path: Path) -> None:
    rare = kind == "rare"
    if kind == "saved":
        path = saved(tmp_path / "saved.onnx")
    else:
        nodes, weights = network(rare=rare)
        path = stored(model(nodes, weights, shape=("n", 3, 16, 16)), tmp_path)
    script = tmp_path / "scan.py"
    script.write_text(f"""
import json, sys
import numpy as np
import fullfield
model = fullfield.load({str(path)!r})
image = np.zeros((40, 40, 3), np.uint8)
shapes = [list(fullfield.scan(model, image, step=4, mode=mode).shape) for mode in ("exact", "context", 1)]
print(json.dumps({{"shapes": shapes, "imported": [name for name in {COMPILER + OTHERS!r} if name in sys.modules]}}))
""")
    found = json_of(script)
    assert found["shapes"] == [[5, 7, 7]] * 3
    assert found["imported"] == (list(COMPILER) if rare else [])
