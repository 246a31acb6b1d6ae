"""Networks of timm with weights from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from fullfield.arguments import nearest
from fullfield.errors import CaptureError, first_line
from fullfield.importers.checkpoints.fit import fill, head_size, misfit, under_prefix
from fullfield.importers.checkpoints.network import CheckpointNetwork, listed_names, resize_text
from fullfield.importers.checkpoints.packages import timm_package
from fullfield.importers.checkpoints.state_dict import StateDict, remade
from fullfield.importers.checkpoints.timm_layouts import in_todays_layout
from fullfield.model.torch_export import parse_window


def build_timm(
    name: str, state: StateDict, *, config: Mapping[str, Any], channels: int | None, stated_in: str = ""
) -> CheckpointNetwork:
    """A network of timm with these weights.

    Args:
        name: of the architecture, with a tag or without: ``resnet18``, ``resnet18.a1_in1k``.
        state: the weights.
        config: a ``config.json`` of timm; empty where there is none.
        channels: of the input; where the weights have others, they are summed or repeated as timm does it.
        stated_in: what names the architecture, for errors.

    Raises:
        CaptureError: timm is not installed or has no such network, or the weights are of another.
    """
    timm = timm_package(f"timm:{name}")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = nearest(architecture, timm.list_models())
        fix = f"use {', '.join(near)}" if near else "see timm.list_models()"
        raise CaptureError(
            stated_in or f"timm:{name}", f"timm {timm.__version__} has no network {architecture}", fix=fix
        )
    known = timm.get_pretrained_cfg(name, allow_unregistered=True) or timm.get_pretrained_cfg(architecture)
    cfg = {**(known.to_dict() if known else {}), **_mapping(config, "pretrained_cfg")}
    arguments = dict(_mapping(config, "model_args"))
    stated = {key: config[key] for key in ("num_classes", "global_pool") if key in config}
    make = _maker(timm, architecture, cfg)
    with_default_head = _without_numbers(make, {**stated, **arguments})
    expected = with_default_head.state_dict()
    state = under_prefix(state, expected)
    if misfit(state, expected):
        state = in_todays_layout(timm, architecture, state, with_default_head)
    if "num_classes" not in stated | arguments and (classes := head_size(state, cfg.get("classifier"))):
        arguments["num_classes"] = classes
    first = cfg.get("first_conv")
    own = _input_channels(state, first)
    wanted = channels or arguments.get("in_chans") or own
    if wanted and own and wanted != own and isinstance(first, str):
        state = _adapted(timm, state, first, wanted, own)
    if wanted:
        arguments["in_chans"] = wanted
    module = make({**stated, **arguments})
    fill(module, state, f"timm's {architecture}", stated_in)
    labels = listed_names(config.get("label_names") or cfg.get("label_names"))
    size = cfg.get("input_size")
    window = None if size is None else parse_window((int(size[1]), int(size[2])))
    return CheckpointNetwork(
        module,
        architecture,
        window,
        class_names=labels,
        facts=(
            ("architecture", f"{architecture} of timm {timm.__version__}"),
            ("weights", state.text),
            *_resize(cfg, window),
        ),
    )


def _maker(timm: Any, architecture: str, cfg: Mapping[str, Any]) -> Any:
    def make(arguments: Mapping[str, Any]) -> Any:
        try:
            return timm.create_model(architecture, pretrained=False, pretrained_cfg=dict(cfg), **arguments).eval()
        except Exception as error:  # whatever the network's constructor raises for a configuration
            text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            what = f"cannot be made with {text} ({first_line(error)})"
            raise CaptureError(f"timm:{architecture}", what, fix="check model_args of its config.json") from error

    return make


def _without_numbers(make: Any, arguments: Mapping[str, Any]) -> Any:
    """The network without memory for its weights, where its constructor needs no numbers of them."""
    try:
        with torch.device("meta"):
            return make(arguments)
    except CaptureError:
        return make(arguments)


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _input_channels(state: StateDict, first: object) -> int | None:
    """Input channels of the weights of the first convolution, by its name."""
    weight = state.tensors.get(f"{first}.weight") if isinstance(first, str) else None
    return None if weight is None or weight.dim() != 4 else int(weight.shape[1])


def _adapted(timm: Any, state: StateDict, first: str, channels: int, own: int) -> StateDict:
    """The weights with the first convolution's for another number of channels."""
    weight = f"{first}.weight"
    changed = timm.models.adapt_input_conv(channels, state.tensors[weight], own)
    how = "summed to 1 channel" if channels == 1 else f"repeated to {channels} channels"
    return remade(state, {**state.tensors, weight: changed}, f"{weight} {how} from {own}, as timm does")


def _resize(cfg: Mapping[str, Any], window: tuple[int, int] | None) -> tuple[tuple[str, str], ...]:
    """How timm resizes images for evaluation."""
    if window is None or "interpolation" not in cfg:
        return ()
    part, mode = float(cfg.get("crop_pct") or 0.875), cfg.get("crop_mode") or "center"
    sizes = tuple(math.floor(side / part) for side in window)
    if mode == "squash" or sizes[0] != sizes[1]:
        text = resize_text("to", f"{sizes[0]}x{sizes[1]}", cfg["interpolation"], window if sizes != window else None)
    else:
        edge = "longer side to" if mode == "border" else "shorter side to"
        text = resize_text(edge, sizes[0], cfg["interpolation"], window)
    return (("resize", text),)
