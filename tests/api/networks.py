"""Small networks that differ in what a scan has to do for them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fullfield.importers.load import load
from fullfield.model.model import Model
from tests.oracle import shaken

WINDOW = (20, 24)


def unpadded() -> nn.Module:
    """Layers that pad nothing: exact and context mode are one."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(6 * 2 * 3, 8), nn.ReLU(), nn.Linear(8, 5)),
    )


def padded() -> nn.Module:
    """Layers that pad, batch norms, a pool over the window."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.AvgPool2d(3, 1, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )


class Branches(nn.Module):
    """Branches of different borders that meet in a sum and in a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.long = nn.Conv2d(4, 4, 5, padding=2)
        self.short = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(8 * 10 * 12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.cat([torch.relu(self.long(x) + self.short(x)), x], 1)
        scores: torch.Tensor = self.head(x.flatten(1))
        return scores


class Gate(nn.Module):
    """Squeeze and excitation: a gate that looks at the whole window."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 2, 1)
        self.up = nn.Conv2d(2, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


def gated() -> nn.Module:
    """A gate amid convolutions that pad."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), Gate(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )


class Attention(nn.Module):
    """Tokens that look at each other, with or without positions learnt for the window."""

    def __init__(self, *, positions: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 30, 8)) if positions else None
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        if self.positions is not None:
            tokens = tokens + self.positions
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        scores: torch.Tensor = self.head(tokens.mean(1))
        return scores


def tokens() -> nn.Module:
    """Attention over the window, without positions."""
    return Attention(positions=False)


class Positions(nn.Module):
    """Positions learnt for the window, and nothing else that looks at all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.place = nn.Parameter(torch.randn(1, 4, 10, 12))
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(torch.relu(self.stem(x) + self.place).mean((2, 3)))
        return scores


def normed() -> nn.Module:
    """An instance norm: statistics over the window."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.InstanceNorm2d(6, affine=True), nn.ReLU(), nn.Conv2d(6, 4, 3, 2, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    )


@functools.cache
def made(make: Callable[[], nn.Module], *, dtype: torch.dtype = torch.float64, seed: int = 0) -> Model:
    """The classifier on ``WINDOW`` with nothing left at a neutral start."""
    torch.manual_seed(seed)
    module = shaken(make())
    return load(module.to(dtype), window=WINDOW)


def picture(height: int = 50, width: int = 61, *, seed: int = 1) -> NDArray[np.floating]:
    """Random pixels ``(y, x, c)``."""
    return np.random.default_rng(seed).standard_normal((height, width, 3))
