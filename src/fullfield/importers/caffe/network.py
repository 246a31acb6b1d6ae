"""The module that a Caffe network is: one submodule a layer, run in the file's order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError, FullfieldError
from fullfield.importers.caffe import merge as joints
from fullfield.importers.caffe import pointwise, spatial
from fullfield.importers.caffe.layer import Builder, Layer
from fullfield.importers.caffe.plan import Plan, check_types
from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.weights import Factors, Weights
from fullfield.importers.limits import PROBE_BATCH, DryRun, Refusal, first_line

BUILDERS: Mapping[str, Builder] = {**spatial.LAYERS, **pointwise.LAYERS, **joints.LAYERS}


class CaffeNet(nn.Module):
    """The layers from the image to one value; values go by Caffe's names, and a layer may replace what it reads.

    ``caffe_factors`` has ``lr_mult`` and ``decay_mult`` by the parameters' names; ``parameter_groups`` makes an
    optimiser's groups of them.

    Shape: ``(n, c, y, x)`` -> what the file's score has
    """

    def __init__(self, image: str, score: str) -> None:
        super().__init__()
        self.image, self.score = image, score
        self.steps: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self.layer_names: dict[str, str] = {}
        self.caffe_factors: dict[str, Factors] = {}

    def append(self, layer: Message, module: nn.Module) -> None:
        """Adds a layer's module under the layer's name, made fit for an attribute."""
        name = _attribute(layer.name or layer.type, self)
        self.add_module(name, module)
        self.layer_names[name] = layer.name
        self.steps.append((name, tuple(layer.bottom), tuple(layer.top)))

    def forward(self, x: Tensor) -> Tensor:
        """The score."""
        values = {self.image: x}
        for name, bottoms, tops in self.steps:
            result = self.get_submodule(name)(*(values[bottom] for bottom in bottoms))
            values |= zip(tops, result if isinstance(result, tuple) else (result,), strict=True)
        return values[self.score]


def _attribute(name: str, owner: nn.Module) -> str:
    """A name without dots that no attribute of the module has."""
    plain = re.sub(r"[^\w/-]+", "_", name) or "_"
    free, count = plain, 1
    while hasattr(owner, free):
        count += 1
        free = f"{plain}_{count}"
    return free


def build(
    chosen: Plan, weights: Weights, shape: tuple[int, int, int], path: Path
) -> tuple[CaffeNet, dict[str, tuple[int, ...]]]:
    """The module of a planned network, and the shape of what enters each of its layers, by attribute.

    Args:
        shape: channels, height and width of the window.

    Raises:
        CaptureError: a layer is unknown, does not fit, or lacks its weights.
    """
    check_types(chosen.layers, frozenset(BUILDERS), path)
    net = CaffeNet(chosen.image, chosen.score)
    dry, entered = DryRun(), {}
    try:
        values = {chosen.image: dry.value(shape)}
    except Refusal as refusal:
        raise CaptureError(str(path), f"takes windows of {shape}: {refusal}", fix="give a smaller window") from refusal
    for layer in chosen.layers:
        missing = [bottom for bottom in layer.bottom if bottom not in values]
        if missing or not layer.bottom:
            what = f"reads {', '.join(missing) or 'nothing'}, which no layer before it gives"
            raise CaptureError(f"{path}: {layer.name}", what, fix="check the layers' order and names")
        inputs = [values[bottom] for bottom in layer.bottom]
        values |= _layer(
            net, Layer(layer, tuple(tuple(v.shape) for v in inputs), weights, chosen.shape[0]), inputs, dry, path
        )
        entered[net.steps[-1][0]] = tuple(inputs[0].shape[1:])
    if weights.missing:
        listed = ", ".join(weights.missing[:12])
        raise CaptureError(str(path), f"has no weights for {listed}", fix="give the weights of this network")
    net.caffe_factors = weights.factors(net)
    return net, entered


def _layer(net: CaffeNet, layer: Layer, inputs: list[Tensor], dry: DryRun, path: Path) -> dict[str, Tensor]:
    """Appends one layer's module; its tops, without data."""
    where = f"{path}: {layer.message.name} ({layer.message.type})"
    fix = "check the window and that weights and network belong together"
    try:
        module = BUILDERS[layer.message.type](layer)
        result = dry(module, *inputs)
    except FullfieldError as error:
        raise CaptureError(where, error.what, fix=error.fix) from error
    except Exception as error:  # torch says why numbers do not fit in many kinds of exception
        raise CaptureError(where, first_line(error), fix=fix) from error
    results = result if isinstance(result, tuple) else (result,)
    tops = layer.message.top
    if len(results) != len(tops) or any(r.shape[:1] != (PROBE_BATCH,) for r in results):
        raise CaptureError(where, f"has {len(tops)} tops for {len(results)} results", fix="check the layer")
    if len(set(tops)) != len(tops):
        raise CaptureError(where, "names two tops alike", fix="check the layer")
    net.append(layer.message, module)
    found: dict[str, torch.Tensor] = dict(zip(tops, results, strict=True))
    return found
