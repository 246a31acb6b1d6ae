"""Networks trained for integers are read as the float networks that they approximate, as their ONNX exports are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fullfield
from fullfield.errors import CaptureError
from fullfield.model.fake_quantisation import READ_AS_FLOATS
from fullfield.model.model import Model
from tests.requests import job_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch.ao.quantization as quantization
    from torch.ao.quantization import quantize_fx

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao.quantization is deprecated, and says so often
SIZE = 16


class Small(nn.Module):
    """A small network with the stubs of eager quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(self.quant(x))))
        out: Tensor = self.dequant(self.head(x.mean((2, 3))))
        return out


def trained(backend: str = "x86") -> nn.Module:
    """Prepared for training with integers in mind, with the ranges of one batch."""
    torch.manual_seed(0)
    net = quantization.fuse_modules_qat(Small().train(), [["conv", "norm", "relu"]])
    net.qconfig = quantization.get_default_qat_qconfig(backend)
    prepared: nn.Module = quantization.prepare_qat(net)
    prepared(torch.rand(8, 3, SIZE, SIZE))
    return prepared


def rounding(net: Model, module: nn.Module) -> float:
    """Largest difference to the module itself, which rounds, over the spread of its scores; on what it was trained."""
    torch.manual_seed(0)
    x = torch.rand(16, 3, SIZE, SIZE)
    own = copy.deepcopy(module).eval().apply(quantization.disable_observer)(x)
    return float((net(x) - own).abs().max() / (own.max() - own.min()))


@pytest.mark.parametrize("backend", ["x86", "qnnpack"])
def test_a_network_prepared_for_integers_is_its_float_form_and_says_so(backend: str) -> None:
    module = trained(backend)
    before = copy.deepcopy(module.state_dict())
    net = fullfield.load(module, window=SIZE)
    assert net.name == f"Small ({READ_AS_FLOATS})"
    assert 1e-6 < rounding(net, module) < 0.05
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert "forward" not in vars(module.quant.activation_post_process)


def test_weights_are_rounded_as_torch_rounds_them() -> None:
    module = trained()
    net = fullfield.load(module.eval(), window=SIZE)
    weight = module.head.weight_fake_quant
    expected = torch.fake_quantize_per_channel_affine(
        module.head.weight.detach(), weight.scale, weight.zero_point, weight.ch_axis, weight.quant_min, weight.quant_max
    )
    linear = next(node for node in net.graph.graph.nodes if node.target is torch.ops.aten.linear.default)
    seen: list[Tensor] = []

    class Reader(torch.fx.Interpreter):
        def run_node(self, node: torch.fx.Node) -> object:
            out = super().run_node(node)
            if node is linear.args[1]:
                seen.append(out)
            return out

    Reader(net.graph).run(torch.rand(2, 3, SIZE, SIZE))
    assert torch.equal(seen[0], expected)


def test_values_beyond_the_integers_are_clamped() -> None:
    module = trained()
    net = fullfield.load(module, window=SIZE)
    bright = torch.full((1, 3, SIZE, SIZE), 1.0)
    assert torch.equal(net(50 * bright), net(60 * bright))


def test_a_scan_of_a_network_prepared_for_integers_equals_its_crops() -> None:
    module = trained()
    net = fullfield.load(module, window=SIZE).in_type(torch.float64)
    image = torch.rand(3, 24, 26, dtype=torch.float64)
    scores = fullfield.scan(net, image, step=2).array
    for i, j in ((0, 0), (1, 3), (4, 5)):
        y, x = 2 * i, 2 * j
        crop = net(image[None, :, y : y + SIZE, x : x + SIZE])[0].detach().numpy()
        assert abs(scores[:, i, j] - crop).max() < 1e-9 * abs(crop).max()


def test_observers_of_calibration_are_left_out() -> None:
    torch.manual_seed(0)
    net = Small().eval()
    net.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(net)
    prepared(torch.rand(4, 3, SIZE, SIZE))
    model = fullfield.load(prepared, window=SIZE)
    x = torch.rand(3, 3, SIZE, SIZE)
    assert model.name == "Small"
    assert torch.allclose(model(x), net(x), atol=1e-6)


def test_a_range_that_was_never_observed_rounds_nothing() -> None:
    net = Small().train()
    net.qconfig = quantization.get_default_qat_qconfig("x86")
    prepared = quantization.prepare_qat(net).eval()
    model = fullfield.load(prepared, window=SIZE)
    prepared.apply(quantization.disable_observer).apply(quantization.disable_fake_quant)
    x = torch.rand(3, 3, SIZE, SIZE)
    assert torch.allclose(model(x), prepared(x), atol=1e-6)


def test_graphs_of_quantising_and_dequantising_operators_are_read_as_floats() -> None:
    prepared = quantize_fx.prepare_qat_fx(
        Small().train(), quantization.get_default_qat_qconfig_mapping("x86"), (torch.rand(1, 3, SIZE, SIZE),)
    )
    prepared(torch.rand(8, 3, SIZE, SIZE))
    prepared.eval()
    integers = quantize_fx._convert_to_reference_decomposed_fx(copy.deepcopy(prepared))
    assert "quantized_decomposed" in integers.code
    net = fullfield.load(integers, window=SIZE)
    assert net.name.endswith(f"({READ_AS_FLOATS})")
    assert 1e-6 < rounding(net, integers) < 0.05


class Calls(nn.Module):
    """Calls torch's functions for fake quantisation by itself."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.call = nn.Conv2d(3, 4, 3), call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.conv(x)).mean((2, 3))


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "per tensor": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.01, 128, 0, 255),
    "per channel": lambda x: torch.fake_quantize_per_channel_affine(
        x, torch.tensor([0.01, 0.02, 0.01, 0.03]), torch.full((4,), 128, dtype=torch.int32), 1, 0, 255
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_of_fake_quantisation_clamp(name: str) -> None:
    torch.manual_seed(1)
    module = Calls(CALLS[name]).eval()
    net = fullfield.load(module, window=SIZE)
    x = 3 * torch.randn(4, 3, SIZE, SIZE)
    spread = module(x).max() - module(x).min()
    assert (net(x) - module(x)).abs().max() < 0.01 * spread
    assert (net(x) - module.conv(x).mean((2, 3))).abs().max() > 0.01 * spread  # which are not clamped


@pytest.mark.parametrize("kind", ["converted", "dynamic"])
def test_layers_that_compute_in_integers_are_named_with_the_way_round(kind: str) -> None:
    if kind == "converted":
        module, layer = quantization.convert(trained().eval()), "quant is a torch.ao.nn.quantized"
    else:
        module, layer = quantization.quantize_dynamic(Small().eval(), {nn.Linear}), "head is a torch.ao.nn.quantized"
    with pytest.raises(CaptureError, match=layer) as caught:
        fullfield.load(module, window=SIZE)
    assert "as it was before torch.ao.quantization.convert()" in str(caught.value)


def test_a_plan_of_a_network_read_as_floats_shares_its_activations() -> None:
    work = job_of(fullfield.load(trained(), window=SIZE), torch.rand(3, 32, 32), step=1)
    places = work.plan.places
    assert all(places[n.name].shared for n in work.prepared.network if n.op in ("conv2d", "clamp"))
