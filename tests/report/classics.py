"""The classics whose numbers everyone can look up, written compactly; full width on the meta device costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from fullfield.importers.load import load
from fullfield.model.model import Model


def alexnet(*, first_padding: int = 2, first_kernels: int = 64) -> nn.Module:
    """AlexNet without groups; the lecture's has 96 first kernels, no padding and a window of 227."""
    k = first_kernels
    features = nn.Sequential(
        *(nn.Conv2d(3, k, 11, 4, first_padding), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(k, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    return Plain(features, nn.AdaptiveAvgPool2d(6), [256 * 36, 4096, 4096, 1000])


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return Plain(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7), [512 * 49, 4096, 4096, 1000])


class Plain(nn.Module):
    """Features, a pool, fully connected layers with dropout."""

    def __init__(self, features: nn.Module, pool: nn.Module, widths: list[int]) -> None:
        super().__init__()
        self.features, self.avgpool = features, pool
        head: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            head += [nn.Dropout(), nn.Linear(a, b), nn.ReLU()]
        self.classifier = nn.Sequential(*head[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def conv_norm(a: int, b: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(b))


class Block(nn.Module):
    """A residual block; a bottleneck if it widens by 4, whose stride is in its first or in its middle layer."""

    def __init__(self, inputs: int, width: int, stride: int, widen: int, *, first: bool) -> None:
        super().__init__()
        outputs = width * widen
        if widen == 1:
            parts = [conv_norm(inputs, width, 3, stride), nn.ReLU(), conv_norm(width, width, 3)]
        else:
            early, late = (stride, 1) if first else (1, stride)
            parts = [conv_norm(inputs, width, 1, early), nn.ReLU(), conv_norm(width, width, 3, late), nn.ReLU()]
            parts.append(conv_norm(width, outputs, 1))
        self.body = nn.Sequential(*parts)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.downsample(x))


def resnet(depths: tuple[int, ...], widen: int, *, first: bool = True) -> nn.Module:
    stem = [conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    layers, channels = [], 64
    for k, depth in enumerate(depths):
        for block in range(depth):
            layers.append(Block(channels, 64 << k, 2 if k and not block else 1, widen, first=first))
            channels = (64 << k) * widen
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def resnet18() -> nn.Module:
    return resnet((2, 2, 2, 2), 1)


def resnet50() -> nn.Module:
    """As published: strides in the first 1x1 layers (He et al. 2016, arXiv 1512.03385)."""
    return resnet((3, 4, 6, 3), 4)


def resnet50_v15() -> nn.Module:
    """As most libraries carry it: strides in the 3x3 layers."""
    return resnet((3, 4, 6, 3), 4, first=False)


def weightless(build: Callable[[], nn.Module], window: int, channels: int = 3) -> Model:
    """The classifier of a network whose weights take no memory."""
    with torch.device("meta"):
        module = build()
    return load(module, window=window, channels=channels)
