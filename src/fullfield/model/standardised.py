"""Puts the standardisation of windows in front of a network, as part of its graph."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.fx import Graph, Node

from fullfield.errors import CaptureError
from fullfield.model.model import Model
from fullfield.model.prefix import call, with_prefix
from fullfield.model.window_standardise import STANDARDISED, Standardise

aten = torch.ops.aten
LEAST = 1e-6
"""A deviation or range below it counts as this, so that windows of equal numbers become zeros."""


def standardised(model: Model, how: Standardise) -> Model:
    """The model of windows that are brought to one scale, each by its own numbers, before the network.

    ``(x - mean) / deviation`` with the deviation of all numbers, divided by their count; or
    ``(x - least) / (largest - least)``.

    Raises:
        CaptureError: the network standardises windows already.
    """
    if model.standardise is not None:
        what = f"{model.name} standardises windows already: {STANDARDISED[model.standardise]}"
        raise CaptureError("standardise", what, fix="leave it out")
    return replace(model, graph=with_prefix(model, partial(_write, how)), standardise=how)


def _write(how: Standardise, graph: Graph, root: nn.Module, x: Node) -> Node:
    """Shape: ``(n, c, h, w)`` -> the same"""
    del root
    emit = partial(call, graph, "standardise")
    dims = [2, 3] if how.endswith("channels") else [1, 2, 3]
    if how.startswith("minmax"):
        low = emit(aten.amin.default, x, dims, True)
        size = emit(aten.sub.Tensor, emit(aten.amax.default, x, dims, True), low)
    else:  # in float64: the mean of equal numbers is that number
        mean = emit(aten.mean.dim, emit(aten._to_copy.default, x, dtype=torch.float64), dims, True)
        low = emit(aten.type_as.default, mean, x)
        size = emit(aten.std.correction, x, dims, correction=0, keepdim=True)
    return emit(aten.div.Tensor, emit(aten.sub.Tensor, x, low), emit(aten.clamp.default, size, LEAST))
