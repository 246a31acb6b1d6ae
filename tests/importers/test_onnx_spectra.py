"""Fourier transforms of ONNX files compute what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import fullfield
from fullfield.errors import CaptureError
from fullfield.importers.onnx import load_onnx

from .onnx_models import check, model, stored, windows  # noqa: TID252 - tests are no package

NODE = helper.make_node


def number(value: int) -> Any:
    return np.array(value, np.int64)


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("onesided", [1, 0])
@pytest.mark.parametrize("length", [16, 15])
def test_spectra_of_frames_are_shared_among_windows(length: int, onesided: int, windowed: bool, tmp_path: Path) -> None:
    weights = {"step": number(4), "length": number(length), "one": np.array([1]), "hann": np.hanning(length)}
    weights["hann"] = weights["hann"].astype(np.float32)
    weights["w"] = windows(1, (3, 1, 4))[0]
    inputs = ["raw", "step", "hann"] if windowed else ["raw", "step", "", "length"]
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], pads=[2, 1]), NODE("ReduceMean", ["c"], ["raw"], axes=[1], keepdims=0),
        NODE("STFT", inputs, ["s"], onesided=onesided), NODE("Flatten", ["s"], ["y"]),
    ]  # fmt: skip
    path = stored(model(nodes, weights, shape=("n", 1, 60), opset=17), tmp_path)
    net = load_onnx(path)
    assert (net.of_signals, net.window) == (True, (1, 60))
    signal = windows(1, (1, 84))[0]
    scores = np.asarray(fullfield.scan(net, signal, step=12).array)[:, 0]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": np.stack([signal[:, at : at + 60] for at in (0, 12, 24)])})[0].T
    assert np.abs(scores - wanted).max() <= 1e-5 * np.ptp(wanted)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", [{}, {"onesided": 1}, {"inverse": 1}], ids=str)
@pytest.mark.parametrize("length", [None, 10, 7, 14])
@pytest.mark.parametrize(("axis", "opset"), [(2, 17), (3, 20)])
def test_a_transform_of_an_axis(
    axis: int, opset: int, length: int | None, kind: dict[str, int], parts: int, tmp_path: Path
) -> None:
    if parts == 2 and kind.get("onesided"):
        pytest.skip("a spectrum of one side is of real numbers")
    weights = {"shape": np.array([0, 3, 9, 10 // parts, parts]), "axis": number(axis)}
    weights |= {} if length is None else {"length": number(length)}
    inputs = ["r", "" if length is None else "length", *(["axis"] if opset == 20 else [])]
    given = kind | ({"axis": axis} if opset == 17 else {})
    nodes = [NODE("Reshape", ["x", "shape"], ["r"]), NODE("DFT", inputs, ["d"], **given), NODE("Flatten", ["d"], ["y"])]
    check(model(nodes, weights, shape=("n", 3, 9, 10), opset=opset), tmp_path, atol=5e-5)


def test_spectra_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    weights = {"shape": np.array([0, 135, 2]), "step": number(4), "length": number(500)}
    for inputs, said in (
        (["r", "step", "", "length"], "only real numbers"),
        (["f", "step", "", "length"], "500 samples"),
    ):
        nodes = [
            NODE("Reshape", ["x", "shape"], ["r"]), NODE("Flatten", ["x"], ["f"]), NODE("STFT", inputs, ["s"]),
            NODE("Flatten", ["s"], ["y"]),
        ]  # fmt: skip
        with pytest.raises(CaptureError, match=said):
            load_onnx(stored(model(nodes, weights, shape=("n", 3, 9, 10), opset=17), tmp_path))
