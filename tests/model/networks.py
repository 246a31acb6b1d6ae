"""A small network whose scores can be changed in any way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """A convolution, a mean, a linear layer of six scores, and a function of these scores and the module."""

    def __init__(self, change: Callable[..., Any] = lambda y: y, *, channels: int = 3, state: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
        self.head, self.change, self.state = nn.Linear(4, 6), change, state
        if state:
            self.calls = 0
            self.register_buffer("seen", torch.zeros(6))
            self.register_buffer("count", torch.zeros((), dtype=torch.long))
            self.register_buffer("table", torch.linspace(0, 1, 20000)[:, None])

    def forward(self, x: Tensor) -> Any:
        """Shape: ``(n, c, h, w)`` -> ``(n, 6)`` before the change."""
        scores = self.head(self.features(x).mean((2, 3)))
        return self.change(self, scores) if self.state else self.change(scores)
