"""Shapes of what frequent operators give, found without torch's own inference.

That inference runs Python code for every call, and its first use imports torch's compiler and SymPy: half a second,
more than reading a network takes. A rule here answers only for arguments of which it is certain.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fullfield.geometry.axis import Op
from fullfield.graph.calls import bound, leaves, pair
from fullfield.layers import custom_operators as own
from fullfield.layers import recurrent

aten = torch.ops.aten
Shape = tuple[int, ...]
ShapeRule = Callable[[Mapping[str, Any]], Shape | None]

# Views of memory, or numbers: torch computes them without Python code of its own.
_DIRECT = frozenset(
    (
        *(aten.permute.default, aten.transpose.int, aten.view.default, aten.flatten.using_ints, aten.unflatten.int),
        *(aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.select.int, aten.slice.Tensor),
        *(aten.narrow.default, aten.expand.default, aten.unbind.int, aten.split.Tensor, aten.split_with_sizes.default),
        *(aten.chunk.default, aten.detach.default, aten.sym_size.int),
        *(operator.getitem, operator.mul, operator.add, operator.sub, operator.floordiv),
    )
)


def known_result(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operator gives for tensors without data, on torch's ``meta`` device.

    Returns:
        A tensor without data, several, or a number; ``None`` where no rule is certain of it.

    Raises:
        RuntimeError: views that do not fit their tensors.
    """
    if target in _DIRECT:
        return target(*args, **kwargs)
    if target in _RESULTS:
        return None if kwargs else _RESULTS[target](*args)
    rule = _RULES.get(target)
    if rule is None:
        return None
    given = bound(target, args, kwargs)
    tensors = leaves(list(given.values()), Tensor)
    dtype = tensors[0].dtype
    if not (dtype.is_floating_point or target in _OF_ANY_TYPE):
        return None
    if any(t.dtype != dtype or not t.is_contiguous() for t in tensors):
        return None
    shape = rule(given)
    return None if shape is None else torch.empty(shape, dtype=dtype, device="meta")


def is_frequent(target: Any) -> bool:
    """Whether there is a rule for an operator, so that ``multiply_adds`` counts what it multiplies."""
    return target in _DIRECT or target in _RULES or target in _RESULTS


def multiply_adds(target: Any, args: Sequence[Any], result: Any) -> int:
    """Multiply-adds of a frequent operator: those of a convolution, a linear or a recurrent layer, else none."""
    if target in (aten.conv2d.default, aten.linear.default):
        return int(result.numel() * args[1].numel()) // max(1, len(args[1]))
    if target in recurrent.GATES:
        return recurrent.multiply_adds(args[0], args[2])
    return 0


def _looked_up(table: Tensor, places: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of a table at places; none where the table is looked up along other axes than the first."""
    first = places[0] if len(places) == 1 else None
    if first is None or first.dtype != torch.int64 or not first.is_contiguous() or not table.is_contiguous():
        return None
    return torch.empty((*first.shape, *table.shape[1:]), dtype=table.dtype, device="meta")


def _filled(x: Tensor, index: Tensor, value: float) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def _recurrent(gates: int, *args: Any) -> tuple[Tensor, ...] | None:
    """Of all steps, and the last states; torch's own inference runs every step."""
    if len({tensor.dtype for tensor in leaves(args, Tensor)}) > 1 or not recurrent.fits(gates, *args):
        return None
    return recurrent.without_numbers(*args)


def _pointwise(given: Mapping[str, Any]) -> Shape | None:
    """The common shape of all tensors, whose sizes of 1 are repeated."""
    shapes = [tuple(value.shape) for value in given.values() if isinstance(value, Tensor)]
    numbers = [value for value in given.values() if not isinstance(value, Tensor)]
    if not all(value is None or isinstance(value, (int, float, str)) for value in numbers):
        return None
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    sizes = [{size for size in along if size != 1} for along in zip(*aligned, strict=True)]
    if any(len(found) > 1 for found in sizes):
        return None
    return tuple(found.pop() if found else 1 for found in sizes)


def _like_first(given: Mapping[str, Any]) -> Shape | None:
    """The shape of the first argument."""
    return tuple(next(iter(given.values())).shape)


def _in_evaluation(given: Mapping[str, Any]) -> Shape | None:
    return None if given["train"] else _like_first(given)


def _batch_norm(given: Mapping[str, Any]) -> Shape | None:
    shape = tuple(given["input"].shape)
    weights = [given[name] for name in ("weight", "bias", "running_mean", "running_var")]
    fits = len(shape) > 1 and all(w is None or tuple(w.shape) == shape[1:2] for w in weights)
    return shape if fits and not given["training"] and given["running_mean"] is not None else None


def _layer_norm(given: Mapping[str, Any]) -> Shape | None:
    shape, normed = tuple(given["input"].shape), tuple(given["normalized_shape"])
    weights = [w for w in (given["weight"], given["bias"]) if w is not None]
    fits = normed and shape[-len(normed) :] == normed and all(tuple(w.shape) == normed for w in weights)
    return shape if fits else None


def _prelu(given: Mapping[str, Any]) -> Shape | None:
    """The shape of the input, where there is one slope, or one for each channel."""
    shape, slopes = tuple(given["self"].shape), tuple(given["weight"].shape)
    return shape if len(slopes) == 1 and len(shape) > 1 and slopes in ((1,), shape[1:2]) else None


def _softmax(given: Mapping[str, Any]) -> Shape | None:
    shape = tuple(given["self"].shape)
    return shape if given.get("dtype") is None and -len(shape) <= given["dim"] < len(shape) else None


def _conv(given: Mapping[str, Any]) -> Shape | None:
    (n, *_), weight, bias = given["input"].shape, given["weight"].shape, given["bias"]
    if given["input"].dim() != 4 or len(weight) != 4 or isinstance(given["padding"], str):
        return None
    channels, groups = given["input"].shape[1], given["groups"]
    if groups < 1 or channels != weight[1] * groups or weight[0] % groups or min(weight) < 1:
        return None
    if bias is not None and tuple(bias.shape) != (weight[0],):
        return None
    return _cells(given, weight[2:], (n, weight[0]))


def _pool(given: Mapping[str, Any]) -> Shape | None:
    x, kernel = given["self"].shape, pair(given["kernel_size"])
    padding = pair(given["padding"])
    if len(x) != 4 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        return None
    return _cells(given, kernel, x[:2])


def _cells(given: Mapping[str, Any], kernel: Sequence[int], front: Sequence[int]) -> Shape | None:
    """The shape after a kernel was moved over rows and columns; none where it fits nowhere."""
    x = next(iter(given.values())).shape
    strides, dilations = pair(given["stride"] or list(kernel)), pair(given.get("dilation", 1))
    if min(*kernel, *strides, *dilations, *x, *(1 + p for p in pair(given["padding"]))) < 1:
        return None
    options = zip(kernel, strides, pair(given["padding"]), dilations, strict=True)
    ceil = bool(given.get("ceil_mode"))
    sizes = [Op(k, s, p, p, d, ceil=ceil).cells(n) for (k, s, p, d), n in zip(options, x[-2:], strict=True)]
    return (*front, *sizes) if min(sizes) > 0 else None


def _adaptive_pool(given: Mapping[str, Any]) -> Shape | None:
    x, sizes = given["self"].shape, given["output_size"]
    return (*x[:2], *sizes) if len(x) == 4 and len(sizes) == 2 and min(*sizes, *x) > 0 else None


def _reduction(given: Mapping[str, Any]) -> Shape | None:
    shape, dims = tuple(given["self"].shape), given["dim"]
    if not dims or given["dtype"] is not None or not all(-len(shape) <= d < len(shape) for d in dims):
        return None
    taken = {d % len(shape) for d in dims}
    if len(taken) < len(dims):
        return None
    kept = [1 if d in taken else size for d, size in enumerate(shape) if given["keepdim"] or d not in taken]
    return tuple(kept) if math.prod(shape) else None


def _linear(given: Mapping[str, Any]) -> Shape | None:
    shape, weight, bias = tuple(given["input"].shape), tuple(given["weight"].shape), given["bias"]
    fits = len(shape) > 1 and len(weight) == 2 and shape[-1] == weight[1]
    return (*shape[:-1], weight[0]) if fits and (bias is None or tuple(bias.shape) == weight[:1]) else None


def _concatenation(given: Mapping[str, Any]) -> Shape | None:
    shapes = [list(each.shape) for each in given["tensors"]]
    rank = len(shapes[0])
    if not rank or not -rank <= given["dim"] < rank or any(len(shape) != rank for shape in shapes):
        return None
    dim = given["dim"] % rank
    total = sum(shape.pop(dim) for shape in shapes)
    if any(shape != shapes[0] for shape in shapes):
        return None
    return (*shapes[0][:dim], total, *shapes[0][dim:])


def _reshape(given: Mapping[str, Any]) -> Shape | None:
    """A new shape with at most one -1, whose size follows from the others."""
    count, shape = given["self"].numel(), list(given["shape"])
    if not all(isinstance(size, int) for size in shape) or min(shape, default=0) < -1 or shape.count(-1) > 1:
        return None
    rest = math.prod(size for size in shape if size != -1)
    if -1 in shape:
        if rest == 0 or count % rest:
            return None
        shape[shape.index(-1)] = count // rest
    return tuple(shape) if math.prod(shape) == count else None


def _padding(given: Mapping[str, Any]) -> Shape | None:
    shape, pads = list(given["self"].shape), given["pad"]
    if len(pads) % 2 or len(pads) > 2 * len(shape) or min(pads, default=0) < 0 or not any(pads):
        return None
    for k in range(len(pads) // 2):
        shape[-1 - k] += pads[2 * k] + pads[2 * k + 1]
    return tuple(shape) if given["self"].numel() else None


_POINTWISE = (
    *(aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default, aten.leaky_relu.default),
    *(aten.elu.default, aten.selu.default, aten.celu.default, aten.silu.default, aten.gelu.default, aten.mish.default),
    *(aten.sigmoid.default, aten.tanh.default, aten.hardswish.default, aten.hardsigmoid.default, aten.softplus.default),
    *(aten.exp.default, aten.sqrt.default, aten.rsqrt.default, aten.erf.default, aten.abs.default, aten.neg.default),
    *(aten.reciprocal.default, aten.pow.Tensor_Scalar, aten.addcmul.default, aten.clamp_min.default),
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor),
    *(aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar),
)
_OF_ANY_TYPE = frozenset((aten.cat.default, aten.reshape.default, aten.contiguous.default))  # numbers are only moved
# What some operators give, by their arguments, where it is more than a shape of the arguments' type.
_RESULTS: dict[OpOverload, Callable[..., Any]] = {
    aten.index.Tensor: _looked_up,
    own.fill_cells.default: _filled,
    **{target: partial(_recurrent, gates) for target, gates in recurrent.GATES.items()},
}
_RULES: dict[OpOverload, ShapeRule] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys((aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default), _in_evaluation),
    **dict.fromkeys((aten.softmax.int, aten.log_softmax.int), _softmax),
    **dict.fromkeys((aten.max_pool2d.default, aten.avg_pool2d.default), _pool),
    **dict.fromkeys((aten.mean.dim, aten.sum.dim_IntList), _reduction),
    **dict.fromkeys((own.sliding_pool.default, own.local_response_norm.default, own.root.default), _like_first),
    aten.batch_norm.default: _batch_norm,
    aten.prelu.default: _prelu,
    aten.layer_norm.default: _layer_norm,
    aten.conv2d.default: _conv,
    aten.adaptive_avg_pool2d.default: _adaptive_pool,
    aten.linear.default: _linear,
    aten.cat.default: _concatenation,
    aten.reshape.default: _reshape,
    aten.contiguous.default: _like_first,
    aten.constant_pad_nd.default: _padding,
}
