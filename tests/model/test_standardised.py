"""A network behind a standardisation of its windows: scores, records and files are those of windows by themselves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor, nn

from fullfield.api.info import info
from fullfield.api.inspect import inspect
from fullfield.api.scan import scan
from fullfield.api.verify import verify
from fullfield.cli import main
from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.model.save import save
from fullfield.model.window_standardise import STANDARDISE
from fullfield.planning.compute import Compute
from tests.cli.scanning import MODEL

WINDOW = (16, 18)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def picture() -> NDArray[np.uint8]:
    """Noise, and a part of equal numbers."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    pixels[:, :20] = 255
    return pixels


def by_numpy(how: str, window: NDArray[Any]) -> NDArray[Any]:
    """One window ``(c, h, w)``, standardised in float64."""
    axes = (1, 2) if how.endswith("channels") else (0, 1, 2)
    low = window.min(axes, keepdims=True) if how.startswith("minmax") else window.mean(axes, keepdims=True)
    size = np.ptp(window, axes, keepdims=True) if how.startswith("minmax") else window.std(axes, keepdims=True)
    return (window - low) / np.maximum(size, 1e-6)


@pytest.mark.parametrize("how", STANDARDISE)
@pytest.mark.parametrize("double", [True, False])
def test_scores_are_those_of_windows_standardised_by_numpy(how: Any, double: bool) -> None:
    module, pixels = network(), picture()
    exact = copy.deepcopy(module).double()
    model = load(exact if double else module, window=WINDOW, preprocessing="none", standardise=how)
    found = scan(model, pixels, step=4).array
    (h, w), planes = WINDOW, pixels.transpose(2, 0, 1).astype(np.float64)
    cut = [
        planes[:, 4 * i : 4 * i + h, 4 * j : 4 * j + w] for i in range(found.shape[1]) for j in range(found.shape[2])
    ]
    with torch.no_grad():
        wanted = exact(torch.from_numpy(np.stack([by_numpy(how, part) for part in cut])))
    error = np.abs(found.reshape(2, -1) - wanted.T.numpy()).max() / np.ptp(wanted.numpy())
    assert error <= (1e-9 if double else 1e-5)


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_every_engine_gives_the_scores_of_the_crops(engine: Any) -> None:
    pytest.importorskip(engine)
    model = load(network(), window=WINDOW, preprocessing="none", standardise="window")
    found = scan(model, picture(), step=4, compute=Compute(engine=engine), verify=6)
    assert found.certificate is not None
    assert found.certificate.verdict == "EXACT"
    assert "windows standardised, each less its mean, over its deviation" in (found.certificate.input or "")


def test_a_saved_model_standardises_as_before(tmp_path: Path) -> None:
    model = load(network(), window=WINDOW, preprocessing="none", standardise="minmax")
    again = load(save(model, tmp_path / "model.onnx"))
    assert again.standardise == "minmax"
    x = torch.rand(2, 3, *WINDOW)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), atol=1e-5, rtol=0)
    with pytest.raises(CaptureError, match="standardises windows already: each from 0"):
        load(again, standardise="window")


def test_windows_are_standardised_after_they_are_resized() -> None:
    model = load(network(), window=(32, 36), resize=WINDOW, preprocessing="none", standardise="window")
    assert verify(model, picture(), step=6, samples=6).verdict == "EXACT"
    x = torch.rand(1, 3, 32, 36)
    small = nn.functional.interpolate(x, WINDOW, mode="bilinear", antialias=True)
    apart = load(network(), window=WINDOW, preprocessing="none", standardise="window")
    with torch.no_grad():
        torch.testing.assert_close(model(x), apart(small), atol=1e-5, rtol=0)


def test_info_inspect_and_the_command_line_say_it() -> None:
    assert info(MODEL, standardise="channels").facts["windows_standardised"].startswith("each channel less its mean")
    assert "windows standardised, each from 0" in str(inspect(load(MODEL, standardise="minmax")))
    result = CliRunner().invoke(main, ["inspect", MODEL, "--standardise", "window", "--json"])
    assert "windows standardised, each less its mean" in json.dumps(json.loads(result.output))


def test_an_unknown_name_is_one_clear_error() -> None:
    with pytest.raises(CaptureError, match="'z-score' is not known") as caught:
        load(network(), window=WINDOW, standardise="z-score")  # type: ignore[arg-type]
    assert "window, channels, minmax, minmax-channels" in (caught.value.fix or "")


def score(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(x)
    return result


def test_a_window_of_equal_numbers_is_one_of_zeros() -> None:
    module = network()
    for how in STANDARDISE:
        model = load(module, window=WINDOW, preprocessing="none", standardise=how)  # type: ignore[arg-type]
        assert torch.equal(score(model, torch.full((1, 3, *WINDOW), 0.7)), score(module, torch.zeros(1, 3, *WINDOW)))
