"""Arithmetic of one operator: multiply-adds, and everything else by what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch.fx import Node

from fullfield.graph.calls import bind, op_name


@dataclass(frozen=True)
class Work:
    """Counts of operations on one window.

    Args:
        macs: multiply-adds of convolutions, linear layers and matrix products.
        multiplies, adds, comparisons, divisions: of all other operators, one each.
        functions: values of ``exp``, ``tanh``, ``sqrt`` and their like.
    """

    macs: int = 0
    multiplies: int = 0
    adds: int = 0
    comparisons: int = 0
    divisions: int = 0
    functions: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of the multiply-adds, two each: the sum starts at the bias, so it is in them."""
        return 2 * self.macs

    @property
    def other(self) -> int:
        """Everything that is no multiply-add."""
        return self.multiplies + self.adds + self.comparisons + self.divisions + self.functions

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> Work:
        return Work(*(getattr(self, f.name) * times for f in fields(self)))

    def to_dict(self) -> dict[str, int]:
        """The counts by name, ``flops`` beside ``macs``."""
        return {"flops": self.flops, **asdict(self)}


# An operator on every number of its output. Functions of several steps count each: silu is x * sigmoid(x).
_EACH: Mapping[str, Work] = {
    **dict.fromkeys(("add", "sub", "rsub"), Work(adds=1)),
    "mul": Work(multiplies=1),
    "div": Work(divisions=1),
    **dict.fromkeys(
        ("relu", "abs", "neg", "sign", "maximum", "minimum", "clamp_min", "clamp_max"), Work(comparisons=1)
    ),
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne", "where", "threshold"), Work(comparisons=1)),
    **dict.fromkeys(("relu6", "hardtanh", "clamp"), Work(comparisons=2)),
    **dict.fromkeys(("leaky_relu", "prelu", "_prelu_kernel"), Work(comparisons=1, multiplies=1)),
    "hardsigmoid": Work(comparisons=2, adds=1, multiplies=1),
    "hardswish": Work(comparisons=2, adds=1, multiplies=2),
    "silu": Work(functions=1, multiplies=1),
    "gelu": Work(functions=1, multiplies=2, adds=1),
    "mish": Work(functions=2, multiplies=1),
    **dict.fromkeys(("elu", "celu", "selu"), Work(comparisons=1, functions=1, multiplies=1)),
    "softplus": Work(comparisons=1, functions=2, adds=1),
    # a scale and a shift, both known before the image comes
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), Work(multiplies=1, adds=1)),
    # mean, variance (a subtraction and a square), scale by the deviation, weight and bias
    **dict.fromkeys(("layer_norm", "native_layer_norm", "group_norm", "instance_norm"), Work(multiplies=3, adds=4)),
    "rms_norm": Work(multiplies=3, adds=1),
    # the largest for safety, its subtraction, exp, the sum, the division
    **dict.fromkeys(("softmax", "_softmax"), Work(comparisons=1, adds=2, functions=1, divisions=1)),
    **dict.fromkeys(("log_softmax", "_log_softmax"), Work(comparisons=1, adds=3, functions=1)),
}
# Operators that only move or rename numbers.
VIEWS = frozenset(
    (
        *("reshape", "view", "permute", "transpose", "t", "slice", "select", "unsqueeze", "squeeze", "expand"),
        *("flatten", "unflatten", "alias", "detach", "getitem", "split", "split_with_sizes", "chunk", "unbind"),
    )
)
COPIES = frozenset({"clone", "contiguous", "_to_copy", "to", "dropout"})
_MOVES = (
    VIEWS
    | COPIES
    | {"constant_pad_nd", "pad", "cat", "stack", "roll", "upsample_nearest2d"}
    | {"channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "depth_to_space", "neighbourhood"}
)


def work(node: Node, values: Mapping[Node, Any], macs: int) -> Work | None:
    """Operations of one node of a canonical graph on one window; ``None`` for an operator that is in no list here.

    Taps in padding count as taps: a pool with kernel F compares F*F - 1 times at every cell.

    Args:
        node: whose operations.
        values: tensors of every node for one window; shapes count only.
        macs: its multiply-adds, counted elsewhere.
    """
    value, name = values[node], op_name(node)
    first = value[0] if isinstance(value, (tuple, list)) else value
    count = first.numel() if isinstance(first, torch.Tensor) else 0
    if macs or name in _MOVES or node.op == "placeholder":
        return Work(macs=macs)
    if name in _SQUARES:
        return _SQUARES[name](node, values) * count + Work(multiplies=_source(node, values).numel())
    if name in _POOLS:
        return _POOLS[name](node, values) * count
    if name in _EACH:
        return _EACH[name] * count
    if torch.Tag.pointwise in getattr(node.target, "tags", ()):
        return Work(functions=count)
    return None


def _taps(node: Node) -> int:
    kernel = bind(node)["kernel_size"]
    rank = 3 if op_name(node).endswith("3d") else 2
    taps: int = kernel**rank if isinstance(kernel, int) else math.prod(kernel) ** (rank // len(kernel))
    return taps


def _source(node: Node, values: Mapping[Node, Any]) -> torch.Tensor:
    tensor: torch.Tensor = values[node.all_input_nodes[0]]
    return tensor


def _reduced(node: Node, values: Mapping[Node, Any]) -> int:
    """Numbers of the input that go into one of the output."""
    result = values[node]
    first = result[0] if isinstance(result, (tuple, list)) else result
    return -(-int(_source(node, values).numel()) // max(1, int(first.numel())))


def _largest(node: Node, values: Mapping[Node, Any]) -> Work:
    return Work(comparisons=_taps(node) - 1)


def _average(node: Node, values: Mapping[Node, Any]) -> Work:
    return Work(adds=_taps(node) - 1, divisions=1)


_POOLS: Mapping[str, Callable[[Node, Mapping[Node, Any]], Work]] = {
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _largest),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), _average),
    **dict.fromkeys(
        ("mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"),
        lambda node, values: Work(adds=_reduced(node, values) - 1, divisions=1),
    ),
    "sum": lambda node, values: Work(adds=_reduced(node, values) - 1),
    **dict.fromkeys(("amax", "amin", "max", "min"), lambda node, values: Work(comparisons=_reduced(node, values) - 1)),
}


def _normed(taps: int) -> Work:
    """A mean of squares, ``alpha`` times it plus ``k``, to a power, as divisor."""
    return Work(adds=taps, multiplies=1, divisions=2, functions=1)


def _root_of_pool(node: Node, values: Mapping[Node, Any]) -> Work:
    """As in canonical form: a mean, times its divisor where the sum is meant, and the root."""
    return _average(node, values) + Work(multiplies=0 if bind(node)["mean"] else 1, functions=1)


# fullfield's own, which square every number first.
_SQUARES: Mapping[str, Callable[[Node, Mapping[Node, Any]], Work]] = {
    "local_response_norm": lambda node, values: _normed(bind(node)["size"]),
    "local_response_norm_within": lambda node, values: _normed(bind(node)["size"] ** 2),
    "l2_pool2d": _root_of_pool,
    "feature_l2_pool": lambda node, values: Work(adds=bind(node)["width"] - 1, functions=1),
}
