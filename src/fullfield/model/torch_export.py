"""Captures an ``nn.Module`` as a ``Model``, by ``torch.export``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from fullfield.arguments import parse_pair
from fullfield.errors import CaptureError, first_line
from fullfield.graph.shapes import propagate_by_rules
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.export_errors import Channels, explain
from fullfield.model.forks import compute_after_forks
from fullfield.model.given_preprocessing import PreprocessingLike, from_timm, resolve
from fullfield.model.model import Model
from fullfield.model.module_check import check_against_module
from fullfield.model.module_graph import example_of, graph_of
from fullfield.model.outputs import ScoreOutput
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.state import drop_writes

WindowSize = int | tuple[int, int]


def capture_module(
    module: nn.Module,
    *,
    window: WindowSize | None = None,
    channels: int | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | None = None,
    name: str | None = None,
) -> Model:
    """The model of a module: its graph at one window size, in evaluation mode, with a free batch size.

    The module is not changed, training flags included; the model shares its parameters.

    Args:
        module: maps ``(n, c, h, w)`` to what ``load`` takes.
        window: height and width of the window, px; by default that of timm's ``pretrained_cfg``.
        channels: input channels; by default those of the first convolution, or of timm's ``pretrained_cfg`` where
            the network rearranges its pixels before that.
        preprocessing: a preset's name or a value; by default that of timm's ``pretrained_cfg``, else ``none``.
        class_names: one name a score.
        score: index or name of the scores among its outputs.
        name: for reports; by default the module's class name.

    Raises:
        CaptureError: the module cannot be exported, or does not return one score vector a window.
    """
    cfg = _timm_config(module)
    if window is None:
        size = cfg.get("input_size")
        if size is None:
            raise CaptureError("window", "is not given and the module does not state it", fix="pass window=224, say")
        window = (int(size[1]), int(size[2]))
    height, width = parse_window(window)
    wrapped = ScoreOutput(module, score)
    graph, channels = _export_first(wrapped, _input_channels(module, cfg, channels), (height, width))
    model = checked_model(
        graph,
        window=(height, width),
        channels=channels,
        preprocessing=resolve(preprocessing, channels=channels, stated=from_timm(cfg)),
        class_names=tuple(class_names) if class_names is not None else _timm_names(cfg),
        name=name or type(module).__name__,
    )
    check_against_module(wrapped, graph, example_of(wrapped, (channels, height, width)), model.name)
    return model


def parse_window(window: WindowSize) -> tuple[int, int]:
    """Height and width, px.

    Raises:
        CaptureError: not one or two positive integers.
    """
    return parse_pair("window", window, fix="pass 224 or (224, 224)", error=CaptureError)


def checked_model(
    graph: torch.fx.GraphModule,
    *,
    window: tuple[int, int],
    channels: int,
    preprocessing: Preprocessing,
    class_names: tuple[str, ...] | None,
    name: str,
    check: Callable[[torch.fx.GraphModule, torch.Tensor, str], None] = check_batch_independence,
) -> Model:
    """Checks a graph of an importer and makes a ``Model`` of it.

    Args:
        graph, window, channels, preprocessing, class_names, name: as of ``Model``.
        check: raises if the windows of a batch affect one another; called with the graph, two windows and the name.

    Raises:
        CaptureError: the graph does not run at the window, does not return one score vector a window, or mixes windows.
    """
    compute_after_forks()
    probe = example_of(graph, (channels, *window))
    drop_writes(graph, probe, name)
    shape = _scores_shape(graph, probe, name)
    if len(shape) != 2 or shape[0] != 2:
        raise CaptureError(
            name,
            f"2 windows give an output of shape {shape}, not (2, K)",
            fix="load the part of the network that ends in one score vector a window",
        )
    check(graph, probe, name)
    if class_names is not None and len(class_names) != shape[1]:
        raise CaptureError(
            "class names", f"{len(class_names)} names for {shape[1]} scores", fix="give one name a score"
        )
    return Model(graph, window, channels, shape[1], preprocessing, class_names, name)


def _scores_shape(graph: torch.fx.GraphModule, probe: torch.Tensor, name: str) -> tuple[int, ...]:
    """The shape of the scores of two windows, which run only where it is not known without.

    Raises:
        CaptureError: the graph does not run.
    """
    values = propagate_by_rules(graph, tuple(probe.shape), probe.dtype)
    if values is not None and probe.dtype in (torch.float32, torch.float64) and probe.device.type == "cpu":
        return tuple(values[graph.graph.output_node()].shape)
    try:
        with torch.no_grad():
            return tuple(graph(probe).shape)
    except Exception as error:
        raise CaptureError(
            name,
            "does not run on windows of {}x{} px ({})".format(*probe.shape[2:], first_line(error)),
            fix="give the window that the network was trained for",
        ) from error


def _input_channels(module: nn.Module, cfg: dict[str, Any], given: int | None) -> list[Channels]:
    """Numbers of input channels to try: that given, else the first convolution's, then timm's, else 3."""
    if given:
        return [Channels(given)]
    first = next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    stated = cfg["input_size"][0] if "input_size" in cfg else None
    found = [Channels(first, "those of its first convolution")] if first else []
    if stated and stated != first:
        found.append(Channels(stated, "those of its pretrained_cfg"))
    return found or [Channels(3, "a guess")]


def _export_first(
    module: ScoreOutput, channels: list[Channels], window: tuple[int, int]
) -> tuple[torch.fx.GraphModule, int]:
    """The graph for the first number of channels with which the module can be exported."""
    for tried in channels:
        example = example_of(module, (tried.count, *window))
        with contextlib.suppress(CaptureError) if tried is not channels[-1] else contextlib.nullcontext():
            return graph_of(module, example, partial(explain, module, example, tried)), tried.count
    raise AssertionError("the last number of channels returns or raises")


def _timm_config(module: nn.Module) -> dict[str, Any]:
    cfg = getattr(module, "pretrained_cfg", None)
    return dict(cfg) if isinstance(cfg, dict) else {}


def _timm_names(cfg: dict[str, Any]) -> tuple[str, ...] | None:
    names = cfg.get("label_names")
    return tuple(map(str, names)) if names else None
