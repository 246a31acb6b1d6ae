"""Networks that take signals, as they are published, and their crops."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.oracle import shaken


class M5(nn.Module):
    """Dai et al. 2016 (arXiv 1610.00087), on raw audio, as in torchaudio's tutorial, with one stage less."""

    def __init__(self, classes: int = 4, width: int = 8) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool1 = nn.Conv1d(1, width, 80, stride=16), nn.BatchNorm1d(width), nn.MaxPool1d(4)
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(width, width, 3), nn.BatchNorm1d(width), nn.MaxPool1d(4)
        self.fc1 = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.fc1(x), dim=2).squeeze(1)


class Recurrent(nn.Module):
    """A strided convolution, and a recurrent layer over its cells."""

    def __init__(self, kind: type[nn.RNNBase], *, bidirectional: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 5, stride=4, padding=2)
        self.rnn = kind(6, 5, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(10 if bidirectional else 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        cells, _ = self.rnn(F.relu(self.conv(x)).transpose(1, 2))
        return self.fc(cells[:, -1])


class Gated(nn.Module):
    """A group norm, a layer norm and a squeeze-and-excitation gate over a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group, self.layer = nn.Conv1d(2, 6, 7, stride=2, padding=3), nn.GroupNorm(2, 6), nn.LayerNorm(6)
        self.gate, self.fc = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(self.group(self.conv(x)).transpose(1, 2)).transpose(1, 2)
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool1d(x, 1).squeeze(-1))).unsqueeze(-1)
        return self.fc(F.adaptive_max_pool1d(x, 1).flatten(1))


def ready(make: Callable[[], nn.Module]) -> nn.Module:
    """The network in float64 with random weights and statistics."""
    torch.manual_seed(3)
    return shaken(make())


def signal_crops(module: nn.Module, signal: Tensor, window: int, step: int) -> Tensor:
    """The original network on every window of a signal, one by one. Shape: ``(c, t)`` -> ``(k, x)``"""
    starts = range(0, signal.shape[-1] - window + 1, step)
    with torch.no_grad():
        return torch.cat([module(signal[None, :, k : k + window]).reshape(1, -1) for k in starts]).T
