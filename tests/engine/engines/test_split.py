"""Programs split into parts: each after what it reads, moves and what an engine lacks in torch between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from fullfield.engine.engines.chain import divided
from fullfield.engine.engines.share import engine_share
from fullfield.engine.engines.split import Part
from fullfield.graph.calls import op_name
from fullfield.lower.program import lower
from tests.architectures import build
from tests.engine.engines.scans import in_float32
from tests.lower import drawn
from tests.lower.test_random_networks import images
from tests.oracle import Scan, captured


def shared_parts(scan: Scan, image: torch.Tensor, step: tuple[int, int]) -> list[Part]:
    """The parts of what the windows of a tile share."""
    ((_, layout, pixels),) = scan.tiles(image, step, None)
    program = lower(in_float32(scan.canonical), scan.network, layout, batch=4, inference=True)
    shared: Any = program.shared
    return divided(shared, [pixels.float().to("meta")])[0]


@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_every_part_comes_after_those_that_it_reads(data: Any) -> None:
    net = data.draw(drawn.networks(layers=drawn.ALL_LAYERS))
    parts = shared_parts(Scan(net), *data.draw(images(net)))
    known = {node for part in parts for node in part.inputs if node.op == "placeholder"}
    for part in parts:
        assert set(part.inputs) <= known
        known |= set(part.outputs)
    nodes = [node for part in parts for node in part.nodes]
    assert len(nodes) == len(set(nodes))
    moves = {op_name(node) for part in parts if part.engine for node in part.nodes}
    assert "gather_rows" not in moves


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2"])
def test_the_interior_of_a_table_is_taken_in_torch(name: str) -> None:
    """Engines would copy it; torch reads it where it lies."""
    scan = Scan(captured(*build(name)))
    size = scan.net.window[0] + 8
    parts = shared_parts(scan, torch.zeros(1, 3, size, size, dtype=torch.float64), (8, 8))
    taken = [part for part in parts for node in part.nodes if op_name(node) == "narrow"]
    assert taken
    assert not any(part.engine for part in taken)


def test_an_operator_that_no_engine_runs_lies_between_two_parts_of_the_engine() -> None:
    scan = Scan(captured(*build("googlenet")))
    size = scan.net.window[0] + 8
    parts = shared_parts(scan, torch.zeros(1, 3, size, size, dtype=torch.float64), (8, 8))
    where = [k for k, part in enumerate(parts) if any(op_name(n) == "local_response_norm" for n in part.nodes)]
    assert where
    assert not any(parts[k].engine for k in where)
    assert any(part.engine for part in parts[: where[0]])
    assert any(part.engine for part in parts[where[-1] :])


@pytest.mark.parametrize(
    ("name", "least"),
    [("resnet18", 1.0), ("mobilenetv2", 1.0), ("efficientnet", 1.0), ("convnext", 1.0), ("vit", 1.0), ("tresnet", 0.9)],
)
def test_engines_run_nearly_all_of_the_arithmetic(name: str, least: float) -> None:
    """TResNet's convolution along the channels is one of volumes, which runs in torch."""
    scan = Scan(captured(*build(name)))
    size = scan.net.window[0] + 8
    image = torch.zeros(1, 3, size, size, dtype=torch.float64)
    ((_, layout, _),) = scan.tiles(image, (8, 8), None)
    plan: Any = SimpleNamespace(network=scan.network, batch=4, programs=16)
    share = engine_share(in_float32(scan.canonical), plan, layout)
    assert least <= share <= 1.0
    assert (share == 1.0) == (name != "tresnet")
