"""Maps stay in channels-last memory through operators that torch would give another order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

import fullfield
from fullfield.engine.engines.channels_last import select_cells
from fullfield.engine.engines.torch import TorchEngine
from fullfield.graph.calls import op_name
from tests.requests import job_of


class Gated(nn.Module):
    """A gate that slides, after a map that is padded by its own cells."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=2, padding_mode="replicate")
        self.squeeze, self.excite, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.deep(torch.relu(self.stem(x))))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        scores: Tensor = self.head((x * gate).mean((2, 3)))
        return scores


class Recorded(Interpreter):
    """Runs a program and keeps the maps that its convolutions read."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.read: list[Tensor] = []

    def run_node(self, n: Node) -> object:
        if "conv" in op_name(n):
            self.read += [v for a in n.args if isinstance(v := self.env.get(a), Tensor) and a.op == "call_function"]
        return super().run_node(n)


@torch.inference_mode()
def test_convolutions_of_a_gated_network_read_channels_last_maps() -> None:
    net = fullfield.load(Gated().eval(), window=16)
    work = job_of(net, torch.rand(3, 32, 36), step=4, mode="context")
    shared = TorchEngine(work.prepared.canonical).module(work.plan, work.plan.layout(next(iter(work.plan.tiles()))))
    assert isinstance(shared.shared, GraphModule)
    recorded = Recorded(shared.shared)
    recorded.run(torch.rand(1, 3, 32, 36).contiguous(memory_format=torch.channels_last))
    assert len(recorded.read) >= 3
    for x in recorded.read:
        assert x.is_contiguous(memory_format=torch.channels_last), (x.shape, x.stride())


@pytest.mark.parametrize("dim", [-2, -1])
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 5, 6), (2, 3, 4, 5, 6)])
def test_selected_rows_and_columns_are_those_of_torch(shape: tuple[int, ...], dim: int) -> None:
    x, index = torch.rand(shape), torch.tensor([4, 0, 0, 2, 4])
    assert torch.equal(select_cells(x, dim, index), x.index_select(dim, index))
