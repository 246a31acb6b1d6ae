"""Engines against crops in float64: random networks and well-known ones, in all modes and by all methods."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from torch import nn

from fullfield.canonical.form import Canonical
from tests.architectures import build
from tests.engine.engines.scans import EngineScan, MakeEngine, distances, distances_from_whole
from tests.lower import drawn
from tests.lower.test_random_networks import images, tiles
from tests.oracle import Scan, captured, crops, difference

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def openvino(net: Canonical) -> Any:
    from fullfield.engine.engines.openvino.engine import OpenVinoEngine

    return OpenVinoEngine(net, threads=1)


# Gates, attention, shuffles, norms of responses, transposed convolutions; local response norms run in torch.
NAMES = [
    "lenet5",
    "googlenet",
    "densenet",
    "efficientnet",
    "shufflenet",
    "convnextv2",
    "tresnet",
    "unet",
    "vit",
    "swin",
]


def onnxruntime(net: Canonical) -> Any:
    from fullfield.engine.engines.onnxruntime.engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(net, threads=1)


ENGINES = {"openvino": openvino, "onnxruntime": onnxruntime}


@pytest.fixture(params=[name for name in ENGINES if importlib.util.find_spec(name)])
def make(request: pytest.FixtureRequest) -> MakeEngine:
    return ENGINES[request.param]


@settings(max_examples=12, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks_are_as_near_to_float64_as_their_crops(make: MakeEngine, data: Any) -> None:
    net = data.draw(drawn.networks(layers=drawn.EVERY_LAYER))
    image, step = data.draw(images(net))
    scan = Scan(net, batch=data.draw(st.integers(1, 9)), fragments=data.draw(st.booleans()))
    note(f"{net.window} {step} {tuple(image.shape)} {net.graph.code}")
    with torch.no_grad():
        found = EngineScan(scan, make)(image, step, data.draw(tiles))
        ours, theirs = distances(found, net, image, step)
    assume(theirs <= 2e-5)  # numbers that cancel each other, which no float32 has
    assert ours <= 4 * theirs + 1e-6
    assert ours <= 1e-4


@functools.cache
def architecture(name: str) -> Scan:
    return Scan(captured(*build(name)))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_architectures_scan_exactly(make: MakeEngine, name: str) -> None:
    scan = architecture(name)
    window = scan.net.window[0]
    image = torch.randn(1, 3, window + 8, window + 7, dtype=torch.float64)
    found = EngineScan(scan, make)(image, (8, 7))
    ours, theirs = distances(found, scan.net, image, (8, 7))
    assert ours <= 4 * theirs + 1e-6
    assert ours <= 1e-4


@pytest.mark.parametrize("name", ["resnet18", "efficientnet"])
@torch.no_grad()
def test_context_is_the_converted_network_over_the_image(make: MakeEngine, name: str) -> None:
    module, window = build(name)
    scan = Scan(captured(module, window), cap=0, sliding=True)
    axes = scan.places[scan.network.output.name].axes
    assert axes is not None
    step = axes[0].jump, axes[1].jump
    image = torch.randn(1, 3, window + 2 * step[0], window + step[1], dtype=torch.float64)
    found = EngineScan(scan, make)(image, step)
    wanted = crops(scan.net, image, step)
    ours, theirs = distances_from_whole(found, scan, image)
    assert ours <= 4 * theirs + 1e-6
    assert difference(found, wanted) > 1e-4  # other numbers than the crops'


@torch.no_grad()
def test_a_border_between_exact_and_context_is_as_in_torch(make: MakeEngine) -> None:
    module, window = build("mobilenetv2")
    scan = Scan(captured(module, window), cap=2, sliding=True)
    image = torch.randn(1, 3, window + 16, window + 16, dtype=torch.float64)
    assert difference(EngineScan(scan, make)(image, (8, 8), (2, 2)), scan(image, (8, 8), (2, 2))) <= 2e-6


class Statistics(nn.Module):
    """Means, deviations and a sum of exponentials over the map, which a linear layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(18, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        found: torch.Tensor = self.head(torch.cat([x.mean((2, 3)), x.std((2, 3)), x.flatten(2).logsumexp(2)], 1))
        return found


@torch.no_grad()
def test_tables_of_float64_are_read_by_torch(make: MakeEngine) -> None:
    """Deviations are computed from sums in float64, which windows share."""
    scan = Scan(captured(Statistics(), 24), cap=2, sliding=True)
    image = torch.randn(1, 3, 40, 44, dtype=torch.float64)
    assert difference(EngineScan(scan, make)(image, (8, 8), (2, 2)), scan(image, (8, 8), (2, 2))) <= 2e-6
