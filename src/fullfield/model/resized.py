"""Puts the resizing of windows in front of a network, as part of its graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn import functional as F

from fullfield.errors import CaptureError
from fullfield.graph.attributes import free_name
from fullfield.model.model import Model
from fullfield.model.prefix import call, with_prefix
from fullfield.model.resize_matrix import resize_matrix
from fullfield.model.wide_resizing import resize_in_float32
from fullfield.model.window_resize import WindowResize

aten = torch.ops.aten
PATH = "resize"
"""The layer's name in reports."""

_BY_TORCH: dict[tuple[str, bool], Any] = {
    ("bilinear", False): aten.upsample_bilinear2d.vec,
    ("bicubic", False): aten.upsample_bicubic2d.vec,
    ("bilinear", True): aten._upsample_bilinear2d_aa.vec,
    ("bicubic", True): aten._upsample_bicubic2d_aa.vec,
}


def resized(model: Model, resize: WindowResize) -> Model:
    """The model of windows of another size, which are resized to the network's own.

    Shape: ``(n, c, *resize.window)`` -> ``(n, k)``

    Raises:
        CaptureError: the network takes windows of another size than ``resize`` gives, or resizes them already.
    """
    if model.window != resize.size:
        h, w = model.window
        what = "{}x{} px are not the".format(*resize.size) + f" {h}x{w} px that {model.name} takes"
        raise CaptureError("resize", what, fix=f"pass resize=({h}, {w})" if h != w else f"pass resize={h}")
    if model.resize is not None:
        raise CaptureError("resize", f"{model.name} resizes {model.resize} already", fix="leave it out")
    if resize.window == resize.size:
        return model
    whole = with_prefix(model, lambda graph, root, x: _emit(graph, root, x, resize, model.dtype))
    resize_in_float32(whole, model.dtype)
    return replace(model, graph=whole, window=resize.window, resize=resize)


def _emit(graph: Graph, root: nn.Module, x: Node, resize: WindowResize, dtype: torch.dtype) -> Node:
    """The resizing of ``x``; matrices that it needs are added to ``root``."""
    target = _BY_TORCH.get((resize.interpolation, resize.antialias))
    if target is not None and min(resize.window) > 1:  # torch 2.13 errs where one column is antialiased
        return call(graph, PATH, target, x, list(resize.size), False, None)
    for axis in (1, 0):
        count, cells = resize.window[axis], resize.size[axis]
        if count == cells:
            continue
        matrix = _matrix(resize, count, cells, dtype).to(dtype)
        name = free_name(f"resize_{'yx'[axis]}", dict(root.named_children()) | root._buffers | root._parameters)
        root.register_buffer(name, matrix)
        weight = graph.get_attr(name)
        weight.meta = {"path": PATH}
        turned = x if axis else call(graph, PATH, aten.transpose.int, x, 2, 3)
        x = call(graph, PATH, aten.linear.default, turned, weight)
        x = x if axis else call(graph, PATH, aten.transpose.int, x, 2, 3)
    return x


def _matrix(resize: WindowResize, count: int, cells: int, dtype: torch.dtype) -> Tensor:
    """Weights of one axis. Shape: ``(cells, count)``"""
    kernel = resize.interpolation
    if kernel == "area" or kernel == "lanczos":
        return torch.from_numpy(resize_matrix(kernel, count, cells))
    if kernel == "nearest":
        index = torch.arange(count, dtype=dtype)[None, None]
        return F.one_hot(F.interpolate(index, cells, mode="nearest")[0, 0].long(), count)
    lines = torch.eye(count, dtype=torch.float64)[:, None, :, None].expand(-1, -1, -1, 2)
    return F.interpolate(lines, (cells, 2), mode=kernel, antialias=resize.antialias)[:, 0, :, 0].T.contiguous()
