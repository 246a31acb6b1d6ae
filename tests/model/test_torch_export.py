"""Modules to models: what is captured, what is not changed, what is refused and why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError
from fullfield.model.preprocessing import PRESETS
from fullfield.model.torch_export import capture_module, parse_window
from tests.model.networks import Small


def test_a_captured_network_takes_any_batch_and_gives_the_modules_scores() -> None:
    module = Small().eval()
    net = capture_module(module, window=(9, 7))
    assert (net.window, net.channels, net.classes, net.name) == ((9, 7), 3, 6, "Small")
    for batch in (1, 2, 5):
        windows = torch.randn(batch, 3, 9, 7)
        assert torch.equal(net(windows), module(windows))


def test_training_flags_and_parameters_stay_the_modules_own() -> None:
    module = Small()
    module.features[1].eval()
    flags = [m.training for m in module.modules()]
    net = capture_module(module, window=9)
    assert [m.training for m in module.modules()] == flags
    assert {p.data_ptr() for p in net.graph.parameters()} == {p.data_ptr() for p in module.parameters()}


def test_flags_are_restored_when_the_export_fails_too() -> None:
    module = Small(lambda y: y if float(y.sum()) > 0 else -y)
    with pytest.raises(CaptureError, match="Small: cannot be exported") as caught:
        capture_module(module, window=9)
    assert module.training
    assert "control flow" in caught.value.fix


def test_nodes_carry_their_layers_names() -> None:
    graph = capture_module(Small(), window=9).graph.graph
    paths = {str(n.target): n.meta["path"] for n in graph.nodes if n.op == "call_function"}
    assert paths["aten.conv2d.default"] == "features.0"
    assert paths["aten.linear.default"] == "head"


@pytest.mark.parametrize("window", [0, -3, (3,), (3, 4, 5), (3, 0), (2.5, 3)])
def test_a_window_is_one_or_two_positive_integers(window: object) -> None:
    with pytest.raises(CaptureError, match="is not one or two positive integers"):
        parse_window(window)  # type: ignore[arg-type]


def test_the_window_must_be_known() -> None:
    with pytest.raises(CaptureError, match="is not given and the module does not state it"):
        capture_module(Small())


def test_a_pretrained_cfg_says_window_preprocessing_and_names() -> None:
    module = Small()
    names = list("abcdef")
    module.pretrained_cfg = {"input_size": (3, 9, 8), "mean": (0.5,) * 3, "std": (0.25,) * 3, "label_names": names}  # type: ignore[assignment]
    net = capture_module(module)
    assert net.window == (9, 8)
    assert net.preprocessing.std == (0.25,) * 3
    assert net.class_names == tuple(names)
    assert capture_module(module, preprocessing="unit").preprocessing == PRESETS["unit"]


def test_channels_are_those_of_the_first_convolution_or_as_said() -> None:
    assert capture_module(Small(channels=1), window=9).channels == 1
    flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 3))
    assert capture_module(flat, window=3, channels=2).channels == 2


def test_pixels_may_be_rearranged_before_the_first_convolution() -> None:
    module = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(2, 3, 8, 8))
    module.pretrained_cfg = {"input_size": (3, 8, 8)}  # type: ignore[assignment]
    assert capture_module(module).channels == 3


def test_names_must_be_as_many_as_scores() -> None:
    with pytest.raises(CaptureError, match="2 names for 6 scores"):
        capture_module(Small(), window=9, class_names=["a", "b"])


def test_a_network_without_numbers_is_captured() -> None:
    net = capture_module(Small(lambda y: y.flip(1)).to("meta").eval(), window=9)
    assert net.device.type == "meta"


def test_a_failed_export_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(CaptureError, match="cannot be exported"):
        capture_module(Branching(), window=5)
    assert capfd.readouterr() == ("", "")
