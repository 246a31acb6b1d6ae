"""A network behind a resizing of its windows: scores, identity and records are those of crop, resize, network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fullfield.api.info import info
from fullfield.api.inspect import inspect
from fullfield.api.scan import scan
from fullfield.engine.engines import choose
from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.model.model import Model
from fullfield.model.save import save
from fullfield.planning.compute import Compute

IMAGE = np.random.default_rng(0).random((50, 57, 3))
RNET = str(files("fullfield") / "data" / "rnet.onnx")
HOW: list[dict[str, Any]] = [
    *({"interpolation": name, "antialias": each} for name in ("bilinear", "bicubic") for each in (True, False)),
    *({"interpolation": name} for name in ("area", "lanczos", "nearest")),
]


def matrix(interpolation: Any, count: int, cells: int) -> NDArray[Any]:
    """What OpenCV makes of each px alone, along one axis; Lanczos by its definition. Shape: ``(cells, count)``"""
    if interpolation == "lanczos":
        away = (np.arange(count) + 0.5) * cells / count - (np.arange(cells)[:, None] + 0.5)
        weights = np.where(np.abs(away) < 3, np.sinc(away) * np.sinc(away / 3), 0)
        return weights / weights.sum(1, keepdims=True)
    how = cv2.INTER_AREA if interpolation == "area" else cv2.INTER_NEAREST
    lines = np.eye(count)[:, :, None]
    return np.concatenate([cv2.resize(line, (1, cells), interpolation=how).T for line in lines]).T


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).double().eval()


def crops(module: nn.Module, model: Model, size: tuple[int, int], step: int, how: dict[str, Any]) -> NDArray[Any]:
    """Every window cut from the image, resized by torch in float64 and scored by the module itself."""
    h, w = model.window
    windows = [
        [IMAGE[i : i + h, j : j + w].transpose(2, 0, 1) for j in range(0, IMAGE.shape[1] - w + 1, step)]
        for i in range(0, IMAGE.shape[0] - h + 1, step)
    ]
    batch = torch.from_numpy(np.array(windows)).flatten(0, 1)
    if how["interpolation"] in ("bilinear", "bicubic"):
        batch = nn.functional.interpolate(batch, size, mode=how["interpolation"], antialias=how["antialias"])
    else:
        y, x = (torch.from_numpy(matrix(how["interpolation"], n, m)) for n, m in zip(model.window, size, strict=True))
        batch = y @ batch @ x.T
    with torch.no_grad():
        found: NDArray[Any] = module(batch).numpy().T.reshape(3, len(windows), len(windows[0]))
    return found


@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how.values())))
def test_scores_are_those_of_windows_that_are_cut_and_then_resized(how: dict[str, Any]) -> None:
    module = network()
    model = load(module, window=(32, 40), resize=(14, 24), preprocessing="none", **how)
    expected = crops(module, model, (14, 24), 6, how)
    found = scan(model, IMAGE, step=6, verify=4)
    assert np.abs(np.asarray(found.array[:]) - expected).max() < 1e-9
    assert found.certificate is not None
    assert found.certificate.verdict == "EXACT"
    assert "windows resized from 32x40 px to 14x24 px" in (found.certificate.input or "")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("interpolation", ["bicubic", "area"])
def test_every_engine_runs_a_resized_network(engine: Any, interpolation: Any) -> None:
    model = load(network().float(), window=32, resize=14, preprocessing="none", interpolation=interpolation)
    image = IMAGE.astype(np.float32)
    expected, found = (scan(model, image, step=8, compute=Compute(engine=name)) for name in ("torch", engine))
    assert np.abs(np.asarray(found.array[:]) - np.asarray(expected.array[:])).max() < 1e-5


@pytest.mark.parametrize("how", [HOW[0], HOW[5]], ids=["by torch", "by matrices"])
def test_a_saved_model_resizes_as_before(how: dict[str, Any], tmp_path: Path) -> None:
    model = load(network().float(), window=(32, 40), resize=(14, 24), preprocessing="imagenet", **how)
    again = load(save(model, tmp_path / "resized.onnx"))
    assert (again.window, again.resize) == (model.window, model.resize)
    windows = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        assert float((again(windows) - model(windows)).abs().max()) < 1e-6
    with pytest.raises(CaptureError, match="already"):
        load(again, window=64, resize=(32, 40))


def test_info_inspect_and_the_record_of_a_scan_say_how_windows_are_resized() -> None:
    facts = info(RNET, window=40, resize=24, interpolation="lanczos").facts
    assert (facts["window"], facts["windows_resized"]) == ([40, 40], "from 40x40 px to 24x24 px (lanczos)")
    model = load(network(), window=32, resize=16)
    assert "windows resized from 32x32 px to 16x16 px (bilinear, antialiased)" in str(inspect(model))
    record = scan(model, IMAGE, step=16).provenance["input"]
    assert record["resize"] == {"window": [32, 32], "size": [16, 16], "interpolation": "bilinear", "antialias": True}
    assert repr(model).startswith("Model('Sequential', window 32x32 as 16x16")


def test_models_that_resize_differently_differ_in_their_hash() -> None:
    module = network()
    hashes = {load(module, window=32, resize=14, **how).hash for how in HOW} | {load(module, window=14).hash}
    assert len(hashes) == len(HOW) + 1


def test_a_window_of_the_networks_own_size_is_not_resized() -> None:
    assert load(network(), window=16, resize=16).resize is None


def test_a_size_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    model = load(network(), window=16)
    with pytest.raises(CaptureError, match="16x16 px"):
        load(model, window=32, resize=20)
    head = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 64, 2))
    path = save(load(head, window=16), tmp_path / "fixed.onnx")
    with pytest.raises(CaptureError, match="does not fit an input") as caught:
        load(path, window=32)
    assert "--resize 16" in caught.value.fix
    assert load(path, window=32, resize=16).window == (32, 32)


@pytest.mark.skipif(not choose._cpu_has_bfloat16(), reason="this CPU computes bfloat16 in float32")
@pytest.mark.parametrize("window", [(32, 28), (19, 22)], ids=["in blocks", "window by window"])
def test_antialiased_resizing_of_16_bits_is_computed_in_32(window: tuple[int, int]) -> None:
    single = load(network().float(), window=window, resize=14, preprocessing="none")
    half = single.to(torch.bfloat16)
    windows = torch.rand(2, 3, *window)
    with torch.no_grad():
        expected = single(windows)
        assert float((half(windows.bfloat16()).float() - expected).abs().max()) < 0.02
        assert torch.equal(half.to(torch.float32)(windows), single.to(torch.bfloat16).to(torch.float32)(windows))
    image = IMAGE.astype(np.float32)
    exact, found = (
        np.asarray(scan(single, image, step=7, compute=Compute(precision=kind, engine="torch")).array[:])
        for kind in (None, "bfloat16")
    )
    assert np.abs(found - exact).max() < 0.02
