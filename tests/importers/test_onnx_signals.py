"""ONNX files of signals, ``(n, c, t)`` and ``(n, t, c)``, give ONNX Runtime's scores of every window."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import fullfield
from fullfield.canonical.pipeline import canonical
from fullfield.cli import main
from fullfield.errors import CaptureError
from tests.signal_networks import M5, ready

SIGNAL = np.random.default_rng(0).normal(size=(2, 700)).astype(np.float32)


def written(path: Path, axes: str, *, samples: int | str = 96) -> Path:
    """A network of two convolutions, a pool, an average and a linear layer."""
    random = np.random.default_rng(1)
    weights = {
        "w1": random.normal(size=(6, 2, 5)), "b1": random.normal(size=6), "w2": random.normal(size=(4, 6, 3)),
        "w3": random.normal(size=(4, 3)), "b3": random.normal(size=3),
    }  # fmt: skip
    turned = [helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1])] if axes == "ntc" else []
    nodes = [
        *turned,
        helper.make_node("Conv", ["turned" if turned else "x", "w1", "b1"], ["a"], strides=[2], pads=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2], strides=[2]),
        helper.make_node("Conv", ["c", "w2"], ["d"], auto_pad="SAME_UPPER"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"]),
    ]
    shape = ["n", 2, samples] if axes == "nct" else ["n", samples, 2]
    graph = helper.make_graph(
        nodes,
        "signals",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def runtime_scores(path: Path, axes: str, step: int) -> NDArray[np.float32]:
    """ONNX Runtime's scores of every window. Shape: ``(k, x)``"""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    windows = np.stack([SIGNAL[:, k : k + 96] for k in range(0, SIGNAL.shape[1] - 95, step)])
    given = windows if axes == "nct" else np.ascontiguousarray(windows.transpose(0, 2, 1))
    scores: NDArray[np.float32] = session.run(None, {"x": given})[0].T
    return scores


@pytest.mark.parametrize("axes", ["nct", "ntc"])
def test_scores_are_onnx_runtime_s(axes: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", axes)
    model = fullfield.load(path)
    assert (model.of_signals, model.window, model.channels) == (True, (1, 96), 2)
    scores = np.asarray(fullfield.scan(model, SIGNAL, step=24))[:, 0]
    wanted = runtime_scores(path, axes, 24)
    assert np.abs(scores - wanted).max() <= 1e-4 * np.ptp(wanted)
    assert canonical(model).refused == ()


def test_a_free_length_is_given_as_samples(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", "nct", samples="t")
    with pytest.raises(CaptureError, match="does not state its window"):
        fullfield.load(path)
    assert fullfield.load(path, window=96).window == (1, 96)
    with pytest.raises(CaptureError, match=r"takes signals, and the window is 96x96 px\n  fix: give its samples"):
        fullfield.load(path, window=(96, 96))


def test_features_of_a_layer_are_means_over_its_cells(tmp_path: Path) -> None:
    model = fullfield.load(written(tmp_path / "a.onnx", "nct"), score="d")
    assert model.features == "d, mean over 24 cells"
    assert model.classes == 4


def test_the_command_line_counts_samples(tmp_path: Path) -> None:
    model, signal = written(tmp_path / "a.onnx", "nct", samples="t"), tmp_path / "a.npy"
    np.save(signal, SIGNAL)
    options = ["--window", "96", "--step", "20", "--region", "100:500", "--verify", "2", "-o", str(tmp_path / "a.csv")]
    result = CliRunner().invoke(main, ["scan", str(model), str(signal), *options])
    assert result.exit_code == 0, result.output
    assert "signal   700 samples, window 96 samples, step 20 samples" in result.output
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("image,start,stop,sample,class,score")
    assert lines[1].split(",")[1:4] == ["100.0", "196.0", "148.0"]
    assert len(lines) == 1 + (400 - 96) // 20 + 1


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="writing ONNX needs onnxscript")
def test_a_saved_model_still_takes_signals(tmp_path: Path) -> None:
    model = fullfield.load(ready(M5).float(), window=2000)
    again = fullfield.load(fullfield.save(model, tmp_path / "m5.onnx"))
    assert (again.of_signals, again.window, again.channels) == (True, (1, 2000), 1)
    signal = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    wanted = np.asarray(fullfield.scan(model, signal, step=512))
    assert np.abs(np.asarray(fullfield.scan(again, signal, step=512)) - wanted).max() <= 1e-4 * np.ptp(wanted)
