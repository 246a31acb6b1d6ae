"""Windows scaled and shifted by numbers of their own: what is linear after that is shared, on the map before it.

A convolution of ``(x - m) / s`` is that of ``x``, which windows share, less ``m`` times that of ones, over ``s``.
Activations that never fall and largest cells follow the same way: the largest of ``a(f * x + t)`` under a kernel is
``a(f * largest + t)`` for ``f >= 0``. Any other operator ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from fullfield.canonical.context import Context, Rule
from fullfield.canonical.evaluate import depends_on, evaluate
from fullfield.canonical.refusal import Refusal
from fullfield.canonical.rules import padding, reductions, removed
from fullfield.canonical.rules.pointwise import ALIASES, as_type, fit
from fullfield.canonical.signs import is_nonnegative, is_range
from fullfield.canonical.values import CanonicalValue, Const, Mapped, Outputs, Standardised, Term

aten = torch.ops.aten
Rules = Callable[[Any], Rule | None]

_BY_CHANNEL = (  # linear, each channel by itself
    *(aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default),
    *(aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default),
    *(aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default),
    *(*padding.RULES, *removed.RULES),
)
_LINEAR = (
    *(aten.conv2d.default, aten.conv2d.padding, aten.conv_transpose2d.input, aten.linear.default),
    *(aten.conv1d.default, aten.conv1d.padding, aten.conv_transpose1d.default),
    *(aten.mean.dim, aten.sum.dim_IntList, aten.slice.Tensor, aten.select.int, aten.flip.default),
    *(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints),
    *(aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, aten.unsqueeze.default),
    *(aten.permute.default, aten.transpose.int),
)
_LARGEST = (
    *(aten.max_pool2d.default, aten.max_pool2d_with_indices.default, aten.adaptive_max_pool2d.default),
    *(aten.max_pool1d.default, aten.max_pool1d_with_indices.default, aten.adaptive_max_pool1d.default),
)
_RISING = (
    *(aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.sigmoid.default, aten.tanh.default),
    *(aten.selu.default, aten.softplus.default, aten.hardsigmoid.default, aten.clamp.default, aten.clamp_min.default),
    *(aten.clamp_max.default, aten.elu.default, aten.leaky_relu.default, aten.prelu.default),
)
_SUMS = (aten.add.Tensor, aten.sub.Tensor)
_PRODUCTS = (aten.mul.Tensor, aten.div.Tensor)
_VARIANCES = tuple(op for packet in reductions.VARIANCES for op in (packet.dim, packet.correction))
_EXTREMES = (aten.amax.default, aten.amin.default)
_WRITTEN = 16  # multiply-adds in the time that a number takes to be read and written, as the planner counts
_UNCHANGED = 1e-12  # a pattern whose cells differ by less, over its largest number, is one of equal cells


def begin(context: Context) -> Standardised | None:
    """A map plus, less, times or over numbers of the window; ``None`` where the operator is none of these.

    Exact: yes, other rounding
    """
    target = ALIASES.get(context.node.target, context.node.target)
    if target not in (*_SUMS, *_PRODUCTS) or context.node.kwargs or len(context.node.args) != 2:
        return None
    left, right = (context.value(arg) for arg in context.node.args)
    if target in (aten.add.Tensor, aten.mul.Tensor) and _is_number_of_window(left):
        left, right = right, left
    value = Standardised(left, origin=left.node) if isinstance(left, Mapped) else left
    if not isinstance(value, Standardised) or value.activations or value.squared or not _is_open(context, value):
        return None
    if _is_number_of_window(right):
        return _with_number(context, value, right, target)
    return _with_constant(context, value, right, target)


def _is_open(context: Context, value: Standardised) -> bool:
    """Whether the base is a map of several cells and one channel dimension, and all are of one floating type."""
    base, tensors = value.base, [context.node, *context.node.all_input_nodes]
    alike = len({context.type_of(node) for node in tensors}) == 1 and context.result.dtype.is_floating_point
    return alike and not base.layout.single and not base.replayed and len(base.layout.channels) == 1


def _is_number_of_window(value: Any) -> bool:
    return isinstance(value, Mapped) and value.layout.single


def _with_number(context: Context, value: Standardised, number: Mapped, target: Any) -> Standardised | None:
    """A map and a number of the window, or one a channel of it."""
    layout, (channels,) = value.base.layout, value.base.layout.channels
    if number.layout.dims != layout.dims or number.layout.channels not in ((1,), (channels,)):
        return None
    by_channel = value.by_channel or number.layout.channels != (1,)
    if target in _SUMS:
        sign = 1.0 if target is aten.add.Tensor else -1.0
        pattern = torch.full((channels, 1, 1), sign, dtype=torch.float64)
        return replace(value, terms=(*value.terms, Term((number.node,), pattern)), by_channel=by_channel)
    node = number.node
    if target is aten.div.Tensor:
        node = context.emit(aten.reciprocal.default, [number], kind="pointwise")
    node = with_contrast(context, node, value.origin)
    terms = tuple(replace(term, factors=(*term.factors, node)) for term in value.terms)
    return replace(value, factors=(*value.factors, node), terms=terms, by_channel=by_channel)


def with_contrast(context: Context, factor: Node, origin: Node | None) -> Node:
    """A factor over the window's deviation or range, zero where all its numbers are equal.

    There the crop multiplies by zero, and the scan what is left of two equal numbers by rounding.
    """
    spread = _spread(context, factor, origin)
    if spread is None:
        return factor
    contrast = context.emit(aten.sign.default, [spread], kind="pointwise")
    contrast = context.emit(aten._to_copy.default, [contrast], kind="pointwise")
    contrast.kwargs = {"dtype": context.result.dtype}
    return context.emit(aten.mul.Tensor, [factor, contrast], kind="pointwise")


def _spread(context: Context, factor: Node, origin: Node | None) -> Node | None:
    """The variance or the range of the map ``origin`` from which a factor is computed."""
    waiting, seen = [factor], set[Node]()
    while waiting:
        node = waiting.pop()
        seen.add(node)
        found = context.builder.statistics.get(node)
        if found is not None and found.of is origin and found.name == "variance":
            return node
        if is_range(node, context.builder.statistics, origin):
            return node
        waiting += [n for n in node.all_input_nodes if n not in seen and n.meta["kind"] in ("pointwise", "per_cell")]
    return None


def _with_constant(context: Context, value: Standardised, other: Any, target: Any) -> Standardised | None:
    """A scaled map and a fixed number, or one a channel."""
    (channels,) = value.base.layout.channels
    if isinstance(other, Const):
        other = fit(context, other, value.base.layout, per_channel=False)
    if not isinstance(other, (Const, int, float)):
        return None
    number = torch.tensor(float(other)) if not isinstance(other, Const) else _numbers(context, other.node)
    if number.numel() not in (1, channels):  # one channel becomes several
        return None
    pattern = number.double().reshape(-1, 1, 1).expand(channels, 1, 1)
    if target in _SUMS:
        term = Term((), pattern if target is aten.add.Tensor else -pattern)
        return replace(value, terms=(*value.terms, term))
    base = replace(value.base, node=context.emit(target, [value.base, other], kind="pointwise"))
    terms = tuple(replace(t, pattern=target(t.pattern, pattern)) for t in value.terms)
    return replace(value, base=base, terms=terms)


def _numbers(context: Context, node: Node) -> Tensor:
    return evaluate(context.builder.root, node)


def rewrite(context: Context, args: dict[str, Any], rules: Rules) -> CanonicalValue | Refusal:
    """An operator on one scaled map: linear, never falling, largest, or a statistic of it; else refused."""
    target, refusal = context.node.target, Refusal("acts on windows that are scaled each by itself")
    standardised = [n for n in context.node.all_input_nodes if isinstance(context.values[n], Standardised)]
    if target is aten.mul.Tensor and context.node.args[0] is context.node.args[1]:
        return _squared(context) or refusal
    if len(standardised) != 1 or context.node.args[0] is not standardised[0]:
        return begin(context) or refusal
    value, rule = context.first, rules(target)
    if rule is None or value.squared:
        return _mean_of_squares(context, value, args) or refusal
    if target in (aten.pow.Tensor_Scalar, aten.square.default):
        return _squared(context) or refusal
    if target in (*_VARIANCES, *_EXTREMES):
        return _statistic(context, value, args, rule) or refusal
    if target in _RISING:
        return _activated(context, value) or refusal
    if target in (*_LINEAR, *_BY_CHANNEL, *_LARGEST):
        found = _on_base(context, value, args, rule)
        first = found.items[0] if isinstance(found, Outputs) else found
        follow = _largest if target in _LARGEST else _through
        result = follow(context, value, first) if isinstance(first, Mapped) else None
        if result is None:
            return refusal
        return Outputs((result, *found.items[1:])) if isinstance(found, Outputs) else result
    return begin(context) or refusal


def _on_base(context: Context, value: Standardised, args: dict[str, Any], rule: Rule) -> Any:
    """What the operator's rule makes of the base."""
    (source,) = (n for n in context.node.all_input_nodes if isinstance(context.values[n], Standardised))
    return rule(replace(context, values={**context.values, source: value.base}), args)


def _through(context: Context, value: Standardised, found: Mapped) -> Mapped | Standardised | None:
    """A linear operator on the base, ``found``, and on each term's pattern; what it adds of its own becomes a term.

    Exact: yes, other rounding
    """
    if value.by_channel and context.node.target not in _BY_CHANNEL:
        return None
    if value.activations:
        return replace(value, base=found) if found.node is value.base.node else None
    if found.replayed or len(found.layout.channels) != 1:
        return None
    if found.node is value.base.node:
        return replace(value, base=found)
    if not depends_on(found.node, value.base.node):
        return None
    shape = value.base.layout

    def image(pattern: Tensor) -> Tensor:
        whole = pattern.expand(shape.channels[0], shape.height, shape.width)[None]
        return evaluate(context.builder.root, found.node, value.base.node, whole)[0].double()

    own = image(torch.zeros(1, 1, 1, dtype=torch.float64, device=context.builder.device))
    terms = [replace(term, pattern=_uniform(image(term.pattern) - own)) for term in value.terms]
    if own.any():
        terms += [Term((), _uniform(own)), Term(value.factors, _uniform(-own))]
    return _closed(context, replace(value, base=found, terms=tuple(terms), replayed=False))


def _uniform(pattern: Tensor) -> Tensor:
    """A pattern, as one cell if all are alike."""
    cells = pattern.flatten(1)
    spread, size = (cells.amax(1) - cells.amin(1)).max(), cells.abs().max()
    return pattern[:, :1, :1] if spread <= _UNCHANGED * size else pattern


def _closed(context: Context, value: Standardised) -> Mapped | Standardised:
    """The value itself; if it is one cell for the window, as one that windows share."""
    return computed(context, value, "pointwise") if value.base.layout.single else value


def _activated(context: Context, value: Standardised) -> Standardised | None:
    """An activation that never falls, to be applied where the value is read."""
    node = context.node
    if node.kwargs or not all(map(partial(_is_rising, context, value), node.args[1:])):
        return None
    return replace(value, activations=(*value.activations, node), replayed=False)


def _is_rising(context: Context, value: Standardised, option: Any) -> bool:
    """Whether an activation with such an option never falls: slopes may not be below zero."""
    slopes = context.node.target in (aten.prelu.default, aten.leaky_relu.default, aten.elu.default)
    found = context.value(option)
    if isinstance(found, Const):
        fits = found.shape in ((1,), value.base.layout.channels)
        return fits and slopes and bool((_numbers(context, found.node) >= 0).all())
    return found is None or (isinstance(found, (int, float)) and (found >= 0 or not slopes))


def _largest(context: Context, value: Standardised, found: Mapped) -> Mapped | Standardised | None:
    """The largest cells under a kernel, taken of the base.

    Exact: yes, if no factor is below zero and all cells of every term are alike
    """
    builder = context.builder
    risen = all(is_nonnegative(builder.root, factor, builder.statistics) for factor in value.factors)
    if not risen or not all(term.uniform for term in value.terms):
        return None
    return _closed(context, replace(value, base=found, replayed=False))


def _statistic(context: Context, value: Standardised, args: dict[str, Any], rule: Rule) -> CanonicalValue | None:
    """The deviation or an extreme of a map that is shifted only: that of the base, which a shift moves along."""
    if value.factors or value.activations or value.by_channel or not all(term.uniform for term in value.terms):
        return None
    alike = all(torch.equal(t.pattern, t.pattern[:1].expand_as(t.pattern)) for t in value.terms)
    found = _on_base(context, value, args, rule)
    if isinstance(found, Refusal) or not alike:
        return None
    if context.node.target in _VARIANCES:
        return found if not str(context.node.target).split(".")[1].endswith("mean") else None
    if not isinstance(found, Mapped) or not args["keepdim"] or len(found.layout.channels) != 1:
        return None
    node = found.node
    for term in value.terms:
        shift = float(term.pattern.flatten()[0])
        if len(term.factors) != 1 or abs(shift) != 1:
            return None
        node = context.emit(
            aten.add.Tensor if shift > 0 else aten.sub.Tensor, [node, term.factors[0]], kind="pointwise"
        )
    return replace(found, node=node)


def _squared(context: Context) -> Standardised | None:
    """The square of a map that is shifted only, of which the mean may follow."""
    value = context.first
    exponent = context.node.args[1] if context.node.target is aten.pow.Tensor_Scalar else 2
    fits = value.replayed and not value.factors and not value.squared and len(value.terms) == 1
    return replace(value, squared=True) if fits and exponent == 2 else None


def _mean_of_squares(context: Context, value: Standardised, args: dict[str, Any]) -> Mapped | None:
    """The mean of squares of a map less its own mean: its variance.

    Exact: yes, other rounding
    """
    if context.node.target is not aten.mean.dim or args["dtype"] is not None or not value.squared:
        return None
    (term,) = value.terms
    dims = reductions.dims_of(value.base, args["dim"])
    own = reductions.reduction("mean", value.base, dims)
    if context.builder.statistics.get(term.factors[0] if term.factors else context.node) != own:
        return None
    if not (term.pattern == -1).all() or not reductions.may_share(context, value.base, context.node.args[0], dims):
        return None
    source = context.node.args[0]
    _, variance = reductions.moments(context, value.base, source, dims, keep=bool(args["keepdim"]), sliding=False)
    return as_type(context, variance, context.result.dtype, torch.float64)


def is_scaled_cheaper(context: Context, value: Standardised) -> bool:
    """Whether scaling what windows share takes less, for each window, than its operators on the scaled window.

    Counted in multiply-adds. A number that is read and written takes as long as ``_WRITTEN`` of them: each is gathered
    and scaled, each pattern of different cells is scaled and added, and what all cells of a channel share is added.
    """
    numbers = math.prod(value.base.layout.channels) * value.base.layout.height * value.base.layout.width
    patterns = sum(not term.uniform for term in _merged(value.terms))
    passes = 2 + 2 * patterns + any(term.uniform for term in value.terms) + len(value.activations)
    again, node = 0, context.node
    while not _scaled(context, node).replayed:
        given = context.builder.tensors[node]
        count = math.prod((given[0] if isinstance(given, (tuple, list)) else given).shape[1:])
        again += count * (_WRITTEN + _taps(context, node))
        node = next(n for n in node.all_input_nodes if isinstance(context.values[n], (Standardised, Outputs)))
    return passes * numbers * _WRITTEN < again


def _scaled(context: Context, node: Node) -> Standardised:
    """The scaled map that a node has become, or the first of its results."""
    value = context.values[node]
    found = value.items[0] if isinstance(value, Outputs) else value
    assert isinstance(found, Standardised)
    return found


def _taps(context: Context, node: Node) -> int:
    """Multiply-adds of one number of a convolution or linear layer; none of other operators."""
    weight = context.value(node.args[1]) if len(node.args) > 1 else None
    return math.prod(weight.shape[1:]) if isinstance(weight, Const) and len(weight.shape) > 1 else 0


def _merged(terms: tuple[Term, ...]) -> list[Term]:
    """The terms, those of equal factors as one."""
    patterns: dict[tuple[Node, ...], Tensor] = {}
    for term in terms:
        patterns[term.factors] = patterns.get(term.factors, 0) + term.pattern
    return [Term(factors, pattern) for factors, pattern in patterns.items()]


def _in_parts(pattern: Tensor, dtype: torch.dtype, *, parts: int) -> list[Tensor]:
    """At most so many tensors of a type whose sum is the pattern, as nearly as they can."""
    first = pattern.to(dtype)
    rest = pattern - first.double()
    return [first, *(_in_parts(rest, dtype, parts=parts - 1) if parts > 1 and rest.any() else [])]


def computed(context: Context, value: Standardised, kind: str) -> Mapped:
    """The value by itself: ``kind`` is ``whole`` where each window has its own.

    Numbers of the window are multiplied and added in float64, as what is left of two large ones may be small.
    """
    result = context.result
    dtype: torch.dtype = (result[0] if isinstance(result, (tuple, list)) else result).dtype
    reason = "scales and shifts each window by numbers of its own"

    def call(target: Any, *operands: Any, to: torch.dtype | None = None) -> Node:
        node = context.emit(target, operands, kind=kind, **({"reason": reason} if kind == "whole" else {}))
        node.kwargs = {} if to is None else {"dtype": to}
        return node

    def product(factors: tuple[Node, ...]) -> Node | None:
        found = None
        for factor in factors:
            wide = call(aten._to_copy.default, factor, to=torch.float64)
            found = wide if found is None else call(aten.mul.Tensor, found, wide)
        return found

    shifted = any(set(term.factors) - set(value.factors) for term in value.terms)
    context.builder.standardises |= shifted and bool(value.factors)
    factor = product(value.factors)
    even = None  # what is added to all cells alike; no number where the factor is none
    if factor is not None and value.terms:
        even = call(aten.mul.Tensor, factor, 0.0)
    maps: list[Node] = []
    for k, term in enumerate(_merged(value.terms)):
        size, wide = product(term.factors), term.uniform and even is not None
        if size is not None and not wide:
            size = call(aten._to_copy.default, size, to=dtype)
        for part, pattern in enumerate(_in_parts(term.pattern[None], dtype, parts=2 if wide else 1)):
            held = context.held(f"pattern_{k}_{part}", pattern).node
            added = held if size is None else call(aten.mul.Tensor, size, held)
            if wide:
                even = call(aten.add.Tensor, even, added)
            else:
                maps.append(added)
    node = value.base.node
    if factor is not None:
        plain = len(value.factors) == 1 and not value.terms  # a gate
        narrow = value.factors[0] if plain else call(aten._to_copy.default, factor, to=dtype)
        node = call(aten.mul.Tensor, node, narrow)
    if even is not None:
        maps.append(call(aten._to_copy.default, even, to=dtype))
    for added in maps:
        node = call(aten.add.Tensor, node, added)
    for activation in value.activations:
        node = call(activation.target, node, *(context.value(arg) for arg in activation.args[1:]))
    return Mapped(node, value.base.layout)
