"""Networks of other frameworks are recognised by content, and the error says which way leads to a file that is read."""

from __future__ import annotations

import json
import pickle
import struct
import sys
import warnings
import zlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import joblib
import onnx
import openvino
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression
from torch import nn

from fullfield.errors import CaptureError
from fullfield.importers.load import load

PADDLE = b"\x0a\x1c\x08\x00\x10" + b"\xff" * 9 + b"\x01\x1a\x0c\x0a\x04feed\x12\x04\x08\x09\x18\x01"
FROZEN = b"\x0a\x1d\x0a\x05input\x12\x0bPlaceholder*\x07\x0a\x05dtype"
ENGINE = b"ftrt\0\0\0\0" + bytes(range(200))
SETTINGS = json.dumps({"task": "classify", "imgsz": [224, 224]}).encode()


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    tag, out = number << 3 | 2, b""
    for value in (tag, len(content)):
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        out += bytes([value])
    return out + content


FILES = {
    "CoreML": (b"\x08\x05" + _field(2, _field(1, _field(1, b"image"))) + _field(403, b"\x0a\x00"), "ONNX"),
    "TensorRT": (ENGINE, "ONNX file that it was built from"),
    "TensorRT behind settings": (len(SETTINGS).to_bytes(4, "little") + SETTINGS + ENGINE, "ONNX file"),
    "ncnn": (b"7767517\n2 2\nInput data 0 1 data\nConvolution c 1 1 data out 0=8\n", "ONNX"),
    "ncnn in binary": (struct.pack("<3i", 7767517, 2, 2), "ONNX"),
    "MXNet": (json.dumps({"nodes": [], "arg_nodes": [], "heads": []}).encode(), "mxnet.onnx.export_model"),
    "weights of MXNet": (struct.pack("<3Q", 0x112, 0, 1) + bytes(64), "mxnet.onnx.export_model"),
    "PaddlePaddle": (PADDLE, "paddle2onnx --model_dir"),
    "PaddlePaddle in JSON": (b'{"base_code": {"magic": "pir", "version": 1}, "program": {}}', "paddle2onnx"),
    "Darknet": (b"# a comment\n[net]\nwidth=416\n\n[convolutional]\nfilters=32\n", "ONNX"),
    "weights of Darknet": (struct.pack("<3iQ", 0, 2, 5, 32013312) + bytes(64), "ONNX"),
    "TensorFlow": (FROZEN, "tf2onnx.convert --graphdef"),
    "TensorFlow.js": (b'{"format": "layers-model", "modelTopology": {}}', "tensorflowjs_converter"),
    "weights of TensorFlow": (bytes(56) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "SavedModel"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90), "exportONNXNetwork"),
    "ONNX Runtime": (b"\x20\0\0\0ORTM" + bytes(64), ".onnx file"),
    "ExecuTorch": (b"\x1c\0\0\0ET12" + bytes(64), ".pt2"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_framework_is_named_whatever_its_suffix(name: str, tmp_path: Path) -> None:
    content, way = FILES[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=name.split(" in ")[0].split(" behind ")[0]) as caught:
        load(path, trust=True)
    assert way in str(caught.value).split("\n  fix: ")[1]


def test_an_openvino_ir_and_its_weights_are_named(tmp_path: Path) -> None:
    made = helper.make_node("Relu", ["x"], ["y"])
    kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 8, 8)) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph([made], "g", kinds[:1], kinds[1:])), tmp_path / "net.onnx")
    openvino.save_model(openvino.convert_model(tmp_path / "net.onnx"), tmp_path / "net.xml")
    (tmp_path / "net.bin").write_bytes(bytes(range(1, 65)))
    for name, said in {"net.xml": "is an OpenVINO IR", "net.bin": "holds the weights of an OpenVINO IR"}.items():
        with pytest.raises(CaptureError, match=said):
            load(tmp_path / name)


def test_packages_of_coreml_are_named(tmp_path: Path) -> None:
    package = tmp_path / "net.mlpackage"
    package.mkdir()
    entry = {"author": "com.apple.CoreML", "path": "com.apple.CoreML/model.mlmodel"}
    (package / "Manifest.json").write_text(json.dumps({"itemInfoEntries": {"1": entry}}))
    with pytest.raises(CaptureError, match="is a CoreML model"):
        load(package)
    compiled = tmp_path / "net.mlmodelc"
    compiled.mkdir()
    (compiled / "coremldata.bin").write_bytes(b"\0")
    with pytest.raises(CaptureError, match="is a CoreML model"):
        load(compiled)


def test_models_of_scikit_learn_are_named_whatever_wrote_them(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    (tmp_path / "plain").write_bytes(pickle.dumps(fitted))
    joblib.dump(fitted, tmp_path / "joblib")
    torch.save(fitted, tmp_path / "torch")
    command = r"python -c .*import to_onnx; .*FloatTensorType\(\[None, 64\]\).*\.onnx"
    for name in ("plain", "joblib", "torch"):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises(CaptureError, match=f"(?s)is a pickled model of scikit-learn, no network.*{command}"):
                load(tmp_path / name)
        assert not warned


def test_a_pickled_model_of_xgboost_comes_with_the_command_that_converts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind = type("XGBClassifier", (), {"__module__": "xgboost"})
    monkeypatch.setitem(sys.modules, "xgboost", SimpleNamespace(XGBClassifier=kind))
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(kind()))
    with pytest.raises(CaptureError, match=r"model of XGBoost[\s\S]*python -c .*import convert_xgboost; .*net\.onnx"):
        load(tmp_path / "net.pkl")


def test_other_pickles_are_not_taken_for_a_librarys(tmp_path: Path) -> None:
    torch.save({"made by": "fastai", "with": "sklearn", "what": Path("x")}, tmp_path / "net.pt")
    with pytest.raises(CaptureError, match=r"is a torch\.save file, a pickle: opening it can run code"):
        load(tmp_path / "net.pt")


class Learner:
    """What fastai exports, as far as it is read: an object with the network as its model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pickle that names fastai's class; fastai's modules are gone when the test asks for that."""
    top, inner = ModuleType("fastai"), ModuleType("fastai.learner")
    inner.Learner = Learner  # type: ignore[attr-defined]
    monkeypatch.setattr(Learner, "__module__", "fastai.learner")
    monkeypatch.setitem(sys.modules, "fastai", top)
    monkeypatch.setitem(sys.modules, "fastai.learner", inner)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    torch.save(Learner(net), tmp_path / "export.pkl")
    return tmp_path / "export.pkl"


def test_an_export_of_fastai_says_how_its_network_is_written(exported: Path) -> None:
    with pytest.raises(CaptureError, match="is a Learner that fastai exported, a pickle: opening it") as caught:
        load(exported, window=16)
    fix = str(caught.value).split("\n  fix: ")[1]
    assert "--trust" in fix
    assert "torch.onnx.export" in fix
    assert "torch.save(learn.model.state_dict()" in fix


def test_an_export_of_fastai_needs_fastai_even_if_it_is_trusted(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fastai.learner")
    monkeypatch.delitem(sys.modules, "fastai")
    with pytest.raises(CaptureError, match="needs the Python module fastai") as caught:
        load(exported, window=16, trust=True)
    assert "pip install fastai" in str(caught.value)


def test_the_network_of_a_trusted_export_of_fastai_is_read(exported: Path) -> None:
    net = load(exported, window=16, trust=True)
    assert (net.classes, net.window) == (2, (16, 16))


def test_unfinished_files_of_other_frameworks_are_one_error(tmp_path: Path) -> None:
    for content, _ in FILES.values():
        for end in range(1, len(content), 7):
            (tmp_path / "net").write_bytes(content[:end])
            with pytest.raises(CaptureError):
                load(tmp_path / "net")


def test_compressed_pickles_of_joblib_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(zlib.compress(pickle.dumps([1.0] * 99)))
    with pytest.raises(CaptureError):
        load(tmp_path / "net.pkl")
