"""ONNX files of signals, ``(n, c, t)``, ``(n, t, c)`` and ``(n, t)``, give ONNX Runtime's scores of every window."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

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


def cut(signal: NDArray[np.float32], step: int, window: int = 96) -> NDArray[np.float32]:
    """Every window of a signal. Shape: ``(c, t)`` -> ``(n, c, window)``"""
    return np.stack([signal[..., k : k + window] for k in range(0, signal.shape[-1] - window + 1, step)])


def weights_of(**shapes: tuple[int, ...]) -> list[TensorProto]:
    random = np.random.default_rng(3)
    return [numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]


def stored(
    path: Path,
    nodes: list[NodeProto],
    shape: list[int | str],
    weights: list[TensorProto],
    **integers: list[int],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "signals",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [*weights, *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in integers.items())],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path


NODE = helper.make_node
CONV = [
    NODE("Conv", ["c", "w"], ["d"], strides=[2]),
    NODE("Relu", ["d"], ["e"]),
    NODE("ReduceMean", ["e"], ["f"], axes=[2], keepdims=0),
    NODE("MatMul", ["f", "v"], ["scores"]),
]
RAW: dict[str, tuple[list[NodeProto], list[int | str]]] = {
    "unsqueezed": ([NODE("Unsqueeze", ["x", "one"], ["c"])], ["n", 96]),
    "unsqueezed, of free length": ([NODE("Unsqueeze", ["x", "one"], ["c"])], ["n", "t"]),
    "reshaped": ([NODE("Reshape", ["x", "asked"], ["c"])], ["n", 96]),
    "reshaped, of one window": ([NODE("Reshape", ["x", "asked"], ["c"])], [1, 96]),
    "reshaped by its own sizes": (
        [
            NODE("Shape", ["x"], ["sizes"]),
            NODE("Slice", ["sizes", "zero", "one"], ["batch"]),
            NODE("Concat", ["batch", "one", "rest"], ["sizes of c"], axis=0),
            NODE("Reshape", ["x", "sizes of c"], ["c"]),
        ],
        ["n", "t"],
    ),
    "standardised, then transposed": (
        [
            NODE("ReduceMean", ["x"], ["m"], axes=[1]),
            NODE("Sub", ["x", "m"], ["a"]),
            NODE("Unsqueeze", ["a", "two"], ["b"]),
            NODE("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        ],
        ["n", 96],
    ),
    "by a convolution of two axes": (
        [
            NODE("Unsqueeze", ["x", "both"], ["a"]),
            NODE("Conv", ["a", "wide"], ["b"]),
            NODE("Squeeze", ["b", "two"], ["c"]),
        ],
        ["n", 96],
    ),
    "cut into frames": ([NODE("Reshape", ["x", "frames"], ["c"])], ["n", 96]),
}


@pytest.mark.parametrize("kind", RAW)
def test_raw_samples_get_their_channel_from_the_file(kind: str, tmp_path: Path) -> None:
    nodes, shape = RAW[kind]
    channels = {"by a convolution of two axes": 5, "cut into frames": 8}.get(kind, 1)
    weights = weights_of(w=(6, channels, 5), v=(6, 3), wide=(5, 1, 1, 7))
    lists = {
        "zero": [0], "one": [1], "two": [2], "both": [1, 2], "rest": [-1], "asked": [-1, 1, 96], "frames": [0, 8, 12],
    }  # fmt: skip
    path = stored(tmp_path / "a.onnx", [*nodes, *CONV], shape, weights, **lists)
    model = fullfield.load(path, window=96 if "t" in shape else None)
    assert (model.of_signals, model.window, model.channels) == (True, (1, 96), 1)
    scores = np.asarray(fullfield.scan(model, SIGNAL[0], step=20))[:, 0]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = np.concatenate([session.run(None, {"x": window[None]})[0] for window in cut(SIGNAL[0], 20)]).T
    assert np.abs(scores - wanted).max() <= 1e-4 * np.ptp(wanted)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("axes", ["nct", "ntc", "nt"])
def test_files_may_begin_with_a_recurrent_layer(axes: str, kind: str, tmp_path: Path) -> None:
    gates, channels = {"LSTM": 4, "GRU": 3}[kind], 1 if axes == "nt" else 2
    before = {
        "nct": [NODE("Transpose", ["x"], ["b"], perm=[2, 0, 1])],
        "ntc": [NODE("MatMul", ["x", "mix"], ["a"]), NODE("Transpose", ["a"], ["b"], perm=[1, 0, 2])],
        "nt": [NODE("Unsqueeze", ["x", "two"], ["a"]), NODE("Transpose", ["a"], ["b"], perm=[1, 0, 2])],
    }[axes]
    nodes = [
        *before,
        NODE(kind, ["b", "w", "r"], ["all", "last"], hidden_size=4),
        NODE("Squeeze", ["last", "zero"], ["f"]),
        NODE("MatMul", ["f", "v"], ["scores"]),
    ]
    weights = weights_of(w=(1, gates * 4, channels), r=(1, gates * 4, 4), v=(4, 3), mix=(2, 2))
    shape: dict[str, list[int | str]] = {"nct": ["n", 2, 24], "ntc": ["n", 24, 2], "nt": ["n", 24]}
    path = stored(tmp_path / "a.onnx", nodes, shape[axes], weights, zero=[0], two=[2])
    model = fullfield.load(path)
    assert (model.of_signals, model.window, model.channels) == (True, (1, 24), channels)
    signal = SIGNAL[:channels, :150]
    scores = np.asarray(fullfield.scan(model, signal, step=9))[:, 0]
    windows = cut(signal, 9, 24)
    turned = {"nct": windows, "ntc": windows.transpose(0, 2, 1), "nt": windows[:, 0]}[axes]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": np.ascontiguousarray(turned)})[0].T
    assert np.abs(scores - wanted).max() <= 1e-4 * np.ptp(wanted)


def test_channels_of_a_free_number_are_those_of_the_recurrent_layer(tmp_path: Path) -> None:
    nodes = [
        NODE("LSTM", ["x", "w", "r"], ["all", "last"], hidden_size=4, layout=1),
        NODE("Squeeze", ["last", "one"], ["f"]),
        NODE("MatMul", ["f", "v"], ["scores"]),
    ]
    weights = weights_of(w=(1, 16, 2), r=(1, 16, 4), v=(4, 3))
    path = stored(tmp_path / "a.onnx", nodes, ["n", 24, "c"], weights, one=[1])
    assert fullfield.load(path).channels == 2


@pytest.mark.parametrize("kind", ["features", "flat pixels"])
def test_rows_of_features_and_flat_pixels_are_no_signals(kind: str, tmp_path: Path) -> None:
    flat = [NODE("MatMul", ["x", "m"], ["f"]), NODE("MatMul", ["f", "v"], ["scores"])]
    pixels = [
        NODE("Reshape", ["x", "pixels"], ["a"]),
        NODE("Conv", ["a", "w"], ["b"]),
        NODE("ReduceMean", ["b"], ["f"], axes=[2, 3], keepdims=0),
        NODE("MatMul", ["f", "v"], ["scores"]),
    ]
    weights = weights_of(m=(96, 6), v=(6, 3), w=(6, 1, 3, 3))
    nodes = flat if kind == "features" else pixels
    path = stored(tmp_path / "a.onnx", nodes, ["n", 96], weights, pixels=[-1, 1, 8, 12])
    with pytest.raises(CaptureError, match=r"'x' takes 96 numbers a window, not an image \(n, c, h, w\)"):
        fullfield.load(path)


def test_raw_samples_are_scanned_from_the_shell(tmp_path: Path) -> None:
    weights = weights_of(w=(6, 1, 5), v=(6, 3))
    path = stored(tmp_path / "a.onnx", [*RAW["unsqueezed"][0], *CONV], ["n", "t"], weights, one=[1])
    np.save(tmp_path / "a.npy", SIGNAL[0])
    options = ["--window", "96", "--step", "20", "--verify", "2", "-o", str(tmp_path / "a.csv")]
    result = CliRunner().invoke(main, ["scan", str(path), str(tmp_path / "a.npy"), *options])
    assert result.exit_code == 0, result.output
    assert "signal   700 samples, window 96 samples, step 20 samples" in result.output
