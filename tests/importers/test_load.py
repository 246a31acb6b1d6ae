"""Files are recognised by content; files that can run code need trust; every bad file is one clear error."""

from __future__ import annotations

import os
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from fullfield.errors import CaptureError, FullfieldError
from fullfield.importers.class_names import read_class_names
from fullfield.importers.load import load
from fullfield.importers.onnx import load_onnx

from .onnx_models import model, stored  # noqa: TID252 - tests are no package

RNG = np.random.default_rng(23)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def _onnx(weight_bytes_outside: str | None = None) -> onnx.ModelProto:
    """A small classifier, its kernel in another file if a name is given."""
    kernel = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "b"], ["y"], transB=1),
    ]
    weights = {"m": RNG.standard_normal((2, 4)).astype(np.float32), "b": np.zeros(2, np.float32)}
    made = model(nodes, weights)
    tensor = numpy_helper.from_array(kernel, "w")
    if weight_bytes_outside is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=weight_bytes_outside)
    made.graph.initializer.append(tensor)
    return made


def _program(folder: Path, *, free: bool = True) -> tuple[Path, nn.Module]:
    net, path = _net(), folder / "anything.onnx"
    sizes = ({0: torch.export.Dim.DYNAMIC},) if free else None
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 9),), dynamic_shapes=sizes), path)
    return path, net


def test_onnx_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(_onnx().SerializeToString())
    assert load(path).classes == 2
    assert load(str(path), name="mine", class_names=["a", "b"]).class_names == ("a", "b")


def test_a_pt2_program_is_refused_without_trust_and_says_why(tmp_path: Path) -> None:
    path, _ = _program(tmp_path)
    with pytest.raises(CaptureError, match=r"can run code[\s\S]*trust=True"):
        load(path)


@pytest.mark.filterwarnings("ignore")
def test_a_trusted_pt2_program_is_captured_at_its_own_window(tmp_path: Path) -> None:
    path, net = _program(tmp_path)
    loaded = load(path, trust=True)
    assert loaded.window == (8, 9)
    x = torch.randn(3, 3, 8, 9)
    assert torch.allclose(loaded(x), net(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_trusted_pt2_program_with_a_frozen_batch_is_one_error(tmp_path: Path) -> None:
    path, _ = _program(tmp_path, free=False)
    path.rename(tmp_path / "b.pt2")
    torch.export.save(torch.export.export(_net(), (torch.zeros(1, 3, 8, 9),)), tmp_path / "b.pt2")
    try:
        loaded = load(tmp_path / "b.pt2", trust=True)
    except CaptureError:
        return
    x = torch.randn(3, 3, 8, 9)
    assert torch.allclose(loaded(x), _net()(x), atol=1e-6), "or the batch turned out to be free"


class _Attention(nn.Module):
    """A class token before the patches, and torch's attention over sequences that come first."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=not first)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x.transpose(0, 1) if self.first else x
        x = self.attention(x, x, x)[0]
        return self.head(x[0] if self.first else x[:, 0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("first", [True, False])
def test_a_program_of_a_fixed_batch_runs_once_for_each_window(first: bool, batch: int, tmp_path: Path) -> None:
    net = _Attention(first=first).eval()
    program = torch.export.export(net, (torch.randn(batch, 3, 16, 16),))
    torch.export.save(program.run_decompositions() if batch == 4 else program, tmp_path / "net.pt2")
    loaded = load(tmp_path / "net.pt2", trust=True)
    x = torch.randn(3, 3, 16, 16)
    assert loaded.window == (16, 16)
    with torch.no_grad():
        assert torch.allclose(loaded(x), net(x), rtol=0, atol=1e-6)


class _Rows(nn.Module):
    """A recurrent layer over the patches."""

    def __init__(self, kind: type[nn.RNNBase], *, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.layer = kind(8, 6, 2, batch_first=batch_first, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.layer(x if self.layer.batch_first else x.transpose(0, 1))[0]
        return self.head(x[:, -1] if self.layer.batch_first else x[-1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_program_with_states_of_a_fixed_batch_runs_once_for_each_window(
    kind: type[nn.RNNBase], batch_first: bool, tmp_path: Path
) -> None:
    net = _Rows(kind, batch_first=batch_first).eval()
    torch.export.save(torch.export.export(net, (torch.randn(1, 3, 8, 12),)), tmp_path / "net.pt2")
    loaded = load(tmp_path / "net.pt2", trust=True)
    x = torch.randn(3, 3, 8, 12)
    with torch.no_grad():
        assert torch.allclose(loaded(x), net(x), rtol=0, atol=1e-6)
    assert not any("fullfield" in str(node.target) for node in loaded.graph.graph.nodes)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_needs_trust(zipped: bool, tmp_path: Path) -> None:
    net, path = _net(), tmp_path / "net.pt"
    torch.save(net, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CaptureError, match="pickle: opening it can run code"):
        load(path)
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(load(path, window=8, trust=True)(x), net(x), atol=1e-6)
    with pytest.raises(CaptureError, match="window"):
        load(path, trust=True)


def test_a_hostile_pickle_does_not_run_without_trust(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "net.onnx").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CaptureError, match="trust"):
        load(tmp_path / "net.onnx")
    assert not (tmp_path / "sprung").exists()


def test_the_code_of_a_trusted_pickle_runs_once(tmp_path: Path) -> None:
    class MakesFolder:
        def __reduce__(self) -> Any:
            return Path.mkdir, (tmp_path / "made",)  # a second time raises

    torch.save({"model": _net(), "callback": MakesFolder()}, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt", window=8, trust=True).classes == 2
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_says_that_its_network_is_missing(wrapped: bool, tmp_path: Path) -> None:
    state = _net().state_dict()
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "w.pth")
    with pytest.raises(CaptureError, match="weights without their network"):
        load(tmp_path / "w.pth")


def test_a_checkpoint_that_holds_the_whole_module_is_captured(tmp_path: Path) -> None:
    torch.save({"model": _net(), "epoch": 3}, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth", window=8, trust=True).classes == 2


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (lambda _: sys.modules.pop("its_networks"), "needs the Python module its_networks"),
        (lambda module: delattr(module, "Net"), "needs the class Net of the Python module its_networks"),
    ],
)
def test_a_pickled_module_whose_class_is_not_installed_says_what_to_install(
    lost: Callable[[ModuleType], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("its_networks")
    monkeypatch.setitem(sys.modules, "its_networks", module)
    exec("from torch import nn\nclass Net(nn.Sequential): pass", module.__dict__)
    torch.save(module.__dict__["Net"](_net()), tmp_path / "net.pt")
    assert load(tmp_path / "net.pt", window=8, trust=True).classes == 2
    lost(module)
    with pytest.raises(CaptureError, match=rf"{said}[\s\S]*fix: install the package that defines it"):
        load(tmp_path / "net.pt", window=8, trust=True)


def test_the_channels_of_a_pickled_module_can_be_given_those_of_an_onnx_file_cannot(tmp_path: Path) -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    torch.save(net, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt", window=8, channels=5, trust=True).classes == 5
    with pytest.raises(CaptureError, match="states its channels itself"):
        load(stored(_onnx(), tmp_path), channels=3)


def test_a_model_is_loaded_as_it_is_or_with_changes() -> None:
    net = load(_net(), window=8)
    assert load(net) is net
    assert load(net, window=8, channels=3) is net
    assert load(net, name="mine", preprocessing="unit", class_names=["a", "b"]).name == "mine"
    assert load(net, class_names=["a", "b"]).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"window": 9}, "9 is not the 8x8 px of Sequential"),
        ({"channels": 1}, "1 are not the 3 of Sequential"),
        ({"score": 1}, "has one output"),
        ({"weights": "a.caffemodel"}, "carries its weights itself"),
        ({"class_names": ("a", "b", "c")}, "3 names for 2 scores"),
    ],
)
def test_a_model_refuses_an_option_that_it_cannot_follow(option: dict[str, Any], said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        load(load(_net(), window=8), **option)


def test_a_module_refuses_a_file_of_weights() -> None:
    with pytest.raises(CaptureError, match="Sequential: carries its weights itself"):
        load(_net(), window=8, weights="a.caffemodel")


def test_a_damaged_pickle_is_one_error_even_when_trusted(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(CaptureError, match="cannot be read"):
        load(tmp_path / "w.pkl", trust=True)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(_net(), torch.zeros(1, 3, 8, 8)), tmp_path / "net.pt")
    with pytest.raises(CaptureError, match="TorchScript"):
        load(tmp_path / "net.pt")


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")


OTHERS: list[tuple[bytes, str]] = [
    (b"", "is empty"),
    (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
    (b"\x1c\0\0\0TFL3" + b"\0" * 64, "TensorFlow Lite"),
    (b"GGUF" + b"\0" * 64, "GGUF"),
    (b"\x93NUMPY\x01\0", "NumPy"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "picture"),
    (b"\xff\xd8\xff\xe0" + b"\0" * 64, "picture"),
    (b"\x1f\x8b\x08\0", "compressed"),
    ((66).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "safetensors"),
    (b"PK\x03\x04rubbish", "damaged"),
    (b"print('hello')\n", "not an ONNX model"),
    (b"<html><body>404</body></html>", "web page"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "is a web page, not a network"),
    (b"<!doctype html><title>Sign in</title>", "a web page"),
    (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML>", "is a web page, not"),
    (b"\n<HTML>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of Git LFS"),
    (b"\x08\x07", "not an ONNX model"),
    (bytes(range(256)) * 20, "not an ONNX model"),
]


@pytest.mark.parametrize(("content", "said"), OTHERS, ids=[said for _, said in OTHERS])
def test_a_wrong_file_is_one_error_that_says_what_it_is(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=said) as caught:
        load(path, trust=True)
    assert "net.onnx" in caught.value.where
    assert "\n  fix: " in str(caught.value)


def test_keras_archives_saved_models_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    _zip(tmp_path / "a.keras", "config.json", "metadata.json", "model.weights.h5")
    _zip(tmp_path / "b.zip", "readme.txt")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    for name, said in {
        "a.keras": "Keras",
        "b.zip": "zip",
        "saved": "SavedModel",
        ".": "directory",
        "no": "No such",
    }.items():
        with pytest.raises(CaptureError, match=said):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["net/model.onnx"], r"is a zip archive of files \(net/model.onnx\)\n  fix: unpack it"),
        (["a", "b/", "c", "d", "e", "f"], r"of files \(a, c, d and 2 more\)"),
        ([], "is a zip archive without a network"),
    ],
)
def test_a_zip_archive_of_other_files_is_to_be_unpacked(names: list[str], said: str, tmp_path: Path) -> None:
    _zip(tmp_path / "model.zip", *names)
    with pytest.raises(CaptureError, match=said):
        load(tmp_path / "model.zip")


def test_a_folder_of_weights_without_a_configuration_says_how_to_name_their_network(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "best weights.pth")
    (tmp_path / "README.md").write_text("trained")
    said = (
        r"has weights \(best weights.pth\) and no config.json\n"
        r"  fix: load '.*best weights.pth' with arch='timm:NAME', --arch timm:NAME or torchvision:NAME; or put its"
    )
    for arch in (None, "timm:resnet18"):
        with pytest.raises(CaptureError, match=said):
            load(tmp_path, arch=arch)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = tmp_path / "net.prototxt"
    text.write_text('name: "n"\ninput: "data"\ninput_dim: 1\ninput_dim: 3\ninput_dim: 9\ninput_dim: 9\nlayer { }')
    for path in (pipe, Path("/dev/zero")):
        for read in (load, load_onnx, read_class_names, lambda p: load(text, weights=p)):
            with pytest.raises(CaptureError, match="not a regular file"):
                read(path)


def test_a_file_cut_short_anywhere_is_one_error(tmp_path: Path) -> None:
    whole, path = _onnx().SerializeToString(), tmp_path / "net.onnx"
    for cut in [*range(1, 40), *range(40, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CaptureError):
            load(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_give_an_error_of_fullfield_or_a_classifier_that_runs(seed: int, tmp_path: Path) -> None:
    whole, path, chance = _onnx().SerializeToString(), tmp_path / "net.onnx", random.Random(seed)
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            loaded = load(path)
        except FullfieldError:
            continue
        assert loaded(torch.zeros(1, loaded.channels, *loaded.window, dtype=loaded.dtype)).shape[0] == 1


def test_names_that_are_no_text_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(_onnx().SerializeToString().replace(b"GlobalAveragePool", b"GlobalAveragePoo\xff"))
    with pytest.raises(CaptureError, match="not UTF-8"):
        load(path)


def test_a_window_too_large_to_be_meant_is_refused(tmp_path: Path) -> None:
    made = _onnx()
    for axis in (2, 3):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 30_000
    with pytest.raises(CaptureError, match=r"input .x. has a value of shape \(3, 30000, 30000\), more than the 64 MiB"):
        load(stored(made, tmp_path))


def test_data_beside_the_model_are_read(tmp_path: Path) -> None:
    made = _onnx("parts/w.bin")
    (tmp_path / "parts").mkdir()
    kernel = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "parts" / "w.bin").write_bytes(b"skip" + kernel.tobytes())
    entries = made.graph.initializer[-1].external_data
    entries.add(key="offset", value="4")
    entries.add(key="length", value=str(kernel.nbytes))
    loaded = load(stored(made, tmp_path))
    assert torch.equal(loaded.graph.state_dict()["w"], torch.from_numpy(kernel))


def test_data_outside_the_models_folder_are_never_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 432)
    (home / "link.bin").symlink_to(secret)
    (home / "up").symlink_to(tmp_path)
    tries = ["../secret.bin", str(secret), "link.bin", "up/secret.bin", "a/../../secret.bin", "..\\secret.bin"]
    tries += ["C:\\secret.bin", "\\\\host\\secret.bin", "", ".", "missing.bin", "a\0b"]
    for location in tries:
        with pytest.raises(CaptureError, match=r"external data|no such|not in the model"):
            load(stored(_onnx(location), home))


@pytest.mark.parametrize(
    "entries", [{"offset": "-4"}, {"offset": "1e3"}, {"offset": "9" * 30}, {"length": "12"}, {"offset": "100"}], ids=str
)
def test_data_that_do_not_fill_their_tensor_are_refused(entries: dict[str, str], tmp_path: Path) -> None:
    made = _onnx("w.bin")
    (tmp_path / "w.bin").write_bytes(b"\0" * 432)
    for key, value in entries.items():
        made.graph.initializer[-1].external_data.add(key=key, value=value)
    with pytest.raises(CaptureError, match="tensor 'w'"):
        load(stored(made, tmp_path))


def test_a_tensor_that_declares_more_than_it_has_is_refused_before_it_is_made(tmp_path: Path) -> None:
    made = _onnx()
    made.graph.initializer[-1].dims[0] = 2**40
    with pytest.raises(CaptureError, match="bytes of weights, more than"):
        load(stored(made, tmp_path))
    made.graph.initializer[-1].dims[0] = 5
    with pytest.raises(CaptureError, match="takes 540 bytes, the file has 432"):
        load(stored(made, tmp_path))
    made.graph.initializer[-1].dims[0] = -4
    with pytest.raises(CaptureError, match="negative size"):
        load(stored(made, tmp_path))


def test_a_file_larger_than_the_cap_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="more than the 100 allowed"):
        load_onnx(stored(_onnx(), tmp_path), cap_bytes=100)


def test_class_names_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufefftabby cat \r\nchäteau\n\n".encode())
    assert read_class_names(path) == ("tabby cat", "chäteau")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"a\n\nb\n", "line 2"), (b"\xff\xfe\x00\xd8", "UTF-8"), (b"a" * (2**24 + 1), "bytes")],
)
def test_bad_class_names_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(CaptureError, match=said):
        read_class_names(tmp_path / "names.txt")
    with pytest.raises(CaptureError, match="No such"):
        read_class_names(tmp_path / "missing.txt")
