"""TorchScript becomes a model through torch's own converter, with WSInfer's and MONAI's JSON next to it."""

from __future__ import annotations

import json
import warnings
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.ao import quantization

import fullfield
from fullfield.cli import main
from fullfield.errors import CaptureError
from fullfield.importers.load import load
from fullfield.importers.torchscript import read_script_facts
from fullfield.model.preprocessing import Preprocessing
from tests.signal_networks import M5, Recurrent, ready, signal_crops


class Net(nn.Module):
    """A small classifier whose forward has what scripts of real networks have: a branch, a size and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16 * 16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        if self.training:
            y = nn.functional.dropout(y, 0.5)
        return self.head(y.view(y.size(0), -1))


def _saved(path: Path, how: str = "script") -> nn.Module:
    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format old
        script = torch.jit.script(net) if how != "trace" else torch.jit.trace(net, torch.rand(1, 3, 32, 32))
        script = torch.jit.freeze(script) if how == "freeze" else script
        script.save(path)
    return net


@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_a_script_gives_the_numbers_of_its_module(how: str, tmp_path: Path) -> None:
    net = _saved(tmp_path / "net.pt", how)
    loaded = load(tmp_path / "net.pt", window=32, trust=True)
    x = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(loaded(x), net(x), rtol=0, atol=1e-6)
    assert (loaded.name, loaded.channels, loaded.classes) == ("net", 3, 2)


def _written(module: nn.Module, windows: torch.Tensor, how: str, folder: Path) -> Path:
    """A file of a module, traced, scripted or exported."""
    path = folder / ("net.pt2" if how == "program" else "net.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls both ways of TorchScript old
        if how == "program":
            free = ({0: torch.export.Dim.DYNAMIC},)
            torch.export.save(torch.export.export(module, (windows,), dynamic_shapes=free), path)
        else:
            torch.jit.save(torch.jit.trace(module, windows) if how == "trace" else torch.jit.script(module), path)
    return path


@pytest.mark.parametrize(("how", "kind"), [("trace", nn.LSTM), ("script", nn.GRU), ("program", nn.GRU)])
def test_files_of_networks_of_signals_are_scanned_by_samples(how: str, kind: Any, tmp_path: Path) -> None:
    module = ready(lambda: Recurrent(kind)).float().eval()
    path = _written(module, torch.rand(2, 2, 96), how, tmp_path)
    signal = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
    wanted = signal_crops(module, signal, 96, 20).numpy()
    np.save(tmp_path / "signal.npy", signal.numpy())
    options = ["--step", "20", "--trust", "-o", str(tmp_path / "scores.npy")]
    options += [] if how == "program" else ["--window", "96"]
    result = CliRunner().invoke(main, ["scan", str(path), str(tmp_path / "signal.npy"), *options])
    assert result.exit_code == 0, result.output
    assert "window 96 samples, step 20 samples" in result.output
    scores = np.load(tmp_path / "scores.npy")[:, 0]
    assert np.abs(scores - wanted).max() <= 1e-4 * np.ptp(wanted)


def test_a_traced_network_of_raw_audio_scans_a_wav_file(tmp_path: Path) -> None:
    module = ready(M5).float().eval()
    path = _written(module, torch.rand(2, 1, 2000), "trace", tmp_path)
    samples = np.random.default_rng(0).integers(-20000, 20000, 5000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    model = fullfield.load(path, window=2000, trust=True)
    assert (model.of_signals, model.window, model.channels) == (True, (1, 2000), 1)
    scores = np.asarray(fullfield.scan(model, tmp_path / "a.wav", step=500))[:, 0]
    wanted = signal_crops(module, torch.from_numpy(samples / np.float32(32768))[None], 2000, 500).numpy()
    assert np.abs(scores - wanted).max() <= 1e-4 * np.ptp(wanted)


def test_a_quantised_script_is_read_as_the_network_of_floats_that_it_imitates(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    net = nn.Sequential(quantization.QuantStub(), *parts, quantization.DeQuantStub()).eval()
    windows = torch.rand(4, 3, 32, 32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch calls quantisation and the format old
        floats = nn.Sequential(*parts)(windows)
        net.qconfig = quantization.get_default_qconfig("x86")
        quantization.prepare(net, inplace=True)(windows)
        torch.jit.trace(quantization.convert(net), windows).save(tmp_path / "net.pt")
    found = fullfield.load(tmp_path / "net.pt", window=32, trust=True)(windows)
    assert torch.allclose(found, floats, rtol=0, atol=0.05 * float(floats.abs().max()))


def test_a_script_needs_trust_and_a_window(tmp_path: Path) -> None:
    _saved(tmp_path / "net.pt")
    with pytest.raises(CaptureError, match=r"is a TorchScript program: opening it can run code[\s\S]*--trust"):
        load(tmp_path / "net.pt", window=32)
    with pytest.raises(CaptureError, match=r"window: is not given, and \S+ does not state it"):
        load(tmp_path / "net.pt", trust=True)


def test_a_script_at_a_window_that_it_does_not_take_is_one_error(tmp_path: Path) -> None:
    _saved(tmp_path / "net.pt")
    with pytest.raises(CaptureError, match=r"TorchScript that does not run at 3x30x30[\s\S]*check window and channels"):
        load(tmp_path / "net.pt", window=30, trust=True)


def test_a_damaged_script_is_one_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", b"nonsense")
    with pytest.raises(CaptureError, match=r"net\.pt: cannot be read"):
        load(tmp_path / "net.pt", window=32, trust=True)


WSINFER: dict[str, Any] = {
    "spec_version": "1.0",
    "architecture": "small",
    "num_classes": 2,
    "class_names": ["Other", "Tumor"],
    "patch_size_pixels": 64,
    "spacing_um_px": 0.25,
    "transform": [
        {"name": "Resize", "arguments": {"size": 32}},
        {"name": "ToTensor"},
        {"name": "Normalize", "arguments": {"mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2]}},
    ],
}


def test_wsinfers_configuration_gives_window_classes_preprocessing_and_resolution(tmp_path: Path) -> None:
    net = _saved(tmp_path / "torchscript_model.pt")
    (tmp_path / "config.json").write_text(json.dumps(WSINFER))
    loaded = load(tmp_path / "torchscript_model.pt", trust=True)
    assert (loaded.window, loaded.class_names) == ((32, 32), ("Other", "Tumor"))
    assert loaded.preprocessing == Preprocessing(1 / 255, (0.7, 0.6, 0.7), (0.2,) * 3, "RGB", (0, 255))
    assert dict(loaded.about)["resize"] == "windows of 64x64 px at 0.25 um/px, resized to 32x32 px: use --mpp 0.5"
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    scores = fullfield.scan(loaded, image, step=16).array
    pixels = torch.from_numpy(image[16:, :32]).permute(2, 0, 1).float() / 255
    crop = (pixels - torch.tensor([0.7, 0.6, 0.7])[:, None, None]) / 0.2
    with torch.no_grad():
        assert np.allclose(scores[:, 1, 0], net(crop[None])[0].numpy(), rtol=0, atol=1e-5)


def test_monais_metadata_gives_window_channels_classes_and_range(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "configs").mkdir()
    _saved(tmp_path / "models" / "model.ts")
    image = {"type": "image", "num_channels": 3, "spatial_shape": [32, 32], "value_range": [-1, 1]}
    outputs = {"pred": {"channel_def": {"0": "normal", "1": "tumour"}}}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": outputs}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    loaded = load(tmp_path / "models" / "model.ts", trust=True)
    assert (loaded.window, loaded.channels, loaded.class_names) == ((32, 32), 3, ("normal", "tumour"))
    assert loaded.preprocessing == Preprocessing(1 / 255, (0.5,), (0.5,), "RGB", (0, 255))
    assert dict(loaded.about)["range"] == "the network takes -1 1"


def test_channels_that_monais_metadata_does_not_number_name_no_classes(tmp_path: Path) -> None:
    image = {"num_channels": 3, "spatial_shape": [32, 32]}
    formats = {"inputs": {"image": image}, "outputs": {"pred": {"channel_def": {"normal": 0, "tumour": 1}}}}
    (tmp_path / "metadata.json").write_text(json.dumps({"network_data_format": formats}))
    assert read_script_facts(tmp_path / "model.ts").class_names is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"patch_size_pixels": "large"}, "patch_size_pixels is 'large', no positive integer"),
        ({"transform": [{"name": "ColorJitter"}]}, "has the transform ColorJitter"),
        ({"transform": [{"name": "Normalize"}]}, "lists transforms that are not WSInfer's"),
        ({"transform": ["ToTensor"]}, "lists transforms that are not WSInfer's"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _saved(tmp_path / "net.pt")
    (tmp_path / "config.json").write_text(json.dumps(WSINFER | changed))
    with pytest.raises(CaptureError, match=message):
        load(tmp_path / "net.pt", trust=True)


TFLITE = r"python -m tf2onnx\.convert --tflite '\S+/my net\.tflite' --output '\S+/my net\.onnx'"
KERAS = (
    r"python -c [\s\S]*load_model[\s\S]*net\.h5[\s\S]*training=False[\s\S]*write_out[\s\S]*net_saved[\s\S]* && "
    r"python -m tf2onnx\.convert --saved-model \S+/net_saved --output \S+/net\.onnx"
)


@pytest.mark.parametrize(
    ("name", "head", "command"),
    [("my net.tflite", b"\x1c\x00\x00\x00TFL3", TFLITE), ("net.h5", b"\x89HDF\r\n\x1a\n", KERAS)],
)
def test_files_of_tensorflow_and_keras_come_with_the_command_that_converts_them(
    name: str, head: bytes, command: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(head + bytes(64))
    with pytest.raises(CaptureError, match=command):
        load(tmp_path / name)
    with pytest.raises(CaptureError, match=command):
        fullfield.info(tmp_path / name)


def test_a_saved_model_comes_with_the_command_that_converts_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"1")
    with pytest.raises(CaptureError, match=r"python -m tf2onnx\.convert --saved-model \S+ --output \S+\.onnx"):
        load(tmp_path)
