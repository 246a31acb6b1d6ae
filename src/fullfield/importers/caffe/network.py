"""Builds a Caffe network as a module: one submodule for each layer, run in the file's order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fullfield.errors import CaptureError, FullfieldError, first_line
from fullfield.importers.caffe import merge, pointwise, spatial
from fullfield.importers.caffe.layer import CaffeLayer, LayerBuilder
from fullfield.importers.caffe.schema import Message
from fullfield.importers.caffe.selection import ScoringLayers, check_types
from fullfield.importers.caffe.weights import CaffeWeights, Factors
from fullfield.importers.limits import PROBE_BATCH, DryRun, LayerRefused

BUILDERS: Mapping[str, LayerBuilder] = {**spatial.LAYERS, **pointwise.LAYERS, **merge.LAYERS}


class CaffeModule(nn.Module):
    """The layers from the image to the score. Values have Caffe's names; a layer may overwrite a value that it reads.

    ``caffe_factors`` has ``lr_mult`` and ``decay_mult`` by the parameters' names; ``parameter_groups`` turns them into
    groups for an optimiser.

    BlobShape: ``(n, c, y, x)`` -> the shape of the score
    """

    def __init__(self, image: str, score: str) -> None:
        super().__init__()
        self.image, self.score = image, score
        self.steps: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self.layer_names: dict[str, str] = {}
        self.caffe_factors: dict[str, Factors] = {}

    def append(self, layer: Message, module: nn.Module) -> None:
        """Adds a layer's module under the layer's name, changed to a valid and free attribute."""
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
    """A name without dots that is not an attribute of the module."""
    plain = re.sub(r"[^\w/-]+", "_", name) or "_"
    free, count = plain, 1
    while hasattr(owner, free):
        count += 1
        free = f"{plain}_{count}"
    return free


def build(
    chosen: ScoringLayers, weights: CaffeWeights, shape: tuple[int, int, int], path: Path
) -> tuple[CaffeModule, dict[str, tuple[int, ...]]]:
    """The module of the selected layers, and the input shape of each of them, by attribute.

    Args:
        shape: channels, height and width of the window.

    Raises:
        CaptureError: a layer is unknown, does not fit, or lacks its weights.
    """
    check_types(chosen.layers, frozenset(BUILDERS), path)
    net = CaffeModule(chosen.image, chosen.score)
    dry, entered = DryRun(), {}
    try:
        values = {chosen.image: dry.value(shape)}
    except LayerRefused as refusal:
        raise CaptureError(str(path), f"takes windows of {shape}: {refusal}", fix="give a smaller window") from refusal
    for layer in chosen.layers:
        missing = [bottom for bottom in layer.bottom if bottom not in values]
        if missing or not layer.bottom:
            what = f"reads {', '.join(missing) or 'nothing'}, which no earlier layer computes"
            raise CaptureError(f"{path}: {layer.name}", what, fix="check the order and the names of the layers")
        inputs = [values[bottom] for bottom in layer.bottom]
        values |= _layer(
            net, CaffeLayer(layer, tuple(tuple(v.shape) for v in inputs), weights, chosen.shape[0]), inputs, dry, path
        )
        entered[net.steps[-1][0]] = tuple(inputs[0].shape[1:])
    if weights.missing:
        listed = ", ".join(weights.missing[:12])
        raise CaptureError(str(path), f"has no weights for {listed}", fix="give the weights of this network")
    try:
        weights.draw()
    except LayerRefused as refusal:
        raise CaptureError(
            str(path), str(refusal), fix="give its weights, a .caffemodel: weights=, --weights"
        ) from refusal
    net.caffe_factors = weights.factors(net)
    return net, entered


def _layer(net: CaffeModule, layer: CaffeLayer, inputs: list[Tensor], dry: DryRun, path: Path) -> dict[str, Tensor]:
    """Appends one layer's module and returns its tops, without data."""
    where = f"{path}: {layer.message.name} ({layer.message.type})"
    fix = "check the window and that weights and network belong together"
    try:
        module = BUILDERS[layer.message.type](layer)
        result = dry(module, *inputs)
    except FullfieldError as error:
        raise CaptureError(where, error.what, fix=error.fix) from error
    except Exception as error:  # torch raises many types for sizes that do not fit
        raise CaptureError(where, first_line(error), fix=fix) from error
    results = result if isinstance(result, tuple) else (result,)
    tops = layer.message.top
    if len(results) != len(tops) or any(r.shape[:1] != (PROBE_BATCH,) for r in results):
        raise CaptureError(where, f"has {len(tops)} tops for {len(results)} results", fix="check the layer")
    if len(set(tops)) != len(tops):
        raise CaptureError(where, "has two tops of the same name", fix="check the layer")
    net.append(layer.message, module)
    found: dict[str, torch.Tensor] = dict(zip(tops, results, strict=True))
    return found
