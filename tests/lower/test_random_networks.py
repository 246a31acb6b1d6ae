"""Random networks, windows, steps, images, tiles and batches: the scan equals the crops, the plan's counts are true."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, note, settings

from fullfield.geometry.region import Pair
from fullfield.model.model import Model
from tests.lower import drawn
from tests.oracle import Scan, crops, difference

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
random_networks = settings(max_examples=100, suppress_health_check=list(HealthCheck))
tiles = st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(1, 4)))


@st.composite
def images(draw: Any, net: Model, *, integers: bool = False) -> tuple[torch.Tensor, Pair]:
    """An image and a step: one window, one row, some rows; sizes that nothing divides among them."""
    step = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    counts = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    rest = [draw(st.integers(0, s - 1)) for s in step]
    size = [w + (n - 1) * s + r for w, n, s, r in zip(net.window, counts, step, rest, strict=True)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if integers:
        return torch.randint(-4, 5, (1, net.channels, *size), generator=generator).double(), step
    return torch.randn(1, net.channels, *size, generator=generator, dtype=torch.float64), step


@random_networks
@given(st.data())
def test_a_scan_equals_the_crops_whatever_the_tile_and_runs_the_macs_it_predicts(data: Any) -> None:
    net = data.draw(drawn.networks(layers=drawn.EVERY_LAYER))
    image, step = data.draw(images(net))
    stop = data.draw(st.one_of(st.none(), st.none(), st.integers(1, 14)))
    note(f"{net.window} {step} {tuple(image.shape)} {net.graph.code}")
    scan = Scan(net, stop=stop, batch=data.draw(st.integers(1, 9)), fragments=data.draw(st.booleans()))
    with torch.no_grad():
        wanted = crops(net, image, step)
        assert difference(scan(image, step, data.draw(tiles)), wanted) <= 1e-9
        assert difference(scan(image, step), wanted) <= 1e-9
    assert scan.executed == scan.predicted


@settings(random_networks, max_examples=50)
@given(st.data())
def test_with_integer_weights_a_scan_has_the_bits_of_the_crops(data: Any) -> None:
    heads = (drawn.flat_head, drawn.max_head)
    net = data.draw(drawn.networks(layers=drawn.INTEGER_LAYERS, heads=heads, depth=4, integers=True))
    image, step = data.draw(images(net, integers=True))
    note(f"{net.window} {step} {tuple(image.shape)} {net.graph.code}")
    with torch.no_grad():
        assert torch.equal(Scan(net)(image, step, data.draw(tiles)), crops(net, image, step))
