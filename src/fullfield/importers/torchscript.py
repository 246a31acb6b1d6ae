"""Reads TorchScript programs, from trusted files only: the format can run code of its author."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError, first_line
from fullfield.importers.checkpoints.network import listed_names
from fullfield.importers.foreign import USE_ONNX
from fullfield.importers.torchscript_program import ScriptProgram
from fullfield.model.json_file import read_json
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.quiet import quiet
from fullfield.model.signals import as_signal, running_axes
from fullfield.model.torch_export import WindowSize, parse_window
from fullfield.text import numbers_text, size_text

_MEND = "mend it, or move it away and give window, preprocessing and class names yourself"
_WINDOWS = 2  # that a program is run with first


@dataclass(frozen=True)
class ScriptFacts:
    """What the JSON next to a TorchScript program says of its network.

    Args:
        window: height and width of what the network takes, px.
        channels: of its input.
        preprocessing: how pixels become input.
        class_names: one a score.
        about: the file and what it says of resolution and resizing, as title and text.
    """

    window: tuple[int, int] | None = None
    channels: int | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    about: tuple[tuple[str, str], ...] = ()


def read_script(path: Path, *, window: WindowSize, channels: int | None) -> tuple[nn.Module, tuple[int, int], int]:
    """The program in a TorchScript file as a module, its window ``(h, w)`` and its input channels.

    Of a signal the height is one.

    Args:
        path: the file.
        window: at which it is run, px; samples of a signal.
        channels: of its input; by default those of its first weight of four axes, or of a signal of three.

    Raises:
        CaptureError: the file is damaged, or the program does not run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the format, which torch calls old
        try:
            script = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # torch raises many types for a damaged archive
            raise CaptureError(str(path), f"cannot be read ({first_line(error)})", fix="export it again") from error
        example, size = _example(script, window, channels)
        try:
            module = _module(script, example)
        except Exception as error:  # of the program: of many types
            what = f"is TorchScript that does not run at {size_text(example.shape[1:])} ({first_line(error)})"
            fix = f"check window and channels; trace it instead of scripting it; give the Python module; or {USE_ONNX}"
            raise CaptureError(str(path), what, fix=fix) from error
    return module, size, channels or _input_channels(script)[0]


def _module(script: Any, example: Tensor) -> nn.Module:
    """A program as a module that torch exports; a quantised one as the network of floats that it imitates."""
    if not any(node.kind().startswith("quantized::") for node in script.inlined_graph.nodes()):
        program = ScriptProgram(script)
        with torch.no_grad():
            program.interpret(example)  # raises what its operators raise
        return program
    from torch._export.converter import TS2EPConverter  # imports torch's compiler

    with quiet():
        module = TS2EPConverter(script, (example,)).convert().module(check_guards=False)
    assert isinstance(module, torch.fx.GraphModule)
    return torch.fx.GraphModule(module, module.graph)


def _example(script: nn.Module, window: WindowSize, channels: int | None) -> tuple[Tensor, tuple[int, int]]:
    """Windows as a program takes them, and their height and width; signals where no weight is of images.

    Shape: ``(n, c, h, w)``, or of signals as the program takes them
    """
    found, dtype, of_images = _input_channels(script)
    height, width = parse_window((1, window) if isinstance(window, int) and not of_images else window)
    example = torch.rand(_WINDOWS, channels or found, height, width, dtype=dtype)
    axes = running_axes(script, example) if height == 1 and not of_images else None
    return (example if axes is None else as_signal(example, axes)), (height, width)


def _input_channels(script: nn.Module) -> tuple[int, torch.dtype, bool]:
    """Input channels and number type of a program's first weight, and whether that is one of images."""
    state = script.state_dict()
    for rank in (4, 3):
        for value in state.values():
            if value.dim() == rank:
                return int(value.shape[1]), value.dtype, rank == 4
    for name, value in state.items():
        if "weight_ih" in name:
            return int(value.shape[1]), value.dtype, False
    return 3, torch.float32, True


def read_script_facts(path: Path) -> ScriptFacts:
    """What WSInfer's ``config.json`` or MONAI's ``metadata.json`` next to a program says; nothing without either.

    Raises:
        CaptureError: such a file is damaged.
    """
    places = (path.parent / "config.json", path.parent / "metadata.json", path.parent.parent / "configs/metadata.json")
    for file in places:
        found = read_json(file, fix=_MEND) if file.is_file() else {}
        if "patch_size_pixels" in found:
            return _of_wsinfer(found, file)
        if "network_data_format" in found:
            return _of_monai(found, file)
    return ScriptFacts()


def _of_wsinfer(config: Mapping[str, Any], file: Path) -> ScriptFacts:
    """Of a model of WSInfer: patch size, spacing, classes, and transforms by their names."""
    side, names = _integer(config["patch_size_pixels"], "patch_size_pixels", file), config.get("class_names")
    try:
        window, value = _transformed(config.get("transform") or (), side, file)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise _unreadable(file, f"lists transforms that are not WSInfer's ({first_line(error)})") from error
    about = [("described by", file.name)]
    spacing = config.get("spacing_um_px")
    if isinstance(spacing, (int, float)) and spacing > 0:
        resized = (
            f", resized to {window}x{window} px: use --mpp {spacing * side / window:.4g}" if window != side else ""
        )
        about.append(("resize", f"windows of {side}x{side} px at {spacing:g} um/px{resized}"))
    return ScriptFacts((window, window), 3, value, _names(names), tuple(about))


def _transformed(steps: Iterable[Any], side: int, file: Path) -> tuple[int, Preprocessing | None]:
    """The window after the transforms of a patch, px, and how they prepare its pixels."""
    window, value, scaled = side, None, 1.0
    for step in steps:
        name, given = str(step.get("name")), step.get("arguments") or {}
        if name == "Resize":
            size = given.get("size")
            window = _integer(size[0] if isinstance(size, list) else size, "size of Resize", file)
        elif name == "ToTensor":
            scaled = 1 / 255
            value = Preprocessing(scaled, order="RGB", value_range=(0, 255))
        elif name == "Normalize":
            value = Preprocessing(scaled, given["mean"], given["std"], "RGB", (0, 255))
        else:
            raise _unreadable(file, f"has the transform {name}")
    return window, value


def _of_monai(metadata: Mapping[str, Any], file: Path) -> ScriptFacts:
    """Of a bundle of MONAI: the format of its only input, and the names of the output's channels."""
    formats = metadata["network_data_format"]
    try:
        ((_, given),) = formats["inputs"].items()
        shape, channels = given.get("spatial_shape"), int(given["num_channels"])
        low, high = (float(end) for end in given["value_range"]) if given.get("value_range") else (0.0, 255.0)
        outputs = list(formats.get("outputs", {}).values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, f"describes no single image as input ({first_line(error)})") from error
    fixed = isinstance(shape, list) and len(shape) == 2 and all(isinstance(size, int) for size in shape)
    definition = outputs[0].get("channel_def") if len(outputs) == 1 and isinstance(outputs[0], Mapping) else None
    about = (("described by", file.name), ("range", f"the network takes {numbers_text((low, high))}"))
    return ScriptFacts(
        (shape[0], shape[1]) if fixed and isinstance(shape, list) else None,
        channels,
        _to_range(low, high, channels),
        _names(definition),
        about,
    )


def _to_range(low: float, high: float, channels: int) -> Preprocessing:
    """Pixels of 0 to 255 brought to a range."""
    width = high - low
    order = "RGB" if channels == 3 else "any"
    return Preprocessing(1 / 255, (-low / width,), (1 / width,), order, (0, 255))  # type: ignore[arg-type]


def _names(labels: Any) -> tuple[str, ...] | None:
    """The names of two classes or more; a single score has no name of a class."""
    names = listed_names(labels)
    return names if names is not None and len(names) > 1 else None


def _integer(value: Any, what: str, file: Path) -> int:
    if not isinstance(value, int) or value < 1:
        raise _unreadable(file, f"{what} is {value!r}, no positive integer")
    return value


def _unreadable(file: Path, what: str) -> CaptureError:
    return CaptureError(str(file), what, fix=_MEND)
