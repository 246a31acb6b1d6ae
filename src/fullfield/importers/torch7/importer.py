"""Loads Torch7 files as a ``Model``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullfield.errors import CaptureError, FullfieldError, first_line
from fullfield.importers.limits import DryRun, LayerRefused
from fullfield.importers.torch7 import pointwise, spatial, views
from fullfield.importers.torch7.containers import (
    Combine,
    ConcatOutputs,
    ConcatTable,
    FlattenTable,
    Join,
    Parallel,
    ParallelTable,
    SelectEntries,
    Sequential,
    SplitTable,
)
from fullfield.importers.torch7.fields import Fields
from fullfield.importers.torch7.reader import LuaObject, read
from fullfield.importers.torch7.spatial import ModuleBuilder
from fullfield.importers.torch7.survey import survey
from fullfield.layers.locally_connected import LocallyConnected2d
from fullfield.layers.pools import L2Pool2d
from fullfield.model.given_preprocessing import PreprocessingLike
from fullfield.model.model import Model
from fullfield.model.torch_export import WindowSize, capture_module, parse_window

_LIBRARIES = ("nn", "cudnn", "cunn", "ccn2")
_ROOTS = ("model", "net", "network", "module", "cnn", "classifier")


def _tables(f: Fields) -> nn.Module:
    return Combine(f.kind.partition(".")[2])


def _count(f: Fields, name: str) -> int | None:
    return f.integer(name, least=1) if f.has(name) else None


BUILDERS: Mapping[str, ModuleBuilder] = {
    **spatial.LAYERS,
    **pointwise.LAYERS,
    **views.LAYERS,
    **dict.fromkeys(("CAddTable", "CMulTable", "CSubTable", "CDivTable", "CMaxTable", "CMinTable"), _tables),
    "FlattenTable": lambda f: FlattenTable(),
    "JoinTable": lambda f: Join(f.integer("dimension"), _count(f, "nInputDims")),
    "NarrowTable": lambda f: SelectEntries(f.integer("offset"), f.integer("length", 1, least=1)),
    "SelectTable": lambda f: SelectEntries(f.integer("index"), None),
    "SplitTable": lambda f: SplitTable(f.integer("dimension"), _count(f, "nInputDims")),
}
CONTAINERS = frozenset({
    "Sequential", "Concat", "DepthConcat", "ConcatTable", "ParallelTable", "Parallel", "SpatialLPPooling",
    "DataParallelTable", "Decorator", "DontCast", "NoBackprop",
})  # fmt: skip


def load_torch7(
    path: Path,
    *,
    window: WindowSize | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
) -> Model:
    """The model in a ``.t7`` file: an ``nn`` module, or a table with one as ``model`` or ``net``.

    Args:
        window: height and width, px; the file does not state them.
        score: index of the scores, from 0, if the module returns a table.

    Raises:
        CaptureError: the file is damaged, holds functions or unknown modules, or does not run on the window.
    """
    module, channels, size = read_module(path, window=window)
    return capture_module(
        module,
        window=size,
        channels=channels,
        preprocessing=preprocessing,
        class_names=class_names,
        score=score,
        name=name or path.stem,
    )


def read_module(path: Path, *, window: WindowSize | None) -> tuple[nn.Module, int, tuple[int, int]]:
    """The network as a module, its input channels and its window.

    Raises:
        CaptureError: as ``load_torch7``.
    """
    root = _root(read(path), path)
    _check_kinds(root, path)
    if window is None:
        raise CaptureError(
            str(path), "is a Torch7 file, which does not state its window", fix="pass window=224, --window 224, say"
        )
    size = parse_window(window)
    module = _build(root, path, "", {})
    channels = _channels(module, size)
    try:
        dry = DryRun()
        dtype = next((t.dtype for t in module.state_dict().values() if t.is_floating_point()), torch.float32)
        dry(module, dry.value((channels, *size), dtype))
    except FullfieldError as error:
        raise CaptureError(f"{path}: {error.where}", error.what, fix=error.fix) from error
    except Exception as error:  # torch raises many types for sizes that do not fit
        what = f"does not run on windows of {size[0]}x{size[1]} px ({first_line(error)})"
        raise CaptureError(str(path), what, fix="give the window that the network was trained for") from error
    return module, channels, size


def _root(value: Any, path: Path) -> LuaObject:
    if isinstance(value, dict):
        found = [value[key] for key in _ROOTS if isinstance(value.get(key), LuaObject)]
        value = found[0] if found else value
    if not isinstance(value, LuaObject):
        what = "a table without a network" if isinstance(value, dict) else f"a {type(value).__name__}, not a network"
        raise CaptureError(str(path), f"holds {what}", fix="save the nn module itself, or a table with it as 'model'")
    return value


def _kind(module: LuaObject) -> str:
    library, _, kind = module.kind.partition(".")
    return kind if library in _LIBRARIES else module.kind


def _check_kinds(root: LuaObject, path: Path) -> None:
    """Refuses unknown modules and names all of them.

    Raises:
        CaptureError: there are such modules, or one contains itself.
    """
    unknown: Counter[str] = Counter()
    for module in survey(root, path):
        kind = _kind(module)
        if kind not in BUILDERS and kind not in CONTAINERS:
            unknown[module.kind[:80]] += 1
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        what = f"has modules that fullfield cannot read: {listed}"
        raise CaptureError(str(path), what, fix="build the network without them")


def _build(source: LuaObject, path: Path, where: str, built: dict[int, nn.Module]) -> nn.Module:
    """Builds a module and the modules inside it; one that occurs again is the same, with the same weights.

    Args:
        built: the modules so far, by the identity of their sources.
    """
    if id(source) not in built:
        built[id(source)] = _new(source, path, where, built)
    return built[id(source)]


def _new(source: LuaObject, path: Path, where: str, built: dict[int, nn.Module]) -> nn.Module:
    kind, f = _kind(source), Fields(source)
    try:
        if kind not in CONTAINERS:
            return BUILDERS[kind](f)
        parts = [_build(p, path, f"{where}.{i}".removeprefix("."), built) for i, p in enumerate(f.modules(), 1)]
        return _container(kind, f, parts)
    except CaptureError:
        raise
    except FullfieldError as error:
        raise CaptureError(f"{path}: {where} ({source.kind})", error.what, fix=error.fix) from error
    except Exception as error:  # torch raises many types for sizes that do not fit
        raise CaptureError(
            f"{path}: {where or 'network'} ({source.kind})", first_line(error), fix="export the network again"
        ) from error


def _container(kind: str, f: Fields, parts: list[nn.Module]) -> nn.Module:
    if not parts:
        raise LayerRefused("has no modules")
    match kind:
        case "Sequential":
            return Sequential(parts)
        case "SpatialLPPooling":
            return _l2_pool(parts) or Sequential(parts)
        case "Concat" | "DepthConcat":
            # Dimension 1 is the batch in files for batches, the maps in files for single images: read as the maps.
            return ConcatOutputs(parts, max(1, f.integer("dimension", least=1) - 1), centred=kind == "DepthConcat")
        case "ConcatTable":
            return ConcatTable(parts)
        case "ParallelTable":
            return ParallelTable(parts)
        case "Parallel":
            dims = f.integer("inputDimension", least=2), f.integer("outputDimension", least=2)
            return Parallel(parts, dims[0] - 1, dims[1] - 1)
    return parts[0]


def _l2_pool(parts: list[nn.Module]) -> nn.Module | None:
    """The L2 pool for a square, a mean, a factor and a root in sequence; ``None`` for other sequences."""
    names = [part.name if isinstance(part, pointwise.Pointwise) else "" for part in parts]
    pool = parts[1] if len(parts) > 2 else None
    if not isinstance(pool, spatial.AveragePool) or names[0] != "Square" or names[-1] != "Sqrt":
        return None
    inner, kernel = pool.pool, tuple(pool.pool.kernel_size)  # type: ignore[arg-type]
    factor = 1.0 if pool.divide else float(kernel[0] * kernel[1])
    if len(parts) == 4 and isinstance(parts[2], pointwise.Pointwise) and names[2] == "MulConstant":
        factor *= parts[2].numbers[0]
    elif len(parts) != 3:
        return None
    if factor != kernel[0] * kernel[1] or inner.ceil_mode or tuple(inner.padding) != (0, 0):  # type: ignore[arg-type]
        return None
    return L2Pool2d(kernel, inner.stride, must_fit=False)


def _channels(module: nn.Module, window: tuple[int, int]) -> int:
    """Input channels: those of the first layer that states them."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, LocallyConnected2d)):
            return part.in_channels
        if isinstance(part, nn.BatchNorm2d):
            return part.num_features
        if isinstance(part, nn.Linear):
            return max(1, part.in_features // (window[0] * window[1]))
    return 3
