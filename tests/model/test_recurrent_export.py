"""Recurrent layers are captured without torch going through their steps, and stay torch's operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import fullfield
from tests.layers.networks import operators
from tests.oracle import captured

LAYERS = {
    "LSTM": nn.LSTM(12, 8, batch_first=True, bidirectional=True),
    "LSTM, steps first": nn.LSTM(12, 8, num_layers=2),
    "LSTM, projected": nn.LSTM(12, 8, proj_size=5, batch_first=True),
    "GRU": nn.GRU(12, 8, batch_first=True, bidirectional=True),
    "GRU, steps first": nn.GRU(12, 8, num_layers=2),
    "tanh": nn.RNN(12, 8, batch_first=True),
    "relu": nn.RNN(12, 8, nonlinearity="relu"),
}


class Recurrent(nn.Module):
    """Reads a window as 64 steps of 12 numbers; needs the strides of the layer's output as they are."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        steps = self.conv(x).reshape(x.shape[0], 64, 12)
        outputs = self.layer(steps if self.layer.batch_first else steps.transpose(0, 1))[0]
        outputs = outputs if self.layer.batch_first else outputs.transpose(0, 1)
        return outputs.contiguous().view(outputs.shape[0], -1)


def _stepwise(*_: object, **__: object) -> None:
    raise AssertionError("torch went through the steps of a recurrent layer")


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_capture_and_scan_do_not_go_through_the_steps(layer: nn.RNNBase, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lstm_cell", "gru_cell", "rnn_cell"):
        monkeypatch.setattr(f"torch._decomp.decompositions.{name}", _stepwise)
    module = Recurrent(layer).double().eval()
    net = captured(module, 16)
    image = torch.rand(3, 24, 16, dtype=torch.float64)
    scores = fullfield.scan(net, image.permute(1, 2, 0).numpy(), step=8)
    with torch.no_grad():
        crops = module(torch.stack([image[:, :16], image[:, 8:]]))
    assert torch.allclose(torch.from_numpy(scores.array[:, :, 0]).T, crops, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_it_is_one_operator_of_torch(layer: nn.RNNBase) -> None:
    net = captured(Recurrent(layer), 16)
    name = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}.get(layer.mode, layer.mode.lower())
    assert operators(net).count(name) == 1
    assert not any("fullfield" in str(node.target) for node in net.graph.graph.nodes)
