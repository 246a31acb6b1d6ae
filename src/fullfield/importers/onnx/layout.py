"""Maps ONNX operators that reshape, transpose, expand or pad."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import BATCHES, Known, OnnxValue, Traced, affine, at_batch, listed

aten = torch.ops.aten

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@operator("Reshape")
def reshape(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A row-major reshape; a batch size fixed in the target is made free."""
    x = call.input(0)
    zeros = bool(call.integer("allowzero", 0))
    if "shape" in call.attributes:
        target = Known.constant(torch.tensor(call.ints("shape"), dtype=torch.int64))
    else:
        target = call.known(1)
    low, high = (listed(t) for t in target.tensors)
    literal = target.fixed and isinstance(x, Traced)
    if not (literal and b.frozen):
        shapes = [resolve(t, shape, zeros) for t, shape in zip((low, high), x.shapes, strict=True)]
        if all(math.prod(s) == math.prod(shape) for s, shape in zip(shapes, x.shapes, strict=True)):
            return b.reshape(x, (shapes[0], shapes[1]))
    if not literal:
        raise LayerRefused(f"shape {low} does not fit an input of shape {at_batch(x.shapes, 1)} per window")
    b.freed = True
    return b.reshape(x, free_batch_shapes(low, x, b.batch, zeros=zeros))


def resolve(target: Sequence[int], shape: Sequence[int], zeros: bool) -> list[int]:
    """ONNX's target shape with 0 (the input's size) and -1 (the remaining size) replaced.

    Examples:
        >>> resolve([0, -1], [2, 3, 4], False)
        [2, 12]
    """
    if not zeros:
        target = [shape[i] if size == 0 else size for i, size in enumerate(target)]
    if list(target).count(-1) != 1:
        return list(target)
    others = math.prod(size for size in target if size != -1)
    return [math.prod(shape) // others if size == -1 and others else size for size in target]


def free_batch_shapes(target: list[int], x: OnnxValue, batch: int, *, zeros: bool) -> tuple[list[int], list[int]]:
    """The target shape at the two batch sizes, from a target for one batch size.

    Row-major order determines the axis of the batch: the first one that as many elements precede as in ``x``.
    """
    here = at_batch(x.shapes, batch)
    wanted = resolve(target, here, zeros)
    if math.prod(wanted) != math.prod(here):
        raise LayerRefused(f"shape {target} does not fit an input of shape {list(here)}")
    axis = next((i for i, (a, c) in enumerate(zip(*x.shapes, strict=True)) if a != c), None)
    if axis is None:
        return wanted, wanted
    _, offset = affine(x.shapes[0][axis], x.shapes[1][axis])
    before = math.prod(here[:axis])
    for i, size in enumerate(wanted):
        if math.prod(wanted[:i]) == before and size % batch == 0 and offset == 0:
            low, high = ([*wanted[:i], size // batch * n, *wanted[i + 1 :]] for n in BATCHES)
            return low, high
    raise LayerRefused(f"shape {target} contains a batch of {batch} that cannot be made free")


@operator("Flatten")
def flatten(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Two axes: those before ``axis``, and the others."""
    x, axis = call.input(0), call.integer("axis", 1)
    rank = len(x.shapes[0])
    axis = axis % rank if axis < 0 else axis
    shapes = [[math.prod(shape[:axis]), math.prod(shape[axis:])] for shape in x.shapes]
    return b.reshape(x, (shapes[0], shapes[1]))


@operator("Transpose")
def transpose(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """A permutation of axes."""
    x = call.input(0)
    return permuted(b, x, call.ints("perm", list(range(len(x.shapes[0])))[::-1]) or [])


def permuted(b: AtenBuilder, x: OnnxValue, order: Sequence[int]) -> OnnxValue:
    """Axes in another order; consecutive permutations are merged, and the identity is left out."""
    order = list(order)
    if isinstance(x, Traced) and x.node.target is aten.permute.default:
        first: list[int] = list(x.node.args[1])  # type: ignore[arg-type]  # an fx argument: the list given below
        inner, together = x.node.args[0], [first[i] for i in order]
        back = [together.index(i) for i in range(len(together))]
        at = (x.tensors[0].permute(order).permute(back), x.tensors[1].permute(order).permute(back))
        assert isinstance(inner, torch.fx.Node)
        x, order = Traced(inner, at), together
    if order == list(range(len(order))):
        return x
    return b.call(aten.permute.default, x, order)


def by_channels_first(
    b: AtenBuilder, call: OnnxCall, mapping: Callable[[AtenBuilder, OnnxCall], OnnxValue]
) -> OnnxValue:
    """An operator on maps ``(n, y, x, c)``, computed on ``(n, c, y, x)``."""
    inputs = [call.inputs[0] and permuted(b, call.input(0), [0, 3, 1, 2]), *call.inputs[1:]]
    attributes = {**call.attributes, "channels_last": 0}
    return permuted(b, mapping(b, replace(call, inputs=tuple(inputs), attributes=attributes)), [0, 2, 3, 1])


@operator("Squeeze")
def squeeze(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Removes axes of size 1: the given ones, or all but the batch."""
    x, axes = call.input(0), call.integers("axes", 1)
    rank = len(x.shapes[0])
    if axes is None:
        axes = [i for i in range(rank) if x.shapes[0][i] == x.shapes[1][i] == 1]
    axes = [a % rank for a in axes]
    batch = [a for a in axes if x.shapes[0][a] != x.shapes[1][a]]
    if batch and not b.frozen:
        raise LayerRefused(f"squeezes axis {batch[0]}, the batch")
    axes = [a for a in axes if a not in batch]
    return b.call(aten.squeeze.dims, x, axes) if axes else x


@operator("Unsqueeze")
def unsqueeze(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Inserts axes of size 1."""
    x, axes = call.input(0), call.integers("axes", 1) or []
    rank = len(x.shapes[0]) + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = b.call(aten.unsqueeze.default, x, axis)
    return x


@operator("Expand")
def expand(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Broadcasts to a shape."""
    x, target = call.input(0), call.known(1)
    shapes = [broadcast(shape, listed(t)) for shape, t in zip(x.shapes, target.tensors, strict=True)]
    added = len(shapes[0]) - len(x.shapes[0])
    for _ in range(added):
        x = b.call(aten.unsqueeze.default, x, 0)
    return b.expand(x, (shapes[0], shapes[1]))


def broadcast(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The shape that both broadcast to.

    Examples:
        >>> broadcast([3, 1], [2, 1, 4])
        [2, 3, 4]
    """
    rank = max(len(first), len(second))
    pairs = zip([1] * (rank - len(first)) + [*first], [1] * (rank - len(second)) + [*second], strict=True)
    shape = []
    for a, c in pairs:
        if a != c and 1 not in (a, c):
            raise LayerRefused(f"shapes {list(first)} and {list(second)} do not broadcast")
        shape.append(c if a == 1 else a)
    return shape


@operator("DepthToSpace")
def depth_to_space(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Moves channels into blocks of cells."""
    x, size = call.input(0), call.integer("blocksize", 1)
    if call.text("mode", "DCR") == "CRD":
        return b.call(aten.pixel_shuffle.default, x, size)
    split = [(n, size, size, c // size**2, h, w) for n, c, h, w in x.shapes]
    joined = [(n, c // size**2, h * size, w * size) for n, c, h, w in x.shapes]
    blocks = b.call(aten.permute.default, b.reshape(x, (split[0], split[1])), [0, 3, 4, 1, 5, 2])
    return b.reshape(blocks, (joined[0], joined[1]))


@operator("SpaceToDepth")
def space_to_depth(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Moves blocks of cells into channels."""
    x, size = call.input(0), call.integer("blocksize", 1)
    if call.text("mode", "DCR") == "CRD":
        return b.call(aten.pixel_unshuffle.default, x, size)
    split = [(n, c, h // size, size, w // size, size) for n, c, h, w in x.shapes]
    joined = [(n, c * size**2, h // size, w // size) for n, c, h, w in x.shapes]
    blocks = b.call(aten.permute.default, b.reshape(x, (split[0], split[1])), [0, 3, 5, 1, 2, 4])
    return b.reshape(blocks, (joined[0], joined[1]))


@operator("Pad")
def pad(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Pads with a constant, by reflection, by the edge or by wrapping."""
    x, rank = call.input(0), len(call.input(0).shapes[0])
    pads = call.integers("pads", 1) or call.ints("paddings") or []
    axes = call.integers("axes", 3) or list(range(rank))
    mode = call.text("mode", "constant")
    if mode not in _MODES or len(pads) != 2 * len(axes):
        raise LayerRefused(f"mode {mode!r} with {len(pads)} pads for {len(axes)} axes")
    low, high = dict.fromkeys(range(rank), 0), dict.fromkeys(range(rank), 0)
    for i, axis in enumerate(axes):
        low[axis % rank], high[axis % rank] = pads[i], pads[i + len(axes)]
    used = [axis for axis in range(rank) if low[axis] or high[axis]]
    if not used:
        return x
    first = min(used) if mode == "constant" else min(2, *used)
    pairs = [size for axis in reversed(range(first, rank)) for size in (low[axis], high[axis])]
    if mode != "constant":
        return b.call(aten.pad.default, x, pairs, _MODES[mode])
    return b.call(aten.pad.default, x, pairs, "constant", _padding_value(call))


def _padding_value(call: OnnxCall) -> float:
    if call.optional(2) is None:
        return call.real("value", 0.0)
    number = call.known(2)
    if not number.fixed or number.tensors[0].numel() != 1:
        raise LayerRefused("its padding value is not one number")
    return float(number.tensors[0].item())
