"""Captures an ``nn.Module`` as a ``Model``, by ``torch.export``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from fullfield.arguments import parse_pair
from fullfield.errors import CaptureError, first_line
from fullfield.graph.layers import ended_at, layer_names, layer_node, layer_paths
from fullfield.graph.shapes import propagate_by_rules
from fullfield.model.batch_independence import check_batch_independence
from fullfield.model.batch_trials import noise
from fullfield.model.cuda_arithmetic import cuda_arithmetic
from fullfield.model.export_errors import Channels, explain
from fullfield.model.fake_quantisation import READ_AS_FLOATS, as_floats
from fullfield.model.features import ScoreChoice
from fullfield.model.forks import compute_after_forks
from fullfield.model.given_preprocessing import PreprocessingLike, from_timm, resolve
from fullfield.model.model import Model
from fullfield.model.module_check import check_against_module, unchanged
from fullfield.model.module_graph import copy_paths, example_of, graph_of
from fullfield.model.observers import refuse_integers, without_observers
from fullfield.model.outputs import ScoreOutput
from fullfield.model.preprocessing import Preprocessing
from fullfield.model.quiet import quiet
from fullfield.model.signals import SignalAxes, fed_with_images, signal_axes, signal_channels, takes_signals_first
from fullfield.model.state import drop_writes

WindowSize = int | tuple[int, int]


@dataclass(frozen=True)
class _Given:
    """What the user says of a module, as ``capture_module`` takes it."""

    preprocessing: PreprocessingLike | None
    class_names: tuple[str, ...] | None
    score: int | str | ScoreChoice | None
    name: str


def capture_module(
    module: nn.Module,
    *,
    window: WindowSize | None = None,
    channels: int | None = None,
    preprocessing: PreprocessingLike | None = None,
    class_names: tuple[str, ...] | list[str] | None = None,
    score: int | str | ScoreChoice | None = None,
    name: str | None = None,
) -> Model:
    """The model of a module: its graph at one window size, in evaluation mode, with a free batch size.

    The module is not changed, training flags included; the model shares its parameters.

    Args:
        module: maps ``(n, c, h, w)`` to what ``load`` takes; or signals ``(n, c, t)``, ``(n, t, c)`` or ``(n, t)``.
        window: height and width of the window, px; by default that of timm's ``pretrained_cfg``. Of signals samples.
        channels: input channels; by default those of the first convolution, or of timm's ``pretrained_cfg`` where
            the network rearranges its pixels before that.
        preprocessing: a preset's name or a value; by default that of timm's ``pretrained_cfg``, else ``none``.
        class_names: one name a score.
        score: index or name of the scores among its outputs, or the name of a layer.
        name: for reports; by default the module's class name.

    Raises:
        CaptureError: the module cannot be exported, or does not return one score vector a window.
    """
    cfg = _timm_config(module)
    if window is None:
        size = cfg.get("input_size")
        if size is None:
            raise CaptureError(
                "window", "is not given and the module does not state it", fix="pass window=224, --window 224, say"
            )
        window = (int(size[1]), int(size[2]))
    name = name or type(module).__name__
    refuse_integers(module, name)
    given = _Given(preprocessing, None if class_names is None else tuple(class_names), score, name)
    with without_observers(module):
        return _of_images_or_signals(module, window, channels, given)


def _of_images_or_signals(module: nn.Module, window: WindowSize, channels: int | None, given: _Given) -> Model:
    """The model of a module that takes images, or else signals; of one whose first layer is of these the other way."""
    signal = _signal(module, window, channels) if takes_signals_first(module) else None
    if signal is None:
        found = _input_channels(module, _timm_config(module), channels)
        try:
            return _captured(module, parse_window(window), found, None, given)
        except CaptureError:
            signal = _signal(module, window, channels)
            if signal is None:
                raise
    axes, length, count = signal
    with fed_with_images(module, axes):
        return _captured(module, (1, length), [count], axes, given)


def _signal(module: nn.Module, window: WindowSize, channels: int | None) -> tuple[SignalAxes, int, Channels] | None:
    """The axes, the window's samples and the channels with which a module takes signals; ``None`` if it takes none."""
    height, length = parse_window((1, window) if isinstance(window, int) else window)
    if height != 1:
        return None
    found = Channels(channels) if channels else Channels(signal_channels(module), "those of its first layer")
    axes = signal_axes(module, example_of(module, (found.count, 1, length)))
    return None if axes is None else (axes, length, found)


def _captured(
    module: nn.Module,
    window: tuple[int, int],
    channels: list[Channels],
    axes: SignalAxes | None,
    given: _Given,
) -> Model:
    """The model of a module that takes images, or images of height one in place of signals."""
    cfg = _timm_config(module)
    wrapped = ScoreOutput(module, given.score, of_signals=axes is not None)
    graph, count, wrapped = _export_first(wrapped, channels, window)
    example = example_of(wrapped, (count, *window))
    features = _features(wrapped, module, graph, example)
    names = None if features is not None else _timm_names(cfg)
    floats = as_floats(graph, example)
    model = checked_model(
        graph if floats is None else floats,
        window=window,
        channels=count,
        preprocessing=resolve(given.preprocessing, channels=count, stated=from_timm(cfg)),
        class_names=names if given.class_names is None else given.class_names,
        name=given.name if floats is None else f"{given.name} ({READ_AS_FLOATS})",
        features=features,
        of_signals=axes is not None,
    )
    check_against_module(wrapped, graph, example, given.name)
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
    features: str | None = None,
    of_signals: bool = False,
    check: Callable[[torch.fx.GraphModule, torch.Tensor, str], None] = check_batch_independence,
) -> Model:
    """Checks a graph of an importer and makes a ``Model`` of it.

    Args:
        graph, window, channels, preprocessing, class_names, name, features, of_signals: as of ``Model``.
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
            fix="load the part that ends in one score vector a window, or average a map over the window: score=0",
        )
    check(graph, probe, name)
    if class_names is not None and len(class_names) != shape[1]:
        raise CaptureError(
            "class names", f"{len(class_names)} names for {shape[1]} scores", fix="give one name a score"
        )
    about = (preprocessing, class_names, name, features)
    return Model(graph, window, channels, shape[1], *about, of_signals=of_signals)


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
) -> tuple[torch.fx.GraphModule, int, ScoreOutput]:
    """The graph for the first number of channels with which the module can be exported, and what was exported."""
    for tried in channels:
        example = example_of(module, (tried.count, *window))
        with contextlib.suppress(CaptureError) if tried is not channels[-1] else contextlib.nullcontext():
            ended = _ended_at_layer(module, example, tried)
            graph = graph_of(ended, example, partial(explain, ended, example, tried))
            if isinstance(ended.module, torch.fx.GraphModule):
                copy_paths(ended.module.graph, graph.graph)
            return graph, tried.count, ended
    raise AssertionError("the last number of channels returns or raises")


def _ended_at_layer(module: ScoreOutput, example: torch.Tensor, channels: Channels) -> ScoreOutput:
    """A module whose score is a layer of a graph, or an operator between modules, as one that ends there."""
    name = module.choice.name
    if not isinstance(name, str):
        return module
    with unchanged(module), torch.no_grad(), quiet():
        if module.eval().finds(example):
            return module
    graph = module.module
    named = isinstance(graph, torch.fx.GraphModule) and any(map(layer_paths, graph.graph.nodes))
    if not named or module.of_signals:
        graph = graph_of(graph, example, partial(explain, ScoreOutput(graph, None), example, channels))
    assert isinstance(graph, torch.fx.GraphModule)
    node = layer_node(graph.graph, name)
    if node is None:
        raise module.unknown(example, layer_names(graph.graph))
    choice = replace(module.choice, name=None, layer=name)
    return ScoreOutput(ended_at(graph, node), choice, of_signals=module.of_signals)


def _features(module: ScoreOutput, whole: nn.Module, graph: torch.fx.GraphModule, example: torch.Tensor) -> str | None:
    """What the vectors of a part of the whole network are, in words, where they are no scores."""
    if not module.choice.is_given:
        return None
    windows = example if example.device.type == "meta" else noise(graph, example, 2)
    with unchanged(module), unchanged(whole), torch.no_grad(), quiet(), cuda_arithmetic(windows.device):
        return module.eval().features(windows, whole.eval())


def _timm_config(module: nn.Module) -> dict[str, Any]:
    cfg = getattr(module, "pretrained_cfg", None)
    return dict(cfg) if isinstance(cfg, dict) else {}


def _timm_names(cfg: dict[str, Any]) -> tuple[str, ...] | None:
    names = cfg.get("label_names")
    return tuple(map(str, names)) if names else None
