"""Full-size networks with random weights, for benchmarks of speed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

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


class Gate(nn.Module):
    """Hu et al. 2018: every channel times a number that its mean and all others give."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, narrow, 1), nn.SiLU()),
            *(nn.Conv2d(narrow, channels, 1), nn.Sigmoid()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale(x)


class GatedInverted(nn.Module):
    """Tan & Le 2019: expand, depthwise, gate, project."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        first = _unit(before, wide, 1, 1, act=nn.SiLU) if expand > 1 else []
        depthwise = _unit(wide, wide, kernel, stride, groups=wide, act=nn.SiLU)
        project = [nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after)]
        self.layers = nn.Sequential(*first, *depthwise, Gate(wide, before // 4), *project)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.shortcut else y


def efficientnet_b0() -> nn.Module:
    table = (
        *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
        *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
    )
    layers = _unit(3, 32, 3, 2, act=nn.SiLU)
    channels = 32
    for expand, out, repeats, stride, kernel in table:
        for k in range(repeats):
            layers.append(GatedInverted(channels, out, kernel, stride if k == 0 else 1, expand))
            channels = out
    layers += _unit(320, 1280, 1, 1, act=nn.SiLU)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


class ChannelNorm(nn.LayerNorm):
    """A norm over the channels of each cell."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NextBlock(nn.Module):
    """Liu et al. 2022: a depthwise convolution of 7, then two linear layers over the channels of each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        layers = [nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)]
        self.cells = nn.Sequential(nn.LayerNorm(channels, 1e-6), *layers)
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.cells(self.depthwise(x).permute(0, 2, 3, 1)) * self.scale
        return x + y.permute(0, 3, 1, 2)


def convnext_t() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96, 1e-6)]
    for index, depth in enumerate((3, 3, 9, 3)):
        channels = 96 << index
        if index:
            layers += [ChannelNorm(channels // 2, 1e-6), nn.Conv2d(channels // 2, channels, 2, 2)]
        layers += [NextBlock(channels) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), ChannelNorm(768, 1e-6), nn.Flatten(), nn.Linear(768, 1000)]
    return nn.Sequential(*layers, *head)


class Attention(nn.Module):
    """Dosovitskiy et al. 2021: a layer of a transformer, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cells = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.read(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        x = x + self.write(mixed.transpose(1, 2).flatten(2))
        y: torch.Tensor = x + self.cells(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021, in the small size of Touvron et al. 2021."""

    def __init__(self, window: int = 224, patch: int = 16, width: int = 384, depth: int = 12, heads: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, (window // patch) ** 2 + 1, width))
        self.layers = nn.Sequential(*[Attention(width, heads) for _ in range(depth)], nn.LayerNorm(width, 1e-6))
        self.head = nn.Linear(width, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = self.patches(x).flatten(2).transpose(1, 2)
        joined = torch.cat([self.first.expand(cells.shape[0], -1, -1), cells], 1) + self.position
        y: torch.Tensor = self.head(self.layers(joined)[:, 0])
        return y


def vit_s() -> nn.Module:
    return VisionTransformer()


def lenet() -> nn.Module:
    """LeCun et al. 1998 on colour windows of 32 px, without padding."""
    features = [nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Linear(84, 10))


def _unit(
    before: int, after: int, kernel: int, stride: int, groups: int = 1, act: type[nn.Module] = nn.ReLU
) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after), act()]


def settled(module: nn.Module, window: int) -> nn.Module:
    """The network in evaluation mode, with weights and statistics that keep its maps at one scale to the last layer."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the statistics become those of the windows below
    with torch.no_grad():
        module.train()(torch.rand(4, 3, window, window))
    return module.eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "LeNet (unpadded)": (lenet, 32),
    "AlexNet": (classics.alexnet, 224),
    "VGG-16": (classics.vgg16, 224),
    "ResNet-18": (classics.resnet18, 224),
    "ResNet-50": (classics.resnet50_v15, 224),
    "DenseNet-121": (densenet121, 224),
    "MobileNetV2": (mobilenet_v2, 224),
    "EfficientNet-B0": (efficientnet_b0, 224),
    "ConvNeXt-T": (convnext_t, 224),
    "ViT-S": (vit_s, 224),
}


def built(name: str) -> tuple[nn.Module, int]:
    """A network in evaluation mode with the same weights each time, and the size of its window, px."""
    build, window = NETWORKS[name]
    torch.manual_seed(0)
    return settled(build(), window), window


def write_onnx(module: nn.Module, window: int, path: Path) -> None:
    """Writes a network as its users would: with torch's exporter, as it is by default, and a free batch."""
    example = torch.rand(2, 3, window, window)
    free = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(
            module, (example,), path, dynamo=True, verbose=False, dynamic_shapes=free, external_data=False
        )
