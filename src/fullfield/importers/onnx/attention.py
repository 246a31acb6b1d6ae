"""Maps the attention operators of ONNX Runtime, which its optimiser makes of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fullfield.importers.limits import LayerRefused
from fullfield.importers.onnx.builder import AtenBuilder
from fullfield.importers.onnx.quantised import Along, numbers, real_numbers
from fullfield.importers.onnx.registry import OnnxCall, operator
from fullfield.importers.onnx.values import OnnxValue

aten = torch.ops.aten


@dataclass(frozen=True)
class _Given:
    """What the forms of attention share.

    Args:
        scale: of the products of queries and keys; ``None`` for the root of the size of a head.
        bias: added to these products.
    """

    heads: int
    scale: float | None
    causal: bool
    bias: OnnxValue | None = None


@operator("com.microsoft.Attention")
def attention(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Attention of tokens ``(n, tokens, features)`` to each other, with their product with the weights."""
    weight = call.weight(1)
    if weight is None:
        raise LayerRefused("lacks its weights")
    return _of_tokens(b, call, b.call(aten.t.default, weight), _given(call, masks=(3, 4, 6), bias=5))


@operator("com.microsoft.QAttention")
def quantised_attention(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """The same with integer weights, read as the real numbers that these mean."""
    weight = real_numbers(b, call.known(1), call.known(4), call.optional(7), Along(-1))
    if float(numbers(call.known(3))) != 1:
        raise LayerRefused("takes integers with a scale of their own")
    return _of_tokens(b, call, b.call(aten.t.default, weight), _given(call, masks=(5, 8), bias=None))


@operator("com.microsoft.MultiHeadAttention")
def multi_head_attention(b: AtenBuilder, call: OnnxCall) -> OnnxValue:
    """Attention of queries to keys and values, which are tokens or split in heads; a bias is added to all three."""
    given = _given(call, masks=(4, 6, 7, 8, 9), bias=5)
    parts = [_split_heads(b, call.input(i), given.heads) for i in range(3)]
    if call.optional(3) is not None:
        parts = _with_bias(b, parts, call.weight(3))
    return _attend(b, parts, given)


def _given(call: OnnxCall, *, masks: Sequence[int], bias: int | None) -> _Given:
    """The node's attributes.

    Raises:
        LayerRefused: it has a mask of tokens or values of calls before, as language models have.
    """
    used = [index for index in masks if call.optional(index) is not None]
    if used or call.integer("do_rotary", 0):
        raise LayerRefused(f"has a mask, past values or rotations (inputs {used}), as language models have")
    scale = call.real("scale", 0.0)
    added = None if bias is None or call.optional(bias) is None else call.buffer(bias)
    return _Given(call.integer("num_heads", 1), scale or None, bool(call.integer("unidirectional", 0)), added)


def _of_tokens(b: AtenBuilder, call: OnnxCall, weight: OnnxValue, given: _Given) -> OnnxValue:
    """Attention of tokens to each other, with the weights ``(features of all three, features)``."""
    whole = b.call(aten.linear.default, call.input(0), weight, call.weight(2))
    third = whole.shapes[0][-1] // 3
    sizes = call.ints("qkv_hidden_sizes", [third] * 3) or []
    if sum(sizes) != whole.shapes[0][-1]:
        raise LayerRefused(f"parts {sizes} of {whole.shapes[0][-1]} features")
    parts = b.calls(aten.split_with_sizes.default, whole, sizes, -1)
    return _attend(b, [_split_heads(b, part, given.heads) for part in parts], given)


def _split_heads(b: AtenBuilder, x: OnnxValue, heads: int) -> OnnxValue:
    """Tokens ``(n, tokens, features)`` as ``(n, heads, tokens, features of a head)``; others as they are."""
    if len(x.shapes[0]) == 4:
        return x
    if len(x.shapes[0]) != 3 or x.shapes[0][-1] % heads:
        raise LayerRefused(f"{heads} heads of tokens of shape {x.shapes[0]}")
    low, high = ([*shape[:2], heads, shape[2] // heads] for shape in x.shapes)
    return b.call(aten.permute.default, b.reshape(x, (low, high)), [0, 2, 1, 3])


def _with_bias(b: AtenBuilder, parts: Sequence[OnnxValue], bias: OnnxValue | None) -> list[OnnxValue]:
    """Queries, keys and values with the three parts of a vector added."""
    assert bias is not None
    sizes = [part.shapes[0][1] * part.shapes[0][3] for part in parts]
    vectors = b.calls(aten.split_with_sizes.default, bias, sizes, 0)
    shapes = [[part.shapes[0][1], 1, part.shapes[0][3]] for part in parts]
    return [
        b.call(aten.add.Tensor, part, b.reshape(vector, (shape, shape)))
        for part, vector, shape in zip(parts, vectors, shapes, strict=True)
    ]


def _attend(b: AtenBuilder, parts: Sequence[OnnxValue], given: _Given) -> OnnxValue:
    """Attention of queries, keys and values ``(n, heads, tokens, features)``, its heads joined again."""
    y = b.call(aten.scaled_dot_product_attention.default, *parts, given.bias, 0.0, given.causal, scale=given.scale)
    low, high = ([shape[0], shape[2], shape[1] * shape[3]] for shape in y.shapes)
    return b.reshape(b.call(aten.permute.default, y, [0, 2, 1, 3]), (low, high))
