"""Torch7's convolutions, locally connected layers, pools, paddings, upsampling and linear layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.importers.limits import LayerRefused
from fullfield.importers.torch7.fields import Fields
from fullfield.layers.locally_connected import LocallyConnected2d
from fullfield.layers.pools import FeatureL2Pool

ModuleBuilder = Callable[[Fields], nn.Module]


def _padding(f: Fields) -> tuple[int, int]:
    """Padding along y and x; old files have one number for both, or no padding."""
    old = f.integer("padding", 0, least=0)
    across = f.integer("padW", old, least=0)
    return f.integer("padH", old if not f.has("padW") else across, least=0), across


def _planes(f: Fields) -> tuple[int, int, tuple[int, int]]:
    """Input maps, output maps and kernel."""
    return f.integer("nInputPlane", least=1), f.integer("nOutputPlane", least=1), f.pair("k", least=1)


def _filled(layer: Any, f: Fields, weight: nn.Parameter, *bias: int) -> nn.Module:
    """The layer with its weights, and its bias of that shape if the file has one."""
    layer.weight = weight
    if f.has("bias"):
        layer.bias = f.parameter("bias", bias)
    filled: nn.Module = layer
    return filled


def convolution(f: Fields) -> nn.Module:
    """``SpatialConvolution``, ``SpatialConvolutionMM`` (weights as rows) and ``SpatialDilatedConvolution``."""
    inputs, outputs = f.integer("nInputPlane", least=1), f.integer("nOutputPlane", least=1)
    groups, kernel = f.integer("groups", 1, least=1), f.pair("k", least=1)
    stride, dilation = f.pair("d", 1, least=1), f.pair("dilation", 1, least=1)
    if inputs % groups or outputs % groups:
        raise LayerRefused(f"{inputs} -> {outputs} channels in {groups} groups")
    weight = f.parameter("weight", (outputs, inputs // groups, *kernel))
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, _padding(f), dilation, groups, f.has("bias"), device="meta"
    )  # fmt: skip
    return _filled(conv, f, weight, outputs)


def full_convolution(f: Fields) -> nn.Module:
    """``SpatialFullConvolution``: a transposed convolution."""
    inputs, outputs, kernel = _planes(f)
    weight = f.parameter("weight", (inputs, outputs, *kernel))
    conv = nn.ConvTranspose2d(
        inputs, outputs, kernel, f.pair("d", 1, least=1), _padding(f), f.pair("adj", 0), 1, f.has("bias"), device="meta"
    )  # fmt: skip
    return _filled(conv, f, weight, outputs)


def local_convolution(f: Fields) -> nn.Module:
    """``SpatialConvolutionLocal``: weights ``(oH, oW, nOut, nIn, kH, kW)``, as rows in some versions."""
    inputs, outputs, kernel = _planes(f)
    size, cells = f.pair("i", least=1), f.pair("o", least=1)
    weight = f.parameter("weight", (*cells, outputs, inputs, *kernel))
    layer = LocallyConnected2d(
        inputs, outputs, size, kernel, f.pair("d", 1, least=1), _padding(f), bias=f.has("bias"), device="meta"
    )
    if layer.output_size != cells:
        raise LayerRefused(f"{cells[0]}x{cells[1]} cells, but the other numbers give {layer.output_size}")
    return _filled(layer, f, weight, outputs, *cells)


def max_pooling(f: Fields) -> nn.Module:
    """``SpatialMaxPooling``."""
    kernel, pad = f.pair("k", least=1), _padding(f)
    stride = f.integer("dH", kernel[0], least=1), f.integer("dW", kernel[1], least=1)
    return nn.MaxPool2d(kernel, stride, pad, f.pair("dilation", 1, least=1), ceil_mode=f.flag("ceil_mode", False))


class AveragePool(nn.Module):
    """The mean over windows; without ``divide``, as in old files, times the kernel's area."""

    def __init__(self, pool: nn.AvgPool2d, *, divide: bool) -> None:
        super().__init__()
        self.pool, self.divide = pool, divide

    def forward(self, x: Tensor) -> Tensor:
        """The pooled map."""
        k: tuple[int, int] = self.pool.kernel_size  # type: ignore[assignment]
        pooled = F.avg_pool2d(
            x, k, self.pool.stride, self.pool.padding, self.pool.ceil_mode, self.pool.count_include_pad
        )  # fmt: skip
        return pooled if self.divide else pooled * (k[0] * k[1])


def average_pooling(f: Fields) -> nn.Module:
    """``SpatialAveragePooling``; without ``divide`` it sums, except for cuDNN's, which always divides."""
    cudnn = f.kind.startswith("cudnn.")
    modern = f.has("ceil_mode")
    pad = _padding(f) if modern else (0, 0)
    pool = nn.AvgPool2d(
        f.pair("k", least=1),
        f.pair("d", 1, least=1),
        pad,
        f.flag("ceil_mode", False),
        not modern or f.flag("count_include_pad", cudnn),
    )
    return AveragePool(pool, divide=cudnn or f.flag("divide", False))


class AdaptivePool(nn.Module):
    """The mean or maximum in each field of a grid."""

    def __init__(self, size: tuple[int, int], *, average: bool) -> None:
        super().__init__()
        self.size, self.average = size, average

    def forward(self, x: Tensor) -> Tensor:
        """The grid."""
        return F.adaptive_avg_pool2d(x, self.size) if self.average else F.adaptive_max_pool2d(x, self.size)


def adaptive_pooling(f: Fields) -> nn.Module:
    """``SpatialAdaptiveMaxPooling`` and ``SpatialAdaptiveAveragePooling``."""
    size = f.integer("H", least=1), f.integer("W", least=1)
    return AdaptivePool(size, average="Average" in f.kind)


class SubSampling(nn.Module):
    """The sum over windows, times a factor and plus a bias for each map."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], weight: nn.Parameter, bias: nn.Parameter):
        super().__init__()
        self.kernel, self.stride, self.weight, self.bias = kernel, stride, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """The pooled map."""
        summed = F.avg_pool2d(x, self.kernel, self.stride) * (self.kernel[0] * self.kernel[1])
        return summed * self.weight[:, None, None] + self.bias[:, None, None]


def sub_sampling(f: Fields) -> nn.Module:
    """``SpatialSubSampling``."""
    maps = (f.integer("nInputPlane", least=1),)
    return SubSampling(
        f.pair("k", least=1), f.pair("d", 1, least=1), f.parameter("weight", maps), f.parameter("bias", maps)
    )


class FeaturePool(nn.Module):
    """The p-th root of the sum of p-th powers over neighbouring maps."""

    def __init__(self, width: int, stride: int, power: float) -> None:
        super().__init__()
        self.width, self.stride, self.power = width, stride, power

    def forward(self, x: Tensor) -> Tensor:
        """The pooled maps."""
        count = (int(x.shape[1]) - self.width) // self.stride + 1
        starts = range(0, count * self.stride, self.stride)
        powers = x.pow(self.power)
        summed = [powers.narrow(1, start, self.width).sum(1, keepdim=True) for start in starts]
        return torch.cat(summed, 1).pow(1 / self.power)


def feature_pooling(f: Fields) -> nn.Module:
    """``FeatureLPPooling``; ``FeatureL2Pool`` for power 2."""
    width, stride, power = f.integer("width", least=1), f.integer("stride", 1, least=1), f.number("power", 2.0)
    if width > 4096 or power <= 0:
        raise LayerRefused(f"width {width}, power {power:g}")
    return FeatureL2Pool(width, stride, must_fit=False) if power == 2 else FeaturePool(width, stride, power)


class Pad(nn.Module):
    """Pads a map with zeros, its edge or its reflection; negative widths crop."""

    def __init__(self, pads: tuple[int, int, int, int], mode: str) -> None:
        super().__init__()
        self.pads, self.mode = pads, mode

    def forward(self, x: Tensor) -> Tensor:
        """The padded map."""
        return F.pad(x, self.pads, self.mode)


def padding(f: Fields) -> nn.Module:
    """``SpatialZeroPadding``, ``SpatialReplicationPadding``, ``SpatialReflectionPadding``."""
    left = f.integer("pad_l")
    pads = left, f.integer("pad_r", left), f.integer("pad_t", left), f.integer("pad_b", left)
    modes = {"Zero": "constant", "Replication": "replicate", "Reflection": "reflect"}
    return Pad(pads, modes[f.kind.partition(".")[2].removeprefix("Spatial").removesuffix("Padding")])


def linear(f: Fields) -> nn.Module:
    """``Linear``."""
    shape = f.tensor("weight").shape
    if len(shape) != 2:
        raise LayerRefused(f"weight of {len(shape)} dimensions")
    made = nn.Linear(shape[1], shape[0], f.has("bias"), device="meta")
    made.weight = f.parameter("weight", (shape[0], shape[1]))
    if f.has("bias"):
        made.bias = f.parameter("bias", (shape[0],))
    return made


def upsampling(f: Fields) -> nn.Module:
    """``SpatialUpSamplingNearest``."""
    return nn.UpsamplingNearest2d(scale_factor=f.integer("scale_factor", least=1))


LAYERS: dict[str, ModuleBuilder] = {
    "FeatureLPPooling": feature_pooling,
    "Linear": linear,
    "SpatialAdaptiveAveragePooling": adaptive_pooling,
    "SpatialAdaptiveMaxPooling": adaptive_pooling,
    "SpatialAveragePooling": average_pooling,
    "SpatialConvolution": convolution,
    "SpatialConvolutionLocal": local_convolution,
    "SpatialConvolutionMM": convolution,
    "SpatialDilatedConvolution": convolution,
    "SpatialDilatedMaxPooling": max_pooling,
    "SpatialFullConvolution": full_convolution,
    "SpatialMaxPooling": max_pooling,
    "SpatialReflectionPadding": padding,
    "SpatialReplicationPadding": padding,
    "SpatialSubSampling": sub_sampling,
    "SpatialUpSamplingNearest": upsampling,
    "SpatialZeroPadding": padding,
}
