"""Describes modules as a pattern: reads the settings of every layer and folds the list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fullfield import layers
from fullfield.arguments import parse_pair
from fullfield.errors import FullfieldError, GeometryError, UnsupportedError
from fullfield.text import size_text
from fullfield.workbench import lenet_layers
from fullfield.workbench.pattern import windows
from fullfield.workbench.pattern.folding import Values, fold
from fullfield.workbench.pattern.settings import show
from fullfield.workbench.pattern.vocabulary import LAYERS, LayerType
from fullfield.workbench.volume import Volume

NamedSettings = tuple[str, dict[str, Any]]
_UNNAMED = {"CONV": 2, "LOCAL": 2}  # settings written without their names; one for other layers


def pattern_of(net: nn.Module, volume: Volume) -> str:
    """The pattern of a sequential network whose input is ``volume``: channels, height, width.

    Raises:
        UnsupportedError: a layer that the pattern language does not have, or an option of one.
        GeometryError: a layer that does not fit the volume before it.
    """
    written: list[tuple[str, Values]] = []
    layers = [("INPUT", volume), *_layers(net)]
    sizes = size_text(volume)
    for k, (path, module) in enumerate(layers[1:], 1):
        assert isinstance(module, nn.Module)
        if isinstance(module, nn.Flatten) and _implied(module, layers[k + 1 :], volume):
            volume = (math.prod(volume),)
            continue
        name, settings = _read(path, module, volume)
        kind = LAYERS[name]
        settings = _rounded(settings, volume)
        try:
            after = _after(kind, settings, volume)
        except FullfieldError as error:
            raise GeometryError(path, f"{error.what} (after {size_text(volume)})", fix=error.fix) from error
        written.append((name, _values(kind, settings)))
        volume = after
    head = f"INPUT({sizes})"
    return f"{head} -> {fold(written)}" if written else head


def _after(kind: LayerType, settings: dict[str, Any], volume: Volume) -> Volume:
    wanted = {"map": 3, "vector": 1}.get(kind.takes, len(volume))
    if len(volume) != wanted:
        kinds = {3: "a map", 1: "a vector"}
        raise GeometryError(
            kind.name, f"{kind.name} takes {kinds[wanted]}, not {kinds[len(volume)]}", fix="put an nn.Flatten between"
        )
    return kind.fit(settings, volume)


def _layers(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with their paths; nested sequences are flattened, identities left out."""
    if not isinstance(net, nn.Sequential):
        raise UnsupportedError(
            "describe", f"{type(net).__name__} is not nn.Sequential", fix="describe a sequential part of the network"
        )
    for name, module in net.named_children():
        if isinstance(module, nn.Sequential):
            yield from ((f"{name}.{inner}", part) for inner, part in _layers(module))
        elif not isinstance(module, nn.Identity):
            yield name, module


def _implied(module: nn.Flatten, following: list[Any], volume: Volume) -> bool:
    """Whether the pattern language inserts this FLATTEN by itself."""
    return len(volume) == 3 and bool(following) and isinstance(following[0][1], nn.Linear) and _flat(module)


def _flat(module: nn.Flatten) -> bool:
    return module.start_dim == 1 and module.end_dim in (-1, 3)


def _values(kind: LayerType, settings: dict[str, Any]) -> Values:
    """Settings in writing, each with whether it equals its default."""
    found: Values = {}
    for position, param in enumerate(kind.params):
        rest = {name: value for name, value in settings.items() if name != param.name}
        default = param.default is not ... and kind.complete(rest)[param.name] == settings[param.name]
        unnamed = position < min(kind.positional, _UNNAMED.get(kind.name, 1))
        found[f"#{param.name}" if unnamed else param.name] = show(settings[param.name]), default
    return found


def _rounded(settings: dict[str, Any], volume: Volume) -> dict[str, Any]:
    """Settings with ``round=floor`` where the module rounds down and leaves cells unread."""
    if settings.get("round") == "exact" and len(volume) == 3 and not windows.fits(settings, volume):
        return settings | {"round": "floor"}
    return settings


def _read(path: str, module: nn.Module, volume: Volume) -> NamedSettings:
    """The layer's name in the language and all its settings."""
    reader = _READERS.get(type(module))
    found = None if reader is None else reader(module)
    if found is None:
        raise UnsupportedError(
            path, f"{module} cannot be written as a pattern", fix="describe the part of the network before it"
        )
    name, given = found
    kind = LAYERS[name]
    inputs = given.pop("inputs", None)
    if inputs is not None and inputs != volume[0]:
        raise GeometryError(path, f"takes {inputs} channels, not {volume[0]}", fix="correct the network or the window")
    size = given.pop("size", volume[1:])
    if size != volume[1:]:
        raise GeometryError(path, f"was built for {size}, not {volume[1:]}", fix="give the window that it is for")
    return name, kind.complete(given)


def _conv(m: nn.Conv2d) -> NamedSettings | None:
    kernel, dilation = parse_pair("kernel_size", m.kernel_size), parse_pair("dilation", m.dilation)
    if m.padding == "same":
        reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if any(r % 2 for r in reach):
            return None
        padding = reach[0] // 2, reach[1] // 2
    else:
        padding = (0, 0) if m.padding == "valid" else parse_pair("padding", m.padding, least=0)
    if m.padding_mode != "zeros":
        return None
    return "CONV", _shared(m, kernel, padding, dilation)


def _shared(m: Any, kernel: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    numbers = {
        "k": m.out_channels,
        "f": kernel,
        "s": parse_pair("stride", m.stride, least=0),
        "p": padding,
        "d": dilation,
        "g": m.groups,
    }
    return numbers | {"bias": m.bias is not None, "inputs": m.in_channels}


def _local(m: layers.LocallyConnected2d) -> NamedSettings:
    return "LOCAL", _shared(m, m.kernel_size, m.padding, m.dilation) | {"size": m.input_size}


def _table_conv(m: lenet_layers.TableConv2d) -> NamedSettings | None:
    name = next((name for name, table in lenet_layers.TABLES.items() if table == m.table), None)
    numbers = {"k": m.out_channels, "f": m.kernel_size, "s": m.stride, "p": m.padding, "d": m.dilation, "table": name}
    return None if name is None else ("CONV", numbers | {"bias": m.bias is not None, "inputs": m.in_channels})


def _subsample(m: lenet_layers.Subsample2d) -> NamedSettings:
    return "SUBSAMPLE", {"f": m.kernel_size, "s": m.stride, "round": "exact", "inputs": m.channels}


def _fft_conv(m: layers.FFTConv2d) -> NamedSettings | None:
    found = _conv(m)
    return None if found is None else (found[0], found[1] | {"fft": m.fft})


def _pool(m: Any) -> dict[str, Any]:
    rounding = "ceil" if getattr(m, "ceil_mode", False) else "exact"
    return {
        "f": parse_pair("kernel_size", m.kernel_size),
        "s": parse_pair("stride", m.stride, least=0),
        "p": parse_pair("padding", m.padding, least=0),
        "round": rounding,
    }


def _max_pool(m: nn.MaxPool2d) -> NamedSettings | None:
    return None if m.return_indices else ("POOL", _pool(m) | {"d": parse_pair("dilation", m.dilation)})


def _average_pool(m: nn.AvgPool2d) -> NamedSettings | None:
    return None if m.divisor_override is not None else ("AVGPOOL", _pool(m) | {"count_pad": m.count_include_pad})


def _global_pool(name: str) -> Callable[[Any], NamedSettings | None]:
    return lambda m: (name, {}) if m.output_size in (1, (1, 1), [1, 1]) else None


def _lrn(m: layers.LocalResponseNorm2d) -> NamedSettings:
    numbers = {"n": m.size, "alpha": m.alpha, "beta": m.beta, "k": m.k}
    return "LRN", numbers | {"within": m.region == "within"}


def _torch_lrn(m: nn.LocalResponseNorm) -> NamedSettings:
    return "LRN", {"n": m.size, "alpha": m.alpha, "beta": m.beta, "k": m.k}


def _batch_norm(m: _BatchNorm) -> NamedSettings | None:
    if not m.track_running_stats or m.momentum is None:
        return None
    return "BN", {"eps": m.eps, "momentum": m.momentum, "affine": m.affine, "inputs": m.num_features}


def _prelu(m: nn.PReLU) -> NamedSettings:
    shared = m.num_parameters == 1
    return "PRELU", {"shared": shared} if shared else {"shared": False, "inputs": m.num_parameters}


def _over_channels(name: str) -> Callable[[Any], NamedSettings | None]:
    return lambda m: (name, {}) if m.dim == 1 else None


def _constant(name: str) -> Callable[[Any], NamedSettings]:
    return lambda m: (name, {})


_READERS: dict[type[nn.Module], Callable[[Any], NamedSettings | None]] = {
    nn.Conv2d: _conv,
    layers.LocallyConnected2d: _local,
    layers.FFTConv2d: _fft_conv,
    lenet_layers.TableConv2d: _table_conv,
    lenet_layers.Subsample2d: _subsample,
    lenet_layers.RadialBasis: lambda m: ("RBF", {"k": m.out_features, "inputs": m.in_features}),
    nn.MaxPool2d: _max_pool,
    layers.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    layers.AvgPool2d: _average_pool,
    layers.L2Pool2d: lambda m: ("L2POOL", _pool(m) | {"mean": m.mean}),
    nn.AdaptiveAvgPool2d: _global_pool("GLOBALPOOL"),
    nn.AdaptiveMaxPool2d: _global_pool("GLOBALMAXPOOL"),
    layers.LocalResponseNorm2d: _lrn,
    nn.LocalResponseNorm: _torch_lrn,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: lambda m: ("FLATTEN", {}) if _flat(m) else None,
    nn.Linear: lambda m: ("FC", {"k": m.out_features, "bias": m.bias is not None, "inputs": m.in_features}),
    nn.Dropout: lambda m: ("DROPOUT", {"p": m.p}),
    nn.PReLU: _prelu,
    nn.LeakyReLU: lambda m: ("LEAKYRELU", {"slope": m.negative_slope}),
    nn.ELU: lambda m: ("ELU", {"alpha": m.alpha}),
    nn.GELU: lambda m: ("GELU", {}) if m.approximate == "none" else None,
    nn.Softplus: lambda m: ("SOFTPLUS", {}) if (m.beta, m.threshold) == (1.0, 20.0) else None,
    nn.Softmax: _over_channels("SOFTMAX"),
    nn.LogSoftmax: _over_channels("LOGSOFTMAX"),
    nn.ReLU: _constant("RELU"),
    nn.ReLU6: _constant("RELU6"),
    nn.SELU: _constant("SELU"),
    nn.SiLU: _constant("SILU"),
    nn.Tanh: _constant("TANH"),
    nn.Sigmoid: _constant("SIGMOID"),
}
