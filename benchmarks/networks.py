"""Full-size networks with random weights, for benchmarks of speed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.report import classics


class DenseLayer(nn.Module):
    """Huang et al. 2017: two normalised convolutions, whose maps are concatenated to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.layers(x)], 1)


def densenet121() -> nn.Module:
    layers = [*_unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for index, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            layers.append(DenseLayer(channels))
            channels += 32
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        if index < 3:
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


class Inverted(nn.Module):
    """Sandler et al. 2018: expand, depthwise, project."""

    def __init__(self, before: int, after: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        first = _unit(before, wide, 1, 1, act=nn.ReLU6) if expand > 1 else []
        depthwise = _unit(wide, wide, 3, stride, groups=wide, act=nn.ReLU6)
        self.layers = nn.Sequential(*first, *depthwise, nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after))
        self.shortcut = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.shortcut else y


def mobilenet_v2() -> nn.Module:
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    layers = _unit(3, 32, 3, 2, act=nn.ReLU6)
    channels = 32
    for expand, out, repeats, stride in table:
        for k in range(repeats):
            layers.append(Inverted(channels, out, stride if k == 0 else 1, expand))
            channels = out
    layers += _unit(320, 1280, 1, 1, act=nn.ReLU6)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


def lenet() -> nn.Module:
    """LeCun et al. 1998 on colour windows of 32 px, without padding."""
    features = [nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Linear(84, 10))


def _unit(
    before: int, after: int, kernel: int, stride: int, groups: int = 1, act: type[nn.Module] = nn.ReLU
) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after), act()]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "LeNet (unpadded)": (lenet, 32),
    "AlexNet": (classics.alexnet, 224),
    "VGG-16": (classics.vgg16, 224),
    "ResNet-18": (classics.resnet18, 224),
    "ResNet-50": (classics.resnet50, 224),
    "DenseNet-121": (densenet121, 224),
    "MobileNetV2": (mobilenet_v2, 224),
}
