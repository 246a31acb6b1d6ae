"""Caffe's layers that keep the shape: activations, normalisations, scales, dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.importers.caffe.layer import CaffeLayer, LayerBuilder, filler
from fullfield.importers.limits import LayerRefused
from fullfield.layers.lrn import LocalResponseNorm2d


def relu(layer: CaffeLayer) -> nn.Module:
    """``ReLU``, leaky where it has a negative slope."""
    slope = layer.message.relu_param.negative_slope
    return nn.LeakyReLU(slope) if slope else nn.ReLU()


def prelu(layer: CaffeLayer) -> nn.Module:
    """``PReLU``: one slope for each channel, or one for all; 0.25 without a filler."""
    p = layer.message.prelu_param
    shape = layer.bottom()
    slopes = 1 if p.channel_shared else shape[1]
    made = nn.PReLU(slopes, device="meta")
    made.weight = layer.parameter(0, (slopes,), filler(p, "filler"))
    if not p.HasField("filler") and layer.weights.shape(layer.message) is None:
        made.weight.data.fill_(0.25)
    return made


class Power(nn.Module):
    """``(shift + scale * x) ** power``."""

    def __init__(self, power: float, scale: float, shift: float) -> None:
        super().__init__()
        self.power, self.scale, self.shift = power, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        """The powers."""
        if self.scale != 1:
            x = x * self.scale
        if self.shift != 0:
            x = x + self.shift
        return x if self.power == 1 else x.pow(self.power)


class Exponential(nn.Module):
    """``base ** (shift + scale * x)``, or with ``inverse`` the logarithm of ``shift + scale * x`` to that base."""

    def __init__(self, base: float, scale: float, shift: float, *, inverse: bool) -> None:
        super().__init__()
        if base != -1 and (base <= 0 or (inverse and base == 1)):
            raise LayerRefused(f"base {base}")
        self.rate = 1.0 if base == -1 else math.log(base)
        self.scale, self.shift, self.inverse = scale, shift, inverse

    def forward(self, x: Tensor) -> Tensor:
        """The exponentials or logarithms."""
        x = x * self.scale + self.shift
        return torch.log(x) / self.rate if self.inverse else torch.exp(x * self.rate)


class Lambda(nn.Module):
    """One of the functions below, by name."""

    def __init__(self, name: str, *numbers: float) -> None:
        super().__init__()
        self.name, self.numbers = name, numbers

    def forward(self, x: Tensor) -> Tensor:
        """The function's values."""
        match self.name:
            case "AbsVal":
                return x.abs()
            case "BNLL":
                return F.softplus(x, threshold=50)
            case "Clip":
                return x.clamp(*self.numbers)
            case "Swish":
                return x * torch.sigmoid(x * self.numbers[0])
            case _:
                return (x > self.numbers[0]).to(x.dtype)


def lrn(layer: CaffeLayer) -> nn.Module:
    """``LRN`` across channels or within one; within one, ``k`` is always 1."""
    p = layer.message.lrn_param
    layer.bottom(dims=4)
    if p.local_size % 2 == 0 or p.local_size > 2**16:
        raise LayerRefused(f"local_size {p.local_size} is not an odd number")
    region = ("across", "within")[p.norm_region]
    k = p.k if region == "across" else 1.0
    return LocalResponseNorm2d(p.local_size, alpha=p.alpha, beta=p.beta, k=k, region=region)


def batch_norm(layer: CaffeLayer) -> nn.Module:
    """``BatchNorm`` with the statistics of training; its third blob divides the first two."""
    p = layer.message.batch_norm_param
    shape = layer.bottom()
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise LayerRefused("uses the statistics of the batch: set use_global_stats: true")
    if len(shape) not in (2, 4):
        raise LayerRefused(f"a bottom of {len(shape)} dimensions")
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    norm = kind(shape[1], eps=p.eps, momentum=1 - p.moving_average_fraction, affine=False)
    mean, var, factor = (layer.buffer(i, (shape[1],) if i < 2 else (1,)) for i in range(3))
    if mean is not None and var is not None and factor is not None:
        scale = 0.0 if factor[0] == 0 else 1 / factor[0].double()
        norm.running_mean = (mean.double() * scale).float()
        norm.running_var = (var.double() * scale).float()
    return norm


class CaffeScale(nn.Module):
    """A factor and optionally a summand, both broadcast from ``axis`` on."""

    def __init__(self, axis: int, dims: int) -> None:
        super().__init__()
        self.axis, self.dims = axis, dims
        self.weight: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """The scaled values."""
        if factor is not None:
            x = x * factor.reshape(*factor.shape, *[1] * (x.dim() - factor.dim()))
        if self.weight is not None:
            x = x * self._spread(self.weight)
        return x if self.bias is None else x + self._spread(self.bias)

    def _spread(self, parameter: Tensor) -> Tensor:
        return parameter.reshape(*parameter.shape, *[1] * (self.dims - self.axis - parameter.dim()))


def _span(layer: CaffeLayer, axis: int, count: int) -> tuple[int, tuple[int, ...]]:
    """The first axis, and the shape of a parameter over ``count`` axes (-1: all)."""
    first = layer.axis(axis)
    shape = layer.shapes[0]
    last = len(shape) if count == -1 else first + count
    if not first <= last <= len(shape):
        raise LayerRefused(f"{count} axes from axis {axis} of {len(shape)} dimensions")
    return first, shape[first:last]


def scale(layer: CaffeLayer) -> nn.Module:
    """``Scale`` by trained factors, or by a second bottom."""
    p = layer.message.scale_param
    if len(layer.shapes) == 2:
        if p.bias_term or p.axis not in (0, 1) or layer.shapes[1] != layer.shapes[0][: len(layer.shapes[1])]:
            raise LayerRefused("scales by a second bottom that does not begin with the first one's dimensions")
        return CaffeScale(1, len(layer.shapes[0]))
    shape = layer.bottom()
    first, size = _span(layer, p.axis, p.num_axes)
    made = CaffeScale(first, len(shape))
    given = filler(p, "filler")
    made.weight = layer.parameter(0, size, given)
    if given is None and layer.weights.shape(layer.message) is None:
        made.weight.data.fill_(1)
    if p.bias_term:
        made.bias = layer.parameter(1, size, filler(p, "bias_filler"))
    return made


def bias(layer: CaffeLayer) -> nn.Module:
    """``Bias``: adds trained numbers."""
    p = layer.message.bias_param
    shape = layer.bottom()
    first, size = _span(layer, p.axis, p.num_axes)
    made = CaffeScale(first, len(shape))
    made.bias = layer.parameter(0, size, filler(p, "filler"))
    return made


class MeanVariance(nn.Module):
    """Subtracts the mean of every map, or of all maps of a window, and divides by the standard deviation."""

    def __init__(self, *, variance: bool, across: bool, eps: float) -> None:
        super().__init__()
        self.variance, self.axes, self.eps = variance, (1, 2, 3) if across else (2, 3), eps

    def forward(self, x: Tensor) -> Tensor:
        """The normalised maps."""
        x = x - x.mean(self.axes, keepdim=True)
        return x / ((x * x).mean(self.axes, keepdim=True).sqrt() + self.eps) if self.variance else x


def mvn(layer: CaffeLayer) -> nn.Module:
    """``MVN``."""
    p = layer.message.mvn_param
    layer.bottom(dims=4)
    return MeanVariance(variance=p.normalize_variance, across=p.across_channels, eps=p.eps)


def _power(layer: CaffeLayer) -> nn.Module:
    p = layer.message.power_param
    return Power(p.power, p.scale, p.shift)


def _exponential(layer: CaffeLayer) -> nn.Module:
    log = layer.message.type == "Log"
    p = layer.message.log_param if log else layer.message.exp_param
    return Exponential(p.base, p.scale, p.shift, inverse=log)


def _dropout(layer: CaffeLayer) -> nn.Module:
    ratio = layer.message.dropout_param.dropout_ratio
    if not 0 <= ratio < 1:
        raise LayerRefused(f"dropout_ratio {ratio}")
    return nn.Dropout(ratio)


LAYERS: dict[str, LayerBuilder] = {
    "AbsVal": lambda layer: Lambda("AbsVal"),
    "BNLL": lambda layer: Lambda("BNLL"),
    "BatchNorm": batch_norm,
    "Bias": bias,
    "Clip": lambda layer: Lambda("Clip", layer.message.clip_param.min, layer.message.clip_param.max),
    "Dropout": _dropout,
    "ELU": lambda layer: nn.ELU(layer.message.elu_param.alpha),
    "Exp": _exponential,
    "LRN": lrn,
    "Log": _exponential,
    "MVN": mvn,
    "PReLU": prelu,
    "Power": _power,
    "ReLU": relu,
    "Scale": scale,
    "Sigmoid": lambda layer: nn.Sigmoid(),
    "Swish": lambda layer: Lambda("Swish", layer.message.swish_param.beta),
    "TanH": lambda layer: nn.Tanh(),
    "Threshold": lambda layer: Lambda("Threshold", layer.message.threshold_param.threshold),
}
