"""A saved model is read back with the same scores, window, preprocessing and names; nothing is overwritten unasked."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fullfield.model.save as save_module
from fullfield.errors import ImageError, UnsupportedError
from fullfield.importers.load import load
from fullfield.layers import custom_operators
from fullfield.model.preprocessing import PRESETS
from fullfield.model.save import export_onnx, save
from fullfield.model.torch_export import capture_module

aten = torch.ops.aten


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(x + self.norm(self.conv(x)))
        return result


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        scores: torch.Tensor = self.head(self.norm(tokens + mixed)[:, 0])
        return scores


def _flat_head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.PReLU(6),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Residual(6),
        nn.AvgPool2d(2, 2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 9),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(9, 4),
        nn.Softmax(-1),
    )


def _global_head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.BatchNorm2d(6),
        nn.Hardswish(),
        nn.Conv2d(6, 6, 3, groups=6, padding=2, dilation=2),
        nn.GroupNorm(2, 6),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def _odd_head() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d((1, 2, 0, 1)),
        nn.Conv2d(3, 6, 3, stride=2),
        nn.GELU(),
        nn.LocalResponseNorm(5),
        nn.InstanceNorm2d(6, affine=True),
        nn.LeakyReLU(0.1),
        nn.AdaptiveMaxPool2d(1),
        nn.Conv2d(6, 4, 1),
        nn.LogSoftmax(1),
    )


NETS: list[Callable[[], nn.Module]] = [_flat_head, _global_head, _odd_head, Attention]


def _classifier(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    torch.manual_seed(1)
    net = make()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return capture_module(net.to(dtype), window=(24, 24), **options)


@pytest.fixture(scope="module")
def flat_head(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The network that most tests read, saved once."""
    before = _classifier(_flat_head)
    return before, save(before, tmp_path_factory.mktemp("saved") / "net.onnx")


@pytest.mark.parametrize("make", NETS, ids=lambda m: m.__name__)
def test_a_round_trip_keeps_the_scores_and_onnxruntime_gives_them_too(make: Any, tmp_path: Path) -> None:
    before = _classifier(make)
    path = save(before, tmp_path / "net.onnx")
    after, x = load(path), torch.randn(3, 3, 24, 24)
    wanted = before(x).detach()
    assert (after(x) - wanted).abs().max() <= 2e-6
    assert (after(x[:1]) - wanted[:1]).abs().max() <= 2e-6
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    got = session.run(["scores"], {"image": x.numpy()})[0]
    np.testing.assert_allclose(got.reshape(3, -1), wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", NETS, ids=lambda m: m.__name__)
def test_a_round_trip_in_double_keeps_the_scores_in_double(make: Any, tmp_path: Path) -> None:
    before = _classifier(make, torch.float64)
    after = load(save(before, tmp_path / "net.onnx"))
    x = torch.randn(3, 3, 24, 24, dtype=torch.float64)
    assert after.dtype == torch.float64
    assert (after(x) - before(x)).abs().max() <= 1e-9


def test_a_round_trip_keeps_everything_else(tmp_path: Path) -> None:
    names = ("one", "zwei", "trois", "四")
    before = _classifier(_flat_head, preprocessing="imagenet", class_names=names, name="nice net")
    after = load(save(before, tmp_path / "net.onnx"))
    assert (after.window, after.channels, after.classes) == ((24, 24), 3, 4)
    assert after.preprocessing == PRESETS["imagenet"]
    assert after.class_names == names
    assert after.name == "nice net"
    assert load(tmp_path / "net.onnx", name="other", preprocessing="unit").preprocessing == PRESETS["unit"]


def test_a_round_trip_keeps_the_names_of_weights_and_layers(flat_head: tuple[Any, Path]) -> None:
    before, after = flat_head[0], load(flat_head[1])
    assert set(after.graph.state_dict()) == set(before.graph.state_dict()) - {"3.norm.num_batches_tracked"}
    paths = {n.meta["path"] for n in after.graph.graph.nodes if n.op == "call_function"}
    assert {"0", "3.conv", "3.norm", "3.act", "6", "9"} <= paths
    assert all(p.requires_grad for p in after.graph.parameters())


def test_the_second_round_trip_changes_nothing(flat_head: tuple[Any, Path], tmp_path: Path) -> None:
    first = load(flat_head[1])
    second = load(save(first, tmp_path / "b.onnx"), name=first.name)
    assert second.hash == first.hash
    assert [n.meta["path"] for n in second.graph.graph.nodes] == [n.meta["path"] for n in first.graph.graph.nodes]


def test_a_saved_file_says_nothing_of_the_machine_that_wrote_it(flat_head: tuple[Any, Path]) -> None:
    content = flat_head[1].read_bytes()
    assert b".py" not in content
    assert str(Path.cwd()).encode() not in content
    assert [p.name for p in flat_head[1].parent.iterdir()] == ["net.onnx"]


def test_saving_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    save(_classifier(_global_head), tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")
    assert list(recwarn) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"precious")
    net = _classifier(_global_head)
    with pytest.raises(ImageError, match="exists already"):
        save(net, path)
    assert path.read_bytes() == b"precious"
    save(net, path, overwrite=True)
    assert load(path).classes == 4


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    net = _classifier(_global_head)
    with pytest.raises(ImageError, match="is a folder"):
        save(net, tmp_path)
    with pytest.raises(ImageError, match="there is no folder"):
        save(net, tmp_path / "missing" / "net.onnx")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"precious")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.onnx.ONNXProgram.save", full)
    with pytest.raises(ImageError, match="No space left"):
        save(_classifier(_global_head), path, overwrite=True)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_without_the_extra_saving_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"fullfield\[export\]"):
        save(_classifier(_global_head), tmp_path / "net.onnx")


def test_weights_beyond_one_files_limit_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save_module, "INSIDE_BYTES", 10)
    before = _classifier(_flat_head)
    path = save(before, tmp_path / "net.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    x = torch.randn(2, 3, 24, 24)
    assert torch.allclose(load(path)(x), before(x), atol=1e-6)


def test_a_module_of_any_size_is_written_with_free_height_and_width(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 2, 5))
    net.train()
    path = export_onnx(net, (3, 24, 24), tmp_path / "fcn.onnx", metadata={"fullfield.name": "fcn"})
    assert net.training
    assert net[0].training
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 24, 24), (2, 3, 40, 57), (1, 3, 101, 24)):
        x = torch.randn(*shape)
        got = session.run(["scores"], {"image": x.numpy()})[0]
        np.testing.assert_allclose(got, net(x).detach().numpy(), rtol=0, atol=1e-5)
    entries = {e.key: e.value for e in onnx.load(path).metadata_props}
    assert entries["fullfield.name"] == "fcn"


def test_a_module_that_fixes_its_size_cannot_be_written_with_a_free_one(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(UnsupportedError, match="cannot be written as ONNX"):
        export_onnx(net, (3, 8, 8), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
    export_onnx(net, (3, 8, 8), tmp_path / "net.onnx", free_size=False)


class Coupled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return custom_operators.coupled_probabilities(x.mean((2, 3)).sigmoid(), 3)


def test_an_operator_without_a_form_in_onnx_is_named(tmp_path: Path) -> None:
    model = capture_module(Coupled().eval(), window=8, channels=3)
    with pytest.raises(UnsupportedError, match=r"cannot be written as ONNX \(.*fullfield\.coupled_probabilities"):
        save(model, tmp_path / "net.onnx")
