"""Max pools along one axis after the other: the numbers of torch's own, whatever the kernel reads beside the map."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import fullfield
from fullfield.engine.engines.max_pools import largest, pool_by_axes
from fullfield.engine.engines.torch import TorchEngine
from fullfield.lower.program import lower
from tests.oracle import difference
from tests.requests import job_of

CL = torch.channels_last
axes = st.tuples(st.integers(1, 13), st.integers(1, 6), st.integers(0, 6), st.integers(1, 3))  # kernel … dilation


@settings(max_examples=60)
@given(st.data())
def test_every_number_is_that_of_torchs_own_pool(data: Any) -> None:
    kernel, stride, padding, dilation = zip(*(data.draw(axes) for _ in "yx"), strict=True)
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    least = [d * (k - 1) + 1 - p for k, p, d in zip(kernel, padding, dilation, strict=True)]
    height, width = (max(1, n) + data.draw(st.integers(0, 9)) for n in least)
    channels = data.draw(st.sampled_from([1, 3, 70]))
    x = torch.randn(2, channels, height, width).contiguous(memory_format=CL)
    x[torch.rand_like(x) < data.draw(st.sampled_from([0.0, 0.02]))] = torch.nan
    x[torch.rand_like(x) < 0.05] = -torch.inf
    options: list[Any] = [list(o) for o in (kernel, stride, padding, dilation)]
    ceil = data.draw(st.booleans())
    wanted = torch.max_pool2d(x, *options, ceil)
    found = largest(x, *options, ceil)
    assert torch.equal(found.nan_to_num(nan=7.0), wanted.nan_to_num(nan=7.0))
    assert found.is_contiguous(memory_format=CL)


def test_numbers_that_are_read_are_left_as_they_are() -> None:
    x = torch.rand(2, 3, 9, 9).contiguous(memory_format=CL)
    before = x.clone()
    for kernel, stride, padding in ((1, 1, 0), (2, 2, 1), (5, 1, 2), (3, 2, 0)):
        largest(x, *([n] * 2 for n in (kernel, stride, padding, 1)), True)
        assert torch.equal(x, before)


@pytest.mark.parametrize("step", [1, 4, 20])
def test_scans_pool_so_and_keep_the_scores(step: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    model = fullfield.load(nn.Sequential(*layers, nn.Linear(6, 2)), window=20, channels=3, preprocessing="none")
    image = torch.rand(3, 41, 44)
    job = job_of(model, image, step=step)
    layout = job.plan.layout(next(job.plan.tiles()))
    top, bottom, left, right = layout.pixels(job.plan.network.nodes[0].name)
    pixels = image[None, :, top:bottom, left:right].contiguous(memory_format=CL)
    plain = lower(job.prepared.canonical, job.plan.network, layout, batch=job.plan.batch, inference=True)
    pooled = TorchEngine(job.prepared.canonical).module(job.plan, layout)
    with torch.inference_mode():
        assert difference(pooled(pixels), plain(pixels)) <= 1e-6
    targets = {n.target for part in [pooled.shared, *pooled.windows.values()] for n in part.graph.nodes}
    assert largest in targets
    assert torch.ops.aten.max_pool2d.default not in targets


@pytest.mark.parametrize(("slope", "twice", "moved"), [(0.25, False, True), (-0.25, False, False), (0.25, True, False)])
def test_a_prelu_that_never_falls_and_is_read_once_follows_the_pool(slope: float, twice: bool, moved: bool) -> None:
    aten, graph, root = torch.ops.aten, torch.fx.Graph(), nn.Module()
    root.register_buffer("slopes", torch.full((3,), slope))
    x = graph.placeholder("x")
    rising = graph.call_function(aten.prelu.default, (x, graph.get_attr("slopes")))
    pool = graph.call_function(aten.max_pool2d.default, (rising, [3, 3], [2, 2], [0, 0], [1, 1], True))
    total = graph.call_function(aten.add.Tensor, (pool, graph.call_function(aten.mean.default, (rising,))))
    graph.output(total if twice else pool)
    if not twice:
        graph.eliminate_dead_code()
    module = torch.fx.GraphModule(root, graph)
    pixels = torch.randn(2, 3, 10, 8)
    wanted = module(pixels)
    assert torch.equal(pool_by_axes(module)(pixels), wanted)
    targets = [n.target for n in module.graph.nodes]
    assert (targets.index(largest) < targets.index(aten.prelu.default)) == moved
