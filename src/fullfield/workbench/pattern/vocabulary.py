"""The layers of the pattern language: arguments, output volumes and modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from fullfield import layers
from fullfield.errors import GeometryError
from fullfield.workbench import lenet_layers
from fullfield.workbench.pattern import windows
from fullfield.workbench.volume import Volume

LayerSettings = Mapping[str, Any]
ParamKind = Literal["count", "pair", "padding", "real", "share", "flag", "rounding", "floor", "table", "choice"]
DERIVED = object()  # a default that depends on the other arguments: see `windows.derived_default`


@dataclass(frozen=True)
class Param:
    """An argument of a layer: its names, its kind of value and its default; without a default it is required."""

    name: str
    kind: ParamKind
    default: Any = ...
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerType:
    """A type of layer in the language.

    The first ``positional`` parameters may be given without their names; ``fit`` returns the output volume.
    """

    name: str
    make: Callable[[LayerSettings, Volume, Volume], nn.Module]
    params: tuple[Param, ...] = ()
    positional: int = 0
    fit: Callable[[LayerSettings, Volume], Volume] = field(default=lambda settings, volume: volume)
    takes: Literal["map", "any", "vector"] = "any"
    aliases: tuple[str, ...] = ()

    def complete(self, given: LayerSettings) -> dict[str, Any]:
        """All settings, defaults filled in, in the order of the parameters."""
        full = {p.name: given.get(p.name, p.default) for p in self.params}
        return {
            name: windows.derived_default(name, full) if value is DERIVED else value for name, value in full.items()
        }


def _conv(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    if s["table"] != "full":
        return lenet_layers.TableConv2d(
            *(before[0], s["k"], s["f"]),
            table=s["table"],
            stride=s["s"],
            padding=s["p"],
            dilation=s["d"],
            bias=s["bias"],
        )
    numbers = (before[0], s["k"], s["f"], s["s"], s["p"], s["d"], s["g"], s["bias"])
    return layers.FFTConv2d(*numbers, fft=s["fft"]) if s["fft"] else nn.Conv2d(*numbers)


def _local(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    return layers.LocallyConnected2d(
        before[0], s["k"], (before[1], before[2]), s["f"], s["s"], s["p"], s["d"], s["g"], s["bias"]
    )


def _max_pool(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    return nn.MaxPool2d(s["f"], s["s"], s["p"], s["d"], ceil_mode=s["round"] == "ceil")


def _average_pool(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    return nn.AvgPool2d(s["f"], s["s"], s["p"], ceil_mode=s["round"] == "ceil", count_include_pad=s["count_pad"])


def _subsample(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    return lenet_layers.Subsample2d(before[0], settings["f"], settings["s"])


def _l2_pool(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    return layers.L2Pool2d(s["f"], s["s"], padding=s["p"], mean=s["mean"], must_fit=s["round"] != "floor")


def _lrn(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    s = settings
    region = "within" if s["within"] else "across"
    return layers.LocalResponseNorm2d(s["n"], alpha=s["alpha"], beta=s["beta"], k=s["k"], region=region)


def _lrn_volume(settings: LayerSettings, volume: Volume) -> Volume:
    if settings["k"] <= 0:
        raise GeometryError("k", f"k {settings['k']:g} is not positive: the divisor can be zero", fix="use k=1 or k=2")
    return volume


def _batch_norm(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    kind = nn.BatchNorm2d if len(before) == 3 else nn.BatchNorm1d
    return kind(before[0], settings["eps"], settings["momentum"], settings["affine"])


def _prelu(settings: LayerSettings, before: Volume, after: Volume) -> nn.Module:
    return nn.PReLU(1 if settings["shared"] else before[0])


def _plain(name: str, module: Callable[[], nn.Module], *aliases: str) -> LayerType:
    """A layer without arguments that keeps the volume."""
    return LayerType(name, lambda settings, before, after: module(), aliases=aliases)


def _conv_volume(settings: LayerSettings, volume: Volume) -> Volume:
    groups = settings["g"]
    if volume[0] % groups or settings["k"] % groups:
        raise GeometryError(
            "groups",
            f"{groups} groups do not divide {volume[0]} -> {settings['k']} channels",
            fix="use a divisor of both",
        )
    if settings.get("table", "full") != "full":
        _check_table(settings, volume[0])
    return (settings["k"], *windows.output_cells(settings, volume))


def _check_table(settings: LayerSettings, inputs: int) -> None:
    name, rows = settings["table"], lenet_layers.TABLES[settings["table"]]
    wanted = 1 + max(map(max, rows)), len(rows)
    if wanted != (inputs, settings["k"]):
        what = f"table {name} connects {wanted[0]} maps to {wanted[1]}, not {inputs} to {settings['k']}"
        raise GeometryError("table", what, fix="use those numbers of maps, or leave out table=")
    if settings["g"] != 1 or settings["fft"]:
        other = "fft" if settings["fft"] else f"{settings['g']} groups"
        raise GeometryError("table", f"table {name} together with {other}", fix="leave out one of them")


_F3 = Param("f", "pair", (3, 3), ("kernel", "kernel_size"))
_P = Param("p", "padding", DERIVED, ("pad", "padding"))
_D = Param("d", "pair", (1, 1), ("dilation",))
_NEURONS = Param("k", "count", aliases=("n", "out", "filters", "channels"))
_BIAS = Param("bias", "flag", True)
_SHARED = (_NEURONS, _F3, Param("s", "pair", (1, 1), ("stride",)), _P, _D, Param("g", "count", 1, ("groups", "group")))
_ROUND = Param("round", "rounding", "exact")
_FLOOR = Param("round", "floor", "exact")
_CONVOLUTION = (*_SHARED, _BIAS, _FLOOR)
_POOL = (
    Param("f", "pair", (2, 2), ("k", "kernel", "kernel_size")),
    Param("s", "pair", DERIVED, ("stride",)),
    Param("p", "padding", (0, 0), ("pad", "padding")),
)


def _pool_volume(settings: LayerSettings, volume: Volume) -> Volume:
    return (volume[0], *windows.output_cells(settings, volume, pool=True))


LAYER_TYPES = (
    LayerType(
        "CONV",
        _conv,
        (*_CONVOLUTION, Param("table", "table", "full"), Param("fft", "choice", False)),
        4,
        _conv_volume,
        "map",
        ("CONV2D",),
    ),
    LayerType("LOCAL", _local, _CONVOLUTION, 4, _conv_volume, "map", ("LOCALLY",)),
    LayerType("POOL", _max_pool, (*_POOL, _D, _ROUND), 3, _pool_volume, "map", ("MAXPOOL",)),
    LayerType(
        "AVGPOOL",
        _average_pool,
        (*_POOL, Param("count_pad", "flag", True), _ROUND),
        3,
        _pool_volume,
        "map",
        ("MEANPOOL",),
    ),
    LayerType("L2POOL", _l2_pool, (*_POOL, Param("mean", "flag", False), _FLOOR), 3, _pool_volume, "map"),
    LayerType(
        "SUBSAMPLE",
        _subsample,
        (*_POOL[:2], _FLOOR),
        2,
        _pool_volume,
        "map",
    ),
    LayerType(
        "GLOBALPOOL",
        lambda settings, before, after: nn.AdaptiveAvgPool2d(1),
        fit=lambda settings, volume: (volume[0], 1, 1),
        takes="map",
        aliases=("GLOBALAVGPOOL", "GAP"),
    ),
    LayerType(
        "GLOBALMAXPOOL",
        lambda settings, before, after: nn.AdaptiveMaxPool2d(1),
        fit=lambda settings, volume: (volume[0], 1, 1),
        takes="map",
    ),
    LayerType(
        "LRN",
        _lrn,
        (
            Param("n", "count", 5, ("size",)),
            Param("alpha", "real", 5e-4, ("a",)),
            Param("beta", "real", 0.75, ("b",)),
            Param("k", "real", 2.0),
            Param("within", "flag", False),
        ),
        1,
        _lrn_volume,
        takes="map",
        aliases=("NORM",),
    ),
    LayerType(
        "BN",
        _batch_norm,
        (Param("eps", "real", 1e-5), Param("momentum", "share", 0.1), Param("affine", "flag", True)),
        aliases=("BATCHNORM",),
    ),
    LayerType(
        "FLATTEN",
        lambda settings, before, after: nn.Flatten(),
        fit=lambda settings, volume: (math.prod(volume),),
        takes="map",
    ),
    LayerType(
        "FC",
        lambda settings, before, after: nn.Linear(before[0], settings["k"], settings["bias"]),
        (_NEURONS, _BIAS),
        1,
        lambda settings, volume: (settings["k"],),
        takes="vector",
        aliases=("LINEAR", "DENSE"),
    ),
    LayerType(
        "RBF",
        lambda settings, before, after: lenet_layers.RadialBasis(before[0], settings["k"]),
        (_NEURONS,),
        1,
        lambda settings, volume: (settings["k"],),
        takes="vector",
    ),
    LayerType(
        "DROPOUT",
        lambda settings, before, after: nn.Dropout(settings["p"]),
        (Param("p", "share", 0.5, ("rate",)),),
        1,
    ),
    LayerType("PRELU", _prelu, (Param("shared", "flag", False),)),
    LayerType(
        "LEAKYRELU",
        lambda settings, before, after: nn.LeakyReLU(settings["slope"]),
        (Param("slope", "real", 0.01),),
        1,
        aliases=("LRELU",),
    ),
    LayerType("ELU", lambda settings, before, after: nn.ELU(settings["alpha"]), (Param("alpha", "real", 1.0),), 1),
    _plain("RELU", nn.ReLU),
    _plain("RELU6", nn.ReLU6),
    _plain("SELU", nn.SELU),
    _plain("GELU", nn.GELU),
    _plain("SILU", nn.SiLU, "SWISH"),
    _plain("SOFTPLUS", nn.Softplus),
    _plain("TANH", nn.Tanh),
    _plain("SIGMOID", nn.Sigmoid),
    _plain("SOFTMAX", lambda: nn.Softmax(dim=1)),
    _plain("LOGSOFTMAX", lambda: nn.LogSoftmax(dim=1)),
)
LAYERS: Mapping[str, LayerType] = {name: kind for kind in LAYER_TYPES for name in (kind.name, *kind.aliases)}
