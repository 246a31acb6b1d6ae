"""Values that are not read again are overwritten: fewer bytes, the same bits."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch._ops import OpOverload
from torch.fx import Graph
from torch.nn import functional as F

import fullfield
from fullfield.jobs.in_memory import compute_scores
from fullfield.lower.inplace import SAME_SHAPE, overwriting, reuse
from fullfield.lower.program import TileProgram, lower
from fullfield.operators.registry import FAMILIES
from tests.oracle import difference, shaken
from tests.requests import job_of

aten = torch.ops.aten


class Branches(nn.Module):
    """Sums and products of branches, gates, activations read once and read twice, casts where wanted."""

    def __init__(self, *, casts: bool = False) -> None:
        super().__init__()
        self.casts = casts
        self.stem, self.side = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.stem(x))
        y = F.hardswish(self.left(x)) + x  # x has two readers, its product one
        y = F.silu(y) * torch.sigmoid(self.side(y))
        if self.casts:
            y = y.to(torch.bfloat16).to(y.dtype) + self.right(x)
        z = F.leaky_relu(self.right(y), 0.1)
        z = torch.cat([z, F.relu(z) + F.max_pool2d(z, 3, 1, 1)], 1)[:, 2:6]
        z = z * torch.tanh(z.mean((2, 3), keepdim=True))
        return self.head(F.elu(z).mean((2, 3)))


def targets(program: TileProgram) -> Counter[str]:
    nodes = [n for part in (program.shared, *program.windows.values()) for n in part.graph.nodes]
    return Counter(str(n.target).split(".")[1] for n in nodes if isinstance(n.target, OpOverload))


def test_an_operator_that_writes_in_place_is_the_one_of_its_record() -> None:
    for record in (record for family in FAMILIES for record in family.RECORDS if record.in_place is not None):
        (target,) = record.targets
        assert str(record.in_place).split(".")[1] == f"{target.__name__}_"
        assert record.new_memory


@pytest.mark.parametrize("casts", [False, True])
@pytest.mark.parametrize("mode", ["exact", "context"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_stay_and_so_do_pixels_and_parameters(mode: str, dtype: torch.dtype, casts: bool) -> None:
    torch.manual_seed(0)
    net = fullfield.load(Branches(casts=casts).to(dtype).eval(), window=24)
    work = job_of(net, torch.rand(3, 61, 50, dtype=dtype), step=(3, 4), mode=mode)
    prepared, plan = work.prepared, work.plan
    pixels = torch.from_numpy(work.source.read(0, 61, 0, 50))[None].clone()
    weights = {name: tensor.clone() for name, tensor in prepared.canonical.graph.state_dict().items()}
    before = pixels.clone()
    programs = [
        lower(
            prepared.canonical,
            plan.network,
            plan.layout(next(plan.tiles())),
            batch=3,
            inference=True,
            finish=finish,
        )
        for finish in (None, overwriting)
    ]
    with torch.inference_mode():
        region = plan.layout(next(plan.tiles())).pixels(plan.network.nodes[0].name)
        part = pixels[:, :, region[0] : region[1], region[2] : region[3]]
        kept, overwritten = (program(part) for program in programs)
        assert torch.equal(kept, overwritten)
        assert torch.equal(kept, programs[1](part))
    assert torch.equal(pixels, before)
    assert all(torch.equal(weights[name], t) for name, t in prepared.canonical.graph.state_dict().items())
    plain, inplace = (targets(program) for program in programs)
    assert not any(name.endswith("_") for name in plain)
    assert inplace["hardswish_"] >= 1
    assert inplace["gelu_"] >= 1
    assert (inplace["mul_"] + inplace["add_"] == 0) == casts
    assert sum(inplace.values()) == sum(plain.values())


class Dense(nn.Module):
    """Norms of joined maps before their activations, as in Huang et al. 2017; max pools and convolutions that pad."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(7), nn.BatchNorm2d(10)])
        self.convs = nn.ModuleList([nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(7, 3, (3, 1), padding=(1, 0))])
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.head(F.relu(self.norms[2](x)).mean((2, 3)))


@pytest.mark.parametrize(("tile", "pads"), [(None, 0), ((3, 9), 3), ((9, 3), 3)])
def test_norms_are_overwritten_and_maps_padded_on_all_sides_are_not_copied(
    tile: tuple[int, int] | None, pads: int
) -> None:
    torch.manual_seed(0)
    net = fullfield.load(shaken(Dense()), window=16)
    image = torch.rand(3, 40, 36, dtype=torch.float64)
    work = job_of(net, image, step=(2, 2), mode="context", tile=tile)
    plan, graph = work.plan, work.prepared.canonical
    layout = plan.layout(next(plan.tiles()))
    program = lower(graph, plan.network, layout, batch=3, inference=True, finish=overwriting)
    assert targets(program)["relu_"] == 3
    assert (
        targets(program)["constant_pad_nd"] == pads
    )  # of a corner tile, but for the pool, whose stride leaves the far side out
    with torch.no_grad():
        found = torch.from_numpy(compute_scores(work).array)
        whole = graph.graph(image[None])[0, :, :: plan.step[0] // 2, :: plan.step[1] // 2]
    assert difference(found, whole) <= 1e-12


def test_only_new_memory_with_one_reader_is_overwritten() -> None:
    graph = Graph()
    x = graph.placeholder("x")
    first = graph.call_function(aten.relu.default, (x,))  # the caller's
    twice = graph.call_function(aten.silu.default, (first,))
    view = graph.call_function(aten.slice.Tensor, (twice, -1, 0, 2))
    a = graph.call_function(aten.relu.default, (view,))  # a view of what is read below
    b = graph.call_function(aten.tanh.default, (twice,))
    c = graph.call_function(aten.sigmoid.default, (a,))
    square = graph.call_function(aten.mul.Tensor, (c, c))
    wide = graph.call_function(aten.add.Tensor, (square, b))  # of two shapes
    same = graph.call_function(aten.add.Tensor, (view, wide))
    scaled = graph.call_function(aten.add.Tensor, (same, x), {"alpha": 2})
    for node in (square, same, scaled):
        node.meta[SAME_SHAPE] = True
    graph.output(scaled)
    reuse(graph)
    found = [str(n.target).split(".")[1] for n in graph.nodes if n.op == "call_function"]
    assert found == ["relu", "silu_", "slice", "relu", "tanh", "sigmoid_", "mul", "add", "add_", "add"]
    assert same.args == (wide, view)
