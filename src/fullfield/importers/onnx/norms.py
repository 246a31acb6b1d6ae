"""Maps ONNX normalisations and softmax."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.layout import by_channels_first
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import Known, OnnxValue, flat_from
from fullfield.layers import custom_operators as operators

aten = torch.ops.aten


@operator("BatchNormalization")
def batch_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(x - mean) / sqrt(var + eps) * scale + shift`` with running statistics."""
    if call.integer("training_mode", 0) or not call.integer("spatial", 1):
        what = "is in training mode or not spatial; only frozen batch norms per channel work"
        raise LayerRefused(what, fix="export the network in evaluation mode: model.eval()")
    scale, shift, mean, var = call.weight(1), call.weight(2), call.buffer(3), call.buffer(4)
    eps = _epsilon(call, 1e-5)
    return b.call(aten.batch_norm.default, call.input(0), scale, shift, mean, var, False, 0.1, eps, True)


@operator("InstanceNormalization")
def instance_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Normalises each channel of each window."""
    eps = _epsilon(call, 1e-5)
    scale, shift = call.weight(1), call.weight(2)
    return b.call(aten.instance_norm.default, call.input(0), scale, shift, None, None, True, 0.1, eps, True)


@operator("GroupNormalization")
def group_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Normalises each group of channels of each window; one scale per group before opset 21."""
    x, groups = call.input(0), call.integer("num_groups", 1)
    channels = x.shapes[0][1]
    scale, shift = call.weight(1), call.weight(2)
    if call.opset < 21 and groups != channels:
        scale, shift = (_per_channel(v, channels // groups) for v in (scale, shift))
    return b.call(aten.group_norm.default, x, groups, scale, shift, _epsilon(call, 1e-5))


@operator("com.microsoft.GroupNorm")
def group_norm_of_runtime(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Normalises each group of channels, then an activation; channels are last by default."""
    if call.integer("channels_last", 1):
        return by_channels_first(b, call, group_norm_of_runtime)
    eps, scale, shift = _epsilon(call, 1e-5), call.weight(1), call.weight(2)
    y = b.call(aten.group_norm.default, call.input(0), call.integer("groups", 1), scale, shift, eps)
    return b.call(aten.silu.default, y) if call.integer("activation", 0) else y


@operator("LayerNormalization")
def layer_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue | tuple[OnnxValue, ...]:
    """Normalises over the last axes; the other outputs are the mean, and one over the deviation."""
    x, axis = call.input(0), call.integer("axis", -1)
    shape = list(x.shapes[0][axis:])
    if list(x.shapes[1][axis:]) != shape:
        raise LayerRefused("normalises over the batch")
    scale, shift = (_shaped(b, v, shape) for v in (call.weight(1), call.weight(2)))
    target = aten.layer_norm.default if call.outputs == 1 else aten.native_layer_norm.default
    arguments = (x, shape, scale, shift, _epsilon(call, 1e-5))
    return b.call(target, *arguments) if call.outputs == 1 else b.calls(target, *arguments)


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Divides by the root of the mean square over the last axes."""
    x, axis = call.input(0), call.integer("axis", -1)
    shape = list(x.shapes[0][axis:])
    return b.call(aten.rms_norm.default, x, shape, _shaped(b, call.weight(1), shape), _epsilon(call, 1e-5))


@operator("LRN")
def local_response_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x / (bias + alpha/size * sum of squares over neighbouring channels) ** beta``, as one node."""
    x, size = call.input(0), call.integer("size", 1)
    rank = len(x.shapes[0])
    if rank < 3:
        raise LayerRefused(f"on an input of {rank} dimensions")
    if size < 1:
        raise LayerRefused(f"over {size} channels")
    numbers = (call.real("alpha", 1e-4), call.real("beta", 0.75), call.real("bias", 1.0))
    if rank == 4:
        return b.call(operators.local_response_norm.default, x, size, *numbers, (size - 1) // 2)
    shapes = [[*shape[:2], math.prod(shape[2:]), 1] for shape in x.shapes]
    flat = b.reshape(x, (shapes[0], shapes[1]))
    found = b.call(operators.local_response_norm.default, flat, size, *numbers, (size - 1) // 2)
    return b.reshape(found, x.shapes)


@operator("Softmax", "LogSoftmax")
def softmax(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Softmax or its logarithm over an axis; before opset 13 over that axis and all that follow."""
    target = aten.softmax.int if call.op == "Softmax" else aten.log_softmax.int
    x = call.input(0)
    rank = len(x.shapes[0])
    if call.opset >= 13:
        return b.call(target, x, call.integer("axis", -1))
    axis = call.integer("axis", 1) % rank
    if all(size == 1 for size in x.shapes[0][axis + 1 :]):
        return b.call(target, x, axis)
    return b.reshape(b.call(target, b.reshape(x, flat_from(x.shapes, axis)), axis), x.shapes)


def _per_channel(value: OnnxValue | None, repeats: int) -> OnnxValue | None:
    """The values of each group, repeated for its channels."""
    if not isinstance(value, Known) or not value.fixed:
        raise LayerRefused("scale and shift are not constants")
    return replace(value, tensors=(repeated := value.tensors[0].repeat_interleave(repeats), repeated))


def _shaped(b: AtenBuilder, value: OnnxValue | None, shape: list[int]) -> OnnxValue | None:
    """A scale broadcast to the shape that it is applied to."""
    if value is None or list(value.shapes[0]) == shape:
        return value
    if not isinstance(value, Known):
        raise LayerRefused("scale or shift is not a constant")
    spread = b.expand(value, (shape, shape))
    return replace(spread, learned=True) if isinstance(spread, Known) else spread


@operator("MeanVarianceNormalization")
def mean_variance_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``(x - mean) / (deviation + 1e-9)`` over some axes: by default over the map of each channel."""
    x = call.input(0)
    axes = [axis % len(x.shapes[0]) for axis in call.ints("axes", [0, 2, 3]) or []]
    if any(x.shapes[0][axis] != x.shapes[1][axis] for axis in axes):
        raise LayerRefused("normalises over the batch: its windows affect each other")
    centred = b.call(aten.sub.Tensor, x, b.call(aten.mean.dim, x, axes, True))
    variance = b.call(aten.mean.dim, b.call(aten.mul.Tensor, centred, centred), axes, True)
    deviation = b.call(aten.add.Tensor, b.call(aten.sqrt.default, variance), 1e-9)
    return b.call(aten.div.Tensor, centred, deviation)


@operator("LpNormalization")
def lp_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """``x`` over its sum of absolute values, or the root of its sum of squares, along an axis; 0 where that is 0."""
    x, p = call.input(0), call.integer("p", 2)
    axis = call.integer("axis", -1) % len(x.shapes[0])
    if x.shapes[0][axis] != x.shapes[1][axis] or p not in (1, 2):
        raise LayerRefused(f"p = {p} along axis {axis}")
    powers = b.call(aten.abs.default, x) if p == 1 else b.call(aten.mul.Tensor, x, x)
    total = b.call(aten.sum.dim_IntList, powers, [axis], True)
    norm = total if p == 1 else b.call(aten.sqrt.default, total)
    return b.call(aten.div.Tensor, x, b.call(aten.where.self, b.call(aten.eq.Scalar, norm, 0), _one(norm), norm))


def _one(like: OnnxValue) -> Known:
    return Known.constant(torch.ones((), dtype=like.dtype))


@operator("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def skip_layer_norm(b: AtenBuilder, call: OnnxCall) -> OnnxValue | tuple[OnnxValue, ...]:
    """The layer norm, or its form without a mean, of a sum of two and a bias; the fourth output is the sum."""
    plain = call.op.startswith("SkipSimplified")
    total = b.call(aten.add.Tensor, call.input(0), call.input(1))
    bias = call.weight(3 if plain else 4)
    if bias is not None:
        total = b.call(aten.add.Tensor, total, bias)
    shape, eps = [total.shapes[0][-1]], _epsilon(call, 1e-12)
    if plain:
        y = b.call(aten.rms_norm.default, total, shape, call.weight(2), eps)
    else:
        y = b.call(aten.layer_norm.default, total, shape, call.weight(2), call.weight(3), eps)
    return (y, y, y, total)


def _epsilon(call: OnnxCall, default: float) -> float:
    """What is added to a variance.

    Raises:
        LayerRefused: it is below zero, which exporters write where they never set it.
    """
    found = call.real("epsilon", default)
    if not found >= 0:
        raise LayerRefused(f"adds {found:g} to its variance", fix="export it again, by another version of the exporter")
    return found
