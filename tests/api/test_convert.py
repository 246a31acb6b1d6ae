"""``convert``: a classifier as an ordinary fully convolutional module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule

import fullfield
from fullfield import Model, UnsupportedError
from fullfield.importers.load import load
from fullfield.layers import fft_layer
from fullfield.model.save import export_onnx
from tests.api import networks
from tests.api.networks import WINDOW, Attention, Branches, Positions, made
from tests.oracle import difference

Make = Callable[[], nn.Module]
UNGATED: list[Make] = [networks.unpadded, networks.padded, Branches]
CONVERTIBLE = [*UNGATED, networks.gated, networks.normed]


def alexnet(width: int) -> nn.Module:
    """AlexNet's layers with ``width`` channels for its 64, groups included: 6x6 cells before the head."""
    a, b, c = width, 3 * width, 6 * width
    return nn.Sequential(
        *(nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(a, b, 5, padding=2), nn.ReLU()),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1, groups=2)),
        *(nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Dropout(), nn.Flatten()),
        *(nn.Linear(c * 36, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def vgg_features(width: int) -> list[nn.Module]:
    """VGG-16's layers before the head."""
    layers: list[nn.Module] = []
    channels = 3
    for factor, depth in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width * factor, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width * factor
        layers.append(nn.MaxPool2d(2))
    return layers


def vgg16(width: int, hidden: int, classes: int) -> nn.Module:
    """VGG-16 as its authors' successors write it, with an adaptive pool that does nothing at 224."""
    head = [nn.Flatten(), nn.Linear(8 * width * 49, hidden), nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, hidden)]
    return nn.Sequential(
        *vgg_features(width), nn.AdaptiveAvgPool2d(7), *head, nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, classes)
    )


@pytest.mark.parametrize("make", [lambda: alexnet(4), lambda: vgg16(4, 16, 10)], ids=["alexnet", "vgg16"])
def test_at_384_there_are_36_windows_where_224_has_one(make: Make) -> None:
    torch.manual_seed(0)
    net = load(make().eval(), window=224)
    module = fullfield.convert(net)
    x = torch.randn(1, 3, 384, 384)
    with torch.no_grad():
        assert module(x[:, :, :224, :224]).shape == (1, 10, 1, 1)
        assert module(x).shape == (1, 10, 6, 6)
        crop = x[:, :, :224, :224]
        assert difference(module(crop)[:, :, 0, 0], net(crop)) <= 1e-4


def test_the_whole_vgg_16_has_its_published_volumes() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("meta"):
        features = nn.Sequential(*vgg_features(64))
        assert features(torch.empty(1, 3, 384, 384)).shape == (1, 512, 12, 12)
    with torch.device("meta"):
        full = vgg16(64, 4096, 1000).eval()
    module = fullfield.convert(full, window=224)
    assert module(torch.empty(1, 3, 384, 384, device="meta")).shape == (1, 1000, 6, 6)
    assert module(torch.empty(2, 3, 224, 256, device="meta")).shape == (2, 1000, 1, 2)
    assert sum(p.numel() for p in module.parameters()) == 138_357_544


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("make", CONVERTIBLE)
def test_on_one_window_it_is_the_original(make: Make, fold: bool) -> None:
    net = made(make)
    x = torch.randn(4, 3, *WINDOW, dtype=torch.float64)
    with torch.no_grad():
        found = fullfield.convert(net, fold_batch_norm=fold)(x)
        assert found.shape == (4, 5, 1, 1)
        assert difference(found[:, :, 0, 0], net(x)) <= 1e-12


def test_without_padding_every_cell_is_a_crop() -> None:
    net = made(networks.unpadded)
    x = torch.randn(1, 3, 50, 61, dtype=torch.float64)
    with torch.no_grad():
        found = fullfield.convert(net)(x)[0]
        for i, j in np.ndindex(*found.shape[1:]):
            crop = net(x[:, :, 4 * i : 4 * i + WINDOW[0], 4 * j : 4 * j + WINDOW[1]])[0]
            assert float((found[:, i, j] - crop).abs().max()) <= 1e-12


@pytest.mark.parametrize("make", [networks.gated, networks.normed])
def test_on_an_image_gates_and_norms_slide_as_in_context(make: Make) -> None:
    net = made(make)
    image = networks.picture(44, 52)
    with torch.no_grad():
        found = fullfield.convert(net)(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    wanted = fullfield.scan(net, image, mode="context").array
    assert difference(found, torch.from_numpy(wanted)) <= 1e-9


@pytest.mark.parametrize("make", CONVERTIBLE)
def test_folding_changes_no_score_and_leaves_the_original_alone(make: Make) -> None:
    net = made(make)
    before = {k: v.clone() for k, v in net.graph.state_dict().items()}
    x = torch.randn(2, 3, 40, 48, dtype=torch.float64)
    with torch.no_grad():
        plain, folded = (fullfield.convert(net, fold_batch_norm=fold)(x) for fold in (False, True))
    assert difference(folded, plain) <= 1e-12
    assert all(torch.equal(v, before[k]) for k, v in net.graph.state_dict().items())
    layers = [str(n.target) for n in fullfield.convert(net, fold_batch_norm=True).graph.nodes]
    assert not any("batch_norm" in layer for layer in layers)


@pytest.mark.parametrize("make", UNGATED)
def test_it_trains(make: Make) -> None:
    torch.manual_seed(0)
    net = load(make().eval(), window=WINDOW)
    module = copy.deepcopy(fullfield.convert(net))
    x = torch.randn(2, 3, 28, 32)
    wanted = torch.randint(0, 5, (2, *module(x).shape[2:]))
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), wanted)
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("make", [networks.padded, networks.gated, networks.normed])
def test_the_gradient_on_a_window_is_the_original_s(make: Make) -> None:
    net = made(make)
    x = torch.randn(2, 3, *WINDOW, dtype=torch.float64)
    module = fullfield.convert(net)
    grads = []
    for run in (net.graph, module):
        a = x.clone().requires_grad_()
        run(a).flatten(1).square().sum().backward()
        grads.append(a.grad)
    assert grads[0] is not None
    assert grads[1] is not None
    assert difference(grads[1], grads[0]) <= 1e-12


@pytest.mark.slow
def test_large_kernels_run_by_transforms_where_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 21, padding=10), nn.MaxPool2d(4)]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 64, 5)).eval()
    net = load(module, window=32)
    plain, fast = fullfield.convert(net), fullfield.convert(net, fft="auto")
    taken: list[tuple[int, ...]] = []
    by_transforms = fft_layer.fft_conv2d

    def noted(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        taken.append(tuple(weight.shape[2:]))
        return by_transforms(x, weight, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fft_layer, "fft_conv2d", noted)
    image = torch.randn(1, 3, 160, 150)
    wanted, found = plain(image), fast(image)
    assert (21, 21) in taken
    assert (3, 3) not in taken
    assert (found - wanted).abs().max() <= 1e-5 * (wanted.max() - wanted.min())
    gradients = [torch.autograd.grad(m(image).square().sum(), list(m.parameters())) for m in (plain, fast)]
    for a, b in zip(*gradients, strict=True):
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()
    assert set(fast.state_dict()) == set(plain.state_dict())
    export_onnx(fast, (3, 32, 32), tmp_path / "fast.onnx")
    assert fullfield.convert(fullfield.load(tmp_path / "fast.onnx", window=32))(image).shape == wanted.shape
    with pytest.raises(UnsupportedError, match='use False or "auto"'):
        fullfield.convert(net, fft="always")  # type: ignore[arg-type]


def test_its_weights_go_out_and_in() -> None:
    one, two = (fullfield.convert(made(networks.padded, seed=seed)) for seed in (0, 1))
    x = torch.randn(1, 3, 30, 40, dtype=torch.float64)
    with torch.no_grad():
        assert difference(two(x), one(x)) > 1e-3
        fresh = copy.deepcopy(two)
        fresh.load_state_dict(one.state_dict())
        assert difference(fresh(x), one(x)) == 0
        assert difference(copy.deepcopy(one)(x), one(x)) == 0


def test_it_moves_to_another_type() -> None:
    module = copy.deepcopy(fullfield.convert(made(networks.padded)))
    x = torch.randn(1, 3, 30, 40, dtype=torch.float64)
    with torch.no_grad():
        wanted = module(x)
        half = module.to(torch.float32)
        found = half(x.float())
    assert found.dtype == torch.float32
    assert difference(found.double(), wanted) <= 1e-4
    assert all(p.dtype == torch.float32 for p in half.parameters())


@pytest.mark.parametrize(
    ("make", "fold"),
    [
        (networks.unpadded, False),
        (networks.padded, True),
        (Branches, False),
        pytest.param(networks.gated, False, marks=pytest.mark.slow),
        pytest.param(networks.normed, False, marks=pytest.mark.slow),
    ],
)
def test_onnxruntime_runs_it_at_any_size(make: Make, fold: bool, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    module = fullfield.convert(made(make, dtype=torch.float32), fold_batch_norm=fold)
    path = export_onnx(module, (3, *WINDOW), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(path)
    for n, height, width in ((1, *WINDOW), (2, 33, 48), (1, 64, 51)):
        x = torch.randn(n, 3, height, width)
        with torch.no_grad():
            wanted = module(x)
        (found,) = session.run(None, {"image": x.numpy()})
        assert found.shape == wanted.shape
        assert difference(torch.from_numpy(found), wanted) <= 1e-4


def test_what_was_exported_can_be_loaded_as_a_network_of_its_own(tmp_path: Path) -> None:
    net = made(networks.padded, dtype=torch.float32)
    path = fullfield.save(net, tmp_path / "net.onnx")
    x = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        assert difference(fullfield.convert(path)(x), fullfield.convert(net)(x)) <= 1e-4


def test_the_means_of_a_gate_slide_over_its_few_channels() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze = nn.Sequential(nn.Conv2d(16, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
            self.excite = nn.Conv2d(4, 16, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.excite(self.squeeze(x.mean((2, 3), keepdim=True))))

    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), Gate(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)]
    module = nn.Sequential(*layers).eval()
    x = torch.rand(2, 3, 12, 12)
    for fold in (False, True):
        converted = fullfield.convert(module, window=12, fold_batch_norm=fold)
        assert isinstance(converted, GraphModule)
        (pool,) = converted.graph.find_nodes(op="call_function", target=torch.ops.fullfield.sliding_pool.default)
        assert pool.args[0].target is torch.ops.aten.conv2d.default
        assert torch.allclose(converted(x)[:, :, 0, 0], module(x), rtol=0, atol=1e-5)


class Unshared(nn.Module):
    """Weights of its own at every place of the window."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(4, *WINDOW))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head((self.stem(x) * self.weight).mean((2, 3)))
        return scores


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Attention, "position embedding"),
        (networks.tokens, "attention"),
        (Positions, "position embedding"),
        (Unshared, "unshared weights"),
    ],
    ids=["attention and positions", "attention", "positions", "unshared"],
)
def test_what_looks_at_the_whole_window_is_refused_by_name(make: Make, reason: str) -> None:
    net: Model = made(make)
    with pytest.raises(UnsupportedError, match="is not fully convolutional") as caught:
        fullfield.convert(net)
    assert reason in caught.value.what
    assert 'mode="exact"' in caught.value.fix
    assert caught.value.where == net.name
