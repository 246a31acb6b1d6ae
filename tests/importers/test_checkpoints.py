"""Weights of timm, torchvision and transformers become models that give their library's own numbers."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import fullfield
from fullfield.cli import main
from fullfield.errors import CaptureError
from fullfield.importers.checkpoints.fit import under_prefix
from fullfield.importers.checkpoints.names import parse_architecture, parse_network_name
from fullfield.importers.checkpoints.packages import timm_package, transformers_package
from fullfield.importers.checkpoints.state_dict import StateDict, read_torch
from fullfield.importers.load import load
from fullfield.model.preprocessing import Preprocessing
from tests.processes import PATIENCE_S

save_safetensors: Callable[..., None] = pytest.importorskip("safetensors.torch").save_file
NET = "test_resnet"


def _timm(name: str = NET, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = timm_package("test").create_model(name, **options).eval()
    return net


def _weights(net: nn.Module, prefix: str = "", factor: float = 1.0) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value * factor for name, value in net.state_dict().items()}


def _folder(path: Path, net: nn.Module, config: Mapping[str, Any] | None = None) -> Path:
    path.mkdir()
    save_safetensors(net.state_dict(), path / "model.safetensors")
    given = {
        "input_size": [3, 64, 64],
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "crop_pct": 0.8,
        "interpolation": "bicubic",
    }
    default = {"architecture": NET, "num_classes": 4, "label_names": list("abcd"), "pretrained_cfg": given}
    (path / "config.json").write_text(json.dumps(config or default))
    return path


def _same(model: fullfield.Model, net: nn.Module) -> bool:
    x = torch.randn(3, model.channels, *model.window)
    with torch.no_grad():
        return torch.equal(model(x), net(x))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_a_network_of_timm_by_name_gives_timms_numbers(name: str, tmp_path: Path) -> None:
    net = _timm(name, num_classes=4)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    loaded = load(f"timm:{name}", weights=tmp_path / "w.pth")
    assert (loaded.window, loaded.classes) == ((160, 160), 4)
    assert loaded.preprocessing.mean == net.pretrained_cfg["mean"]  # type: ignore[index]
    assert _same(loaded, net)


def test_a_folder_of_timm_brings_window_classes_and_preprocessing(tmp_path: Path) -> None:
    net = _timm(num_classes=4)
    loaded = load(_folder(tmp_path / "hub", net))
    assert (loaded.window, loaded.class_names, loaded.name) == ((64, 64), ("a", "b", "c", "d"), "hub")
    assert loaded.preprocessing == Preprocessing(1 / 255, (0.5,) * 3, (0.25,) * 3, "RGB", (0, 255))
    assert dict(loaded.about)["resize"] == "shorter side to 80 px, bicubic, then the middle 64x64 px"
    assert _same(loaded, net)
    assert _same(load(tmp_path / "hub" / "model.safetensors"), net), "the configuration next to the file counts"


def test_a_scan_with_a_checkpoint_equals_timms_own_crops(tmp_path: Path) -> None:
    net = _timm(num_classes=4).double()
    loaded = load(_folder(tmp_path / "hub", net)).to(torch.float64)
    image = np.random.default_rng(0).integers(0, 256, (96, 112, 3), dtype=np.uint8)
    scores = fullfield.scan(loaded, image, step=16).array
    pixels = (torch.from_numpy(image).permute(2, 0, 1).double() / 255 - 0.5) / 0.25
    for i, j in ((0, 0), (1, 2), (2, 3)):
        crop = pixels[None, :, 16 * i : 16 * i + 64, 16 * j : 16 * j + 64]
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(scores[:, i, j]), net(crop)[0].to(torch.float64), rtol=0, atol=1e-6)


def test_inspect_and_info_print_what_the_files_say(tmp_path: Path) -> None:
    path = _folder(tmp_path / "hub", _timm(num_classes=4))
    text = str(fullfield.inspect(load(path)))
    assert "\nresize: shorter side to 80 px, bicubic, then the middle 64x64 px\n" in text
    assert "test_resnet of timm" in str(fullfield.info(path))
    assert fullfield.info(path).facts["weights"] == "model.safetensors"


WRAPPED: dict[str, tuple[Callable[[nn.Module], Any], float, str]] = {
    "bare": (_weights, 1, "w.ckpt"),
    "parallel": (lambda net: {"state_dict": _weights(net, "module.")}, 1, "those named module.*"),
    "compiled": (lambda net: {"model": _weights(net, "_orig_mod.")}, 1, "those named _orig_mod.*"),
    "lightning": (
        lambda net: {
            "state_dict": _weights(net, "model.") | {"loss.weight": torch.ones(4)},
            "pytorch-lightning_version": "2.4.0",
        },
        1,
        "those named model.*, without loss.weight, which are of no layer",
    ),
    "timm": (
        lambda net: {
            "state_dict": _weights(net),
            "state_dict_ema": _weights(net, factor=2),
            "args": argparse.Namespace(model=NET),
            "metric": np.float64(71.5),
        },
        2,
        "the averaged (EMA) weights in 'state_dict_ema', not those in 'state_dict'",
    ),
    "torchvision's reference": (
        lambda net: {"model": _weights(net), "model_ema": _weights(net, "module.", 2) | {"n_averaged": torch.ones(())}},
        2,
        "not those in 'model', those named module.*, without n_averaged, which are of no layer",
    ),
    "an averaged copy of any name": (
        lambda net: {"params": _weights(net), "params_ema": _weights(net, factor=2)},
        2,
        "the averaged (EMA) weights in 'params_ema', not those in 'params'",
    ),
    "an averaged copy in Lightning": (
        lambda net: {"state_dict": _weights(net, "model.") | _weights(net, "ema_model.module.", 2)},
        2,
        "those named ema_model.module.*, not those named model.*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_found_in_what_trainers_write_and_named(kind: str, tmp_path: Path) -> None:
    make, factor, taken = WRAPPED[kind]
    net = _timm(num_classes=4)
    torch.save(make(net), tmp_path / "w.ckpt")
    loaded = load(tmp_path / "w.ckpt", arch=f"timm:{NET}", window=64)
    net.load_state_dict({name: value * factor for name, value in net.state_dict().items()})
    assert taken in dict(loaded.about)["weights"]
    assert _same(loaded, net)


def test_weights_alone_are_told_at_once_without_trust_and_with_their_architecture(tmp_path: Path) -> None:
    net = _timm()
    torch.save({"state_dict": net.state_dict(), "hyper_parameters": {"arch": "resnet18"}}, tmp_path / "w.ckpt")
    with pytest.raises(CaptureError, match=r"weights without[\s\S]*calls it resnet18[\s\S]*--arch timm:resnet18"):
        load(tmp_path / "w.ckpt")
    save_safetensors(net.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(CaptureError, match=r"weights without their network[\s\S]*--arch timm:"):
        load(tmp_path / "w.safetensors")


def test_a_checkpoint_that_runs_code_is_read_with_trust_only(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": _timm().state_dict(), "callbacks": Trap()}, tmp_path / "w.ckpt")
    with pytest.raises(CaptureError, match="trust"):
        load(tmp_path / "w.ckpt", arch=f"timm:{NET}")
    assert not (tmp_path / "sprung").exists()
    assert load(tmp_path / "w.ckpt", arch=f"timm:{NET}", trust=True).classes == 1000
    assert (tmp_path / "sprung").exists(), "the trap works"


def test_missing_and_unexpected_keys_are_refused_by_name(tmp_path: Path) -> None:
    state = _timm(num_classes=4).state_dict()
    state["extra.weight"] = state.pop("stem.conv1.weight" if "stem.conv1.weight" in state else next(iter(state)))
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CaptureError, match=r"1 missing: \S+; 1 unexpected: extra.weight"):
        load(f"timm:{NET}", weights=tmp_path / "w.pth")


def test_a_head_of_another_size_than_the_configuration_is_refused_by_name(tmp_path: Path) -> None:
    path = _folder(tmp_path / "hub", _timm(num_classes=5))
    with pytest.raises(CaptureError, match=r"config.json names; 2 of another size: fc.weight 5x\d+, not 4x"):
        load(path)


def test_a_head_beside_the_networks_own_is_not_left_out(tmp_path: Path) -> None:
    net = _timm(num_classes=4)
    torch.save(_weights(net, "backbone.") | {"head.weight": torch.zeros(7, 4)}, tmp_path / "w.pth")
    with pytest.raises(CaptureError, match=r"1 unexpected: head\.weight"):
        load(tmp_path / "w.pth", arch=f"timm:{NET}")


def test_a_configuration_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = _folder(tmp_path / "hub", _timm(num_classes=4), {"architecture": "test_vit", "num_classes": 4})
    with pytest.raises(CaptureError, match=r"not those of timm's test_vit, which \S+config.json names"):
        load(path)


def test_two_files_of_weights_in_a_folder_are_one_error_and_weights_chooses(tmp_path: Path) -> None:
    net = _timm(num_classes=4)
    path = _folder(tmp_path / "hub", net)
    torch.save({name: value * 2 for name, value in net.state_dict().items()}, path / "epoch3.ckpt")
    with pytest.raises(CaptureError, match=r"has 2 files of weights: epoch3.ckpt, model.safetensors[\s\S]*weights="):
        load(path)
    assert _same(load(path, weights=path / "model.safetensors"), net)


def test_of_the_two_forms_of_the_hub_safetensors_is_taken_and_told(tmp_path: Path) -> None:
    net = _timm(num_classes=4)
    path = _folder(tmp_path / "hub", net)
    torch.save(net.state_dict(), path / "pytorch_model.bin")
    assert dict(load(path).about)["weights"] == "model.safetensors: not those in pytorch_model.bin"


def test_one_channel_is_summed_and_six_are_repeated_as_timm_does(tmp_path: Path) -> None:
    torch.save(_timm(num_classes=4).state_dict(), tmp_path / "w.pth")
    for channels in (1, 6):
        loaded = load(f"timm:{NET}", weights=tmp_path / "w.pth", channels=channels, preprocessing="none")
        own = _timm(num_classes=4, in_chans=channels)
        first = own.pretrained_cfg["first_conv"]  # type: ignore[index]
        state = torch.load(tmp_path / "w.pth")
        state[f"{first}.weight"] = timm_package("test").models.adapt_input_conv(channels, state[f"{first}.weight"])
        own.load_state_dict(state)
        assert loaded.channels == channels
        assert _same(loaded, own)


def test_the_command_line_takes_other_numbers_of_channels(tmp_path: Path) -> None:
    torch.save(_timm(num_classes=4).state_dict(), tmp_path / "w.pth")
    for command in ("inspect", "info"):
        given = [command, f"timm:{NET}", "--weights", str(tmp_path / "w.pth"), "--channels", "1"]
        result = CliRunner().invoke(main, given)
        assert result.exit_code == 0, result.output
        assert re.search(r"\b1 channel|channels +1\b", result.output)


def _of_the_authors(name: str) -> str:
    """A name of a weight of timm's ConvNeXt as its authors wrote it."""
    name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name).replace(
        "stem.", "downsample_layers.0."
    )
    name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
    return name.replace("head.norm.", "norm.").replace("head.fc.", "head.")


OLD: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]]] = {
    "ConvNeXt of its authors": (
        "test_convnext",
        lambda state: {_of_the_authors(name): value for name, value in state.items()},
    ),
    "ConvNeXt of its authors, in parallel": (
        "test_convnext",
        lambda state: {f"module.{_of_the_authors(name)}": value for name, value in state.items()},
    ),
    "ViT with linear patches": (
        "test_vit",
        lambda state: state | {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1)},
    ),
}


@pytest.mark.parametrize("kind", OLD)
def test_weights_of_an_earlier_layout_are_renamed_as_timm_does(kind: str, tmp_path: Path) -> None:
    name, change = OLD[kind]
    net = _timm(name, num_classes=5)
    old = change(net.state_dict())
    assert old.keys() != net.state_dict().keys() or name == "test_vit"
    torch.save(old, tmp_path / "w.pth")
    loaded = load(f"timm:{name}", weights=tmp_path / "w.pth")
    assert "renamed as timm does" in dict(loaded.about)["weights"]
    assert _same(loaded, net)


def test_weights_that_timm_would_resample_or_leave_out_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(_timm("test_vit", img_size=192).state_dict(), tmp_path / "large.pth")
    with pytest.raises(CaptureError, match=r"1 of another size: pos_embed 1x\d+x\d+, not 1x\d+x\d+"):
        load("timm:test_vit", weights=tmp_path / "large.pth")
    state = _timm("test_vit").state_dict()
    torch.save(state | {"pre_logits.fc.weight": torch.ones(64, 64)}, tmp_path / "more.pth")
    with pytest.raises(CaptureError, match=r"1 unexpected: pre_logits\.fc\.weight"):
        load("timm:test_vit", weights=tmp_path / "more.pth")


def test_a_networks_buffers_that_no_file_holds_are_computed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"img_size": 64, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
    net = _timm("swin_tiny_patch4_window7_224", num_classes=3, **options)
    held = net.state_dict()
    assert [name for name, _ in net.named_buffers() if name not in held]
    (tmp_path / "hub").mkdir()
    save_safetensors(held, tmp_path / "hub" / "model.safetensors")
    config = {"architecture": "swin_tiny_patch4_window7_224", "num_classes": 3, "model_args": options}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    assert _same(load(tmp_path / "hub", window=64), net)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_weights_in_several_files_are_read_by_their_index(form: str, tmp_path: Path) -> None:
    net = _timm(num_classes=4)
    path = _folder(tmp_path / "hub", net)
    whole = "model.safetensors" if form == "safetensors" else "pytorch_model.bin"
    (path / "model.safetensors").unlink()
    names = list(net.state_dict())
    parts = {f"{whole.split('.')[0]}-0000{k + 1}-of-00002.{form}": names[k::2] for k in range(2)}
    for part, own in parts.items():
        tensors = {name: net.state_dict()[name].contiguous() for name in own}
        save_safetensors(tensors, path / part) if form == "safetensors" else torch.save(tensors, path / part)
    index = {"weight_map": {name: part for part, own in parts.items() for name in own}}
    (path / f"{whole}.index.json").write_text(json.dumps(index))
    assert _same(load(path), net)
    (path / next(iter(parts))).unlink()
    with pytest.raises(CaptureError, match="00001-of-00002"):
        load(path)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("timm:test_resnet", {}, r"only the architecture is named[\s\S]*weights=FILE"),
        ("timm:no_such_net", {"weights": "w.pth"}, r"has no network no_such_net"),
        ("timm:tset_resnet", {"weights": "w.pth"}, r"fix: use test_resnet"),
        ("w.pth", {"arch": "resnet18"}, r"'resnet18' names no library[\s\S]*timm:resnet18 or torchvision:resnet18"),
        ("timm:resnet18", {"weights": "w.pth", "arch": "timm:resnet18"}, "leave out arch="),
        ("hf:noname", {}, "is no name in hf"),
        ("timm:test_resnet", {"weights": "none.pth"}, "none.pth"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_one_clear_error(
    source: str, options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(_timm().state_dict(), "w.pth")
    with pytest.raises(CaptureError, match=message):
        load(source, **options)


def test_names_of_networks_are_no_paths() -> None:
    assert str(parse_network_name("hf:timm/resnet18.a1_in1k")) == "hf:timm/resnet18.a1_in1k"
    assert parse_network_name("models/net.onnx") is None
    with pytest.raises(CaptureError, match="network with weights"):
        parse_architecture("hf:a/b")


def test_a_prefix_is_found_only_where_the_networks_names_follow_it() -> None:
    state = StateDict(Path("w"), {"a.fc.weight": torch.zeros(2, 2), "a.fc.bias": torch.zeros(2)})
    assert set(under_prefix(state, ["fc.weight", "fc.bias"]).tensors) == {"fc.weight", "fc.bias"}
    assert under_prefix(state, ["conv.weight"]) is state


def test_a_dictionary_without_weights_is_none(tmp_path: Path) -> None:
    torch.save({"image": torch.zeros(3)}, tmp_path / "x.pt")
    assert read_torch(tmp_path / "x.pt") is None


# -- transformers ------------------------------------------------------------------------------------------------------


def _transformers_folder(path: Path, kind: str) -> tuple[Path, nn.Module]:
    transformers = transformers_package("test")
    torch.manual_seed(0)
    labels = {"id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}
    if kind == "vit":
        config = transformers.ViTConfig(
            num_hidden_layers=2,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=32,
            patch_size=8,
            **labels,
        )
        processor = {
            "size": {"height": 32, "width": 32},
            "resample": 2,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
    else:
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **labels
        )
        processor = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
                     "resample": 3, "image_mean": [0.4] * 3, "image_std": [0.2] * 3}  # fmt: skip
    net: Any = transformers.AutoModelForImageClassification.from_config(config).eval()
    net.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path, net


@pytest.mark.parametrize(
    ("kind", "resize"),
    [("vit", "to 32x32 px, bilinear"), ("resnet", "shorter side to 36 px, bicubic, then the middle 32x32 px")],
)
def test_a_folder_of_transformers_gives_its_numbers_and_says_its_classes(
    kind: str, resize: str, tmp_path: Path
) -> None:
    path, net = _transformers_folder(tmp_path / "net", kind)
    loaded = load(path)
    assert (loaded.window, loaded.class_names) == ((32, 32), ("cat", "dog", "owl"))
    assert len(set(loaded.preprocessing.mean)) == 1
    assert dict(loaded.about)["resize"] == resize
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(loaded(x), net(x).logits, rtol=0, atol=1e-6)


def test_a_scan_with_a_network_of_transformers_equals_its_own_crops(tmp_path: Path) -> None:
    path, net = _transformers_folder(tmp_path / "net", "resnet")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    scores = fullfield.scan(load(path), image, step=16).array
    crop = (torch.from_numpy(image[16:48, 32:64]).permute(2, 0, 1)[None].float() / 255 - 0.4) / 0.2
    with torch.no_grad():
        assert np.allclose(scores[:, 1, 2], net(crop).logits[0].numpy(), rtol=0, atol=1e-5)


def test_weights_of_another_network_of_transformers_are_refused_by_name(tmp_path: Path) -> None:
    path, _ = _transformers_folder(tmp_path / "net", "vit")
    config = json.loads((path / "config.json").read_text())
    config["id2label"] = {str(index): f"LABEL_{index}" for index in range(5)}
    config["label2id"] = {f"LABEL_{index}": index for index in range(5)}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CaptureError, match=r"config.json names; 2 of another size: classifier.bias 3, not 5"):
        load(path)


def test_a_configuration_of_no_classifier_is_refused_and_its_code_is_not_run(tmp_path: Path) -> None:
    path, _ = _transformers_folder(tmp_path / "net", "vit")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"architectures": ["ViTModel"]}))
    with pytest.raises(CaptureError, match="is of ViTModel, no image classifier of transformers"):
        load(path)
    (path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.py"}}))
    with pytest.raises(CaptureError, match="names no architecture"):
        load(path)


# -- the Hub, and what is installed ------------------------------------------------------------------------------------


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | environment
    )


def _cached(cache: Path, net: nn.Module) -> None:
    """Lays a network into the cache of the Hub's library as the library does."""
    repository = cache / "models--owner--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    _folder(repository / "snapshots" / ("0" * 40), net)


def test_a_name_of_the_hub_is_read_from_the_cache_without_a_network(tmp_path: Path) -> None:
    _cached(tmp_path, _timm(num_classes=4))
    code = "import fullfield; model = fullfield.load('hf:owner/net'); print(model.name, model.classes, model.window)"
    result = _run(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    assert result.stdout == "hf:owner/net 4 (64, 64)\n", result.stderr


def test_a_name_of_the_hub_that_is_not_in_the_cache_is_one_clear_error_offline(tmp_path: Path) -> None:
    result = _run("import fullfield; fullfield.load('hf:owner/none')", HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    last = result.stderr.strip().splitlines()[-2:]
    assert (
        f"hf:owner/none: is not in the cache {tmp_path}, and the Hub cannot be reached (HF_HUB_OFFLINE is set)"
        in last[0]
    )
    assert "hf download owner/none" in last[1]


BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise {error}
sys.meta_path.insert(0, Blocker())
from fullfield.importers.checkpoints.packages import timm_package
"""


@pytest.mark.parametrize(
    "error", ["ModuleNotFoundError('none', name='torchvision')", "RuntimeError('no torchvision::nms')"]
)
def test_timm_is_imported_where_torchvision_does_not_import_and_nothing_of_it_stays(error: str) -> None:
    code = BLOCK.format(name="torchvision", error=error) + (
        "timm = timm_package('test')\n"
        "assert timm.create_model('test_resnet').eval()\n"
        "assert not [name for name in sys.modules if name.startswith('torchvision')]\n"
    )
    result = _run(code)
    assert result.returncode == 0, result.stderr


def test_a_pickled_timm_model_is_read_where_torchvision_does_not_import(tmp_path: Path) -> None:
    torch.save(_timm(num_classes=3).eval(), tmp_path / "net.pt")
    error = "ModuleNotFoundError('none', name='torchvision')"
    code = BLOCK.format(name="torchvision", error=error).rpartition("from ")[0] + (
        "import fullfield\n"
        f"model = fullfield.load({str(tmp_path / 'net.pt')!r}, trust=True)\n"
        "assert (model.classes, model.preprocessing.mean) == (3, (0.5, 0.5, 0.5))\n"
    )
    result = _run(code)
    assert result.returncode == 0, result.stderr


def test_a_pickled_timm_model_without_timm_names_it(tmp_path: Path) -> None:
    torch.save(_timm(num_classes=3).eval(), tmp_path / "net.pt")
    code = (
        "import sys; sys.modules['timm'] = None\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        f"import fullfield; fullfield.load({str(tmp_path / 'net.pt')!r}, trust=True)"
    )
    assert "needs the Python module timm" in _run(code).stderr


def test_a_pickled_module_of_transformers_is_read(tmp_path: Path) -> None:
    _, network = _transformers_folder(tmp_path / "folder", "vit")
    torch.save(network, tmp_path / "net.pt")
    assert load(tmp_path / "net.pt", window=32, trust=True).classes == network.config.num_labels


def test_a_torchvision_that_works_is_not_touched(tmp_path: Path) -> None:
    for name in ("", "datasets", "ops", "transforms"):
        (tmp_path / "torchvision" / name).mkdir(exist_ok=True)
        (tmp_path / "torchvision" / name / "__init__.py").write_text(
            "def __getattr__(name):\n    return type(name, (), {})\n"
        )
    (tmp_path / "torchvision" / "ops" / "misc.py").write_text("class FrozenBatchNorm2d: pass\n")
    (tmp_path / "torchvision" / "transforms" / "functional.py").write_text(
        "import enum\nnames = 'NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS'\n"
        "InterpolationMode = enum.Enum('InterpolationMode', names)\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from fullfield.importers.checkpoints.packages import timm_package\n"
        "timm_package('test')\n"
        "import timm.layers.norm_act as used, torchvision.ops.misc\n"
        f"assert torchvision.__file__.startswith({str(tmp_path)!r})\n"
        "assert used.FrozenBatchNorm2d is torchvision.ops.misc.FrozenBatchNorm2d\n"
    )
    result = _run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("missing", "source"),
    [("timm", "timm:test_resnet"), ("safetensors", "w.safetensors"), ("huggingface_hub", "hf:owner/name")],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(missing: str, source: str, tmp_path: Path) -> None:
    save_safetensors({"fc.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "w.pth")
    weights = f", weights={str(tmp_path / 'w.pth')!r}" if source.startswith("timm") else ""
    where = source if ":" in source else str(tmp_path / source)
    code = BLOCK.format(name=missing, error=f"ModuleNotFoundError('none', name={missing!r})")
    result = _run(f"{code}import fullfield\nfullfield.load({where!r}{weights})")
    extra = missing.replace("huggingface_hub", "safetensors")
    assert f"needs the package {missing}\n  fix: pip install 'fullfield[{extra}]'" in result.stderr


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_a_classifier_of_torchvision_gives_its_numbers(tmp_path: Path) -> None:
    from fullfield.importers.checkpoints.packages import torchvision_models

    models = torchvision_models("test")
    for name in ("resnet18", "squeezenet1_1", "mobilenet_v3_small"):
        torch.manual_seed(0)
        net = models.get_model(name, weights=None, num_classes=4).eval()
        torch.save(net.state_dict(), tmp_path / "w.pth")
        loaded = load(f"torchvision:{name}", weights=tmp_path / "w.pth")
        assert (loaded.window, loaded.classes) == ((224, 224), 4)
        assert loaded.preprocessing.mean == (0.485, 0.456, 0.406)
        assert dict(loaded.about)["resize"].startswith("shorter side to ")
        assert _same(loaded, net)
    with pytest.raises(CaptureError, match="torchvision has no classifier resnet19"):
        load("torchvision:resnet19", weights=tmp_path / "w.pth")
