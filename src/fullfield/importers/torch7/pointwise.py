"""Torch7's layers that keep the shape: activations, normalisations, factors, dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fullfield.importers.limits import LayerRefused
from fullfield.importers.torch7.fields import Fields
from fullfield.importers.torch7.spatial import ModuleBuilder
from fullfield.layers.lrn import LocalResponseNorm2d


class Pointwise(nn.Module):
    """A function by its Torch7 name, with its constants."""

    def __init__(self, name: str, *numbers: float) -> None:
        super().__init__()
        self.name, self.numbers = name, numbers

    def forward(self, x: Tensor) -> Tensor:
        """The function's values."""
        result: Tensor = _FUNCTIONS[self.name](x, *self.numbers)
        return result

    def extra_repr(self) -> str:
        """Name and constants."""
        return ", ".join([self.name, *map(str, self.numbers)])


_FUNCTIONS: dict[str, Any] = {
    "Abs": torch.abs,
    "AddConstant": torch.add,
    "Exp": torch.exp,
    "Identity": lambda x: x,
    "Log": torch.log,
    "LogSigmoid": F.logsigmoid,
    "MulConstant": torch.mul,
    "Power": torch.pow,
    "SoftSign": F.softsign,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
}


def threshold(f: Fields) -> nn.Module:
    """``Threshold``; at 0 it is ``ReLU``."""
    limit, value = f.number("threshold", 0.0), f.number("val", 0.0)
    return nn.ReLU() if limit == value == 0 else nn.Threshold(limit, value)


def prelu(f: Fields) -> nn.Module:
    """``PReLU``: one slope for each map, or one for all."""
    slopes = f.tensor("weight").numel()
    made = nn.PReLU(slopes, device="meta")
    made.weight = f.parameter("weight", (slopes,))
    return made


class LearnedAffine(nn.Module):
    """Multiplies by a parameter or adds it, broadcast over the batch."""

    def __init__(self, weight: nn.Parameter, *, add: bool) -> None:
        super().__init__()
        self.weight, self.add = weight, add

    def forward(self, x: Tensor) -> Tensor:
        """The scaled or shifted value."""
        shape = list(self.weight.shape)
        while len(shape) < x.dim() - 1:
            shape.append(1)
        learned = self.weight.reshape(shape)
        return x + learned if self.add else x * learned


def affine(f: Fields) -> nn.Module:
    """``Mul``, ``CMul``, ``Add`` and ``CAdd``; a leading size of 1 is the batch."""
    add = f.kind.partition(".")[2] in ("Add", "CAdd")
    name = "bias" if add else "weight"
    shape = tuple(f.tensor(name).shape)
    if len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return LearnedAffine(f.parameter(name, shape), add=add)


class Dropout(nn.Module):
    """Dropout; with ``scaled``, as in its first version, values are multiplied by ``1 - p``."""

    def __init__(self, p: float, *, scaled: bool, maps: bool) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise LayerRefused(f"p is {p:g}")
        self.p, self.scaled, self.maps = p, scaled, maps

    def forward(self, x: Tensor) -> Tensor:
        """The value, with dropout in training mode, multiplied by ``1 - p`` if ``scaled``."""
        if self.training:
            x = (F.dropout2d if self.maps else F.dropout)(x, self.p, True)
        return x * (1 - self.p) if self.scaled else x


def dropout(f: Fields) -> nn.Module:
    """``Dropout``, which scales in files without ``v2``, and ``SpatialDropout``, which always scales."""
    maps = "Spatial" in f.kind
    return Dropout(f.number("p", 0.5), scaled=maps or not f.flag("v2", False), maps=maps)


def batch_norm(f: Fields) -> nn.Module:
    """``BatchNormalization`` and ``SpatialBatchNormalization``; old files store ``1 / sqrt(variance + eps)``."""
    mean, eps = f.tensor("running_mean").flatten(), f.number("eps", 1e-5)
    maps = len(mean)
    if f.has("running_var"):
        variance = f.tensor("running_var").flatten()
    else:
        variance = f.tensor("running_std").flatten().pow(-2) - eps
    if len(variance) != maps:
        raise LayerRefused(f"{maps} means and {len(variance)} variances")
    kind = nn.BatchNorm2d if "Spatial" in f.kind else nn.BatchNorm1d
    affine = f.has("weight")
    norm = kind(maps, eps, f.number("momentum", 0.1), affine=affine)
    norm.running_mean, norm.running_var = mean, variance
    if affine:
        norm.weight = f.parameter("weight", (maps,))
        norm.bias = f.parameter("bias", (maps,)) if f.has("bias") else nn.Parameter(torch.zeros_like(norm.weight))
    return norm


def lrn(f: Fields) -> nn.Module:
    """``SpatialCrossMapLRN``: the energy of ``(size - 1) // 2`` maps on each side, divided by ``size``."""
    size = f.integer("size", 5, least=1)
    counted = 2 * ((size - 1) // 2) + 1
    if size > 2**16:
        raise LayerRefused(f"size {size}")
    alpha, k = f.number("alpha", 1e-4) * counted / size, f.number("k", f.number("K", 1.0))
    return LocalResponseNorm2d(counted, alpha=alpha, beta=f.number("beta", 0.75), k=k)


class Softmax(nn.Module):
    """Softmax over the maps, its logarithm, or the softmax of the negative."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Scores that sum to 1, or their logarithms."""
        if self.kind == "SoftMin":
            x = -x
        return F.log_softmax(x, 1) if "Log" in self.kind else F.softmax(x, 1)


def softmax(f: Fields) -> nn.Module:
    """``SoftMax``, ``LogSoftMax``, ``SoftMin`` and their ``Spatial`` forms."""
    return Softmax(f.kind.partition(".")[2])


def _named(name: str) -> ModuleBuilder:
    return lambda f: Pointwise(name)


def _constant(name: str, key: str) -> ModuleBuilder:
    return lambda f: Pointwise(name, f.number(key))


LAYERS: dict[str, ModuleBuilder] = {
    **{name: _named(name) for name in ("Abs", "Exp", "Log", "LogSigmoid", "SoftSign", "Sqrt", "Square")},
    **{name: _named("Identity") for name in ("Identity", "Contiguous", "Copy", "GradientReversal")},
    "Add": affine,
    "AddConstant": _constant("AddConstant", "constant_scalar"),
    "BatchNormalization": batch_norm,
    "CAdd": affine,
    "CMul": affine,
    "Clamp": lambda f: nn.Hardtanh(f.number("min_val", -1.0), f.number("max_val", 1.0)),
    "Dropout": dropout,
    "ELU": lambda f: nn.ELU(f.number("alpha", 1.0)),
    "HardTanh": lambda f: nn.Hardtanh(f.number("min_val", -1.0), f.number("max_val", 1.0)),
    "LeakyReLU": lambda f: nn.LeakyReLU(f.number("negval", 0.01)),
    "LogSoftMax": softmax,
    "Mul": affine,
    "MulConstant": _constant("MulConstant", "constant_scalar"),
    "PReLU": prelu,
    "Power": _constant("Power", "pow"),
    "RReLU": lambda f: nn.LeakyReLU((f.number("lower", 1 / 8) + f.number("upper", 1 / 3)) / 2),
    "ReLU": threshold,
    "ReLU6": lambda f: nn.ReLU6(),
    "Sigmoid": lambda f: nn.Sigmoid(),
    "SoftMax": softmax,
    "SoftMin": softmax,
    "SoftPlus": lambda f: nn.Softplus(f.number("beta", 1.0), f.number("threshold", 20.0)),
    "SpatialBatchNormalization": batch_norm,
    "SpatialCrossMapLRN": lrn,
    "SpatialDropout": dropout,
    "SpatialLogSoftMax": softmax,
    "SpatialSoftMax": softmax,
    "Tanh": lambda f: nn.Tanh(),
    "Threshold": threshold,
}
