"""Networks of which a window's scores hang on more than the window: on its neighbours in the batch, or on chance."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fullfield.errors import CaptureError
from fullfield.graph.calls import bind, op_name
from fullfield.graph.shapes import PROBE_BATCH, propagate, window_dims

# Operators that leave all numbers in their order.
_RESHAPES = frozenset(
    ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "_unsafe_view")
)
# Operators that treat what lies along the first dimension apart wherever they leave its size as it is.
_INDEPENDENT = frozenset(
    (
        *("swapaxes", "swapdims", "t", "movedim", "expand", "expand_as", "detach", "alias", "unfold"),
        *("to", "_to_copy", "type_as", "lift_fresh_copy", "dropout", "feature_dropout", "alpha_dropout"),
        *("slice", "narrow", "split", "split_with_sizes", "chunk"),
        *("cat", "concat", "pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d"),
        *("linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
        *("instance_norm", "group_norm", "layer_norm", "rms_norm", "prelu", "relu6", "hardswish"),
        *("native_layer_norm", "native_group_norm", "_native_batch_norm_legit_no_training"),
        *("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "max_pool2d_with_indices"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
        *("upsample_nearest2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa"),
        *("upsample_bicubic2d", "_upsample_bicubic2d_aa", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
        *("im2col", "max", "min", "var", "std", "var_mean", "norm", "logsumexp"),
        *("linalg_vector_norm", "glu"),
    )
)
# Operators that take how many windows there are as a size.
_SIZED = frozenset(
    (
        *("view", "reshape", "unflatten", "expand", "_unsafe_view", "slice", "narrow", "split", "split_with_sizes"),
        *("zeros", "ones", "empty", "new_zeros", "new_ones", "new_empty", "repeat", "tile"),
    )
)
# Operators that do so wherever the windows' dimension lies: what they give would else lack it.
_ANYWHERE = frozenset(
    (
        *("permute", "transpose", "unbind", "select", "stack", "contiguous", "clone", "mean", "sum", "amax", "amin"),
        "getitem",
    )
)
_NUMBERS = (int, float, bool)


def check_batch_independence(graph: GraphModule, probe: Tensor, name: str) -> None:
    """Passes if a window's scores depend neither on the other windows of its batch nor on how many there are.

    Nothing is run where every operator is known to treat the windows apart, as most networks' are. Otherwise a window
    is run at the same place of two batches of the same size, so that all that differs is the window beside it; alone,
    where a number of windows is more to the network than a size; twice, where an operator may draw random numbers.

    Args:
        graph: of the network.
        probe: two windows of the size, type and device that it takes.
        name: of the network, for the error.

    Raises:
        CaptureError: they do, or are not the same each time.
    """
    if probe.device.type == "meta":  # it has no numbers to run with
        return
    values = propagate(graph, (PROBE_BATCH, *probe.shape[1:]), probe.dtype)
    counts = _counts(values)
    operators = [n for n in graph.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    draws = any(map(_draws, operators))
    if not counts and not draws and all(_independent(node, values) for node in operators):
        return
    noise = torch.Generator().manual_seed(0)
    a, b, c = torch.randn((3, *probe.shape[1:]), generator=noise).to(probe)
    with torch.no_grad():
        ab, ac, cb = (graph(torch.stack(pair)) for pair in ((a, b), (a, c), (c, b)))
        again = graph(torch.stack((a, b))) if draws else ab
        alone = graph(torch.stack((a,)))[0] if counts else ab[0]
    eps = torch.finfo(ab.dtype).eps
    rounding = min(1000 * eps, 0.05)
    if _differ(ab, again, rounding):
        raise CaptureError(
            name,
            "gives the same window other scores each time: it draws random numbers",
            fix="give functional dropout and its like training=self.training, or training=False",
        )
    if _differ(ab[0], ac[0], rounding) or _differ(ab[1], cb[1], rounding):
        raise CaptureError(
            name,
            "gives a window other scores when another window is beside it in its batch: it mixes the windows",
            fix="correct the network: some layer takes the first dimension for positions or channels",
        )
    if _differ(ab[0], alone, eps**0.25):  # a batch of another size is rounded otherwise
        raise CaptureError(
            name,
            "gives a window other scores in a batch of two than alone",
            fix="correct the network: some layer computes with the size of the batch",
        )


def _differ(one: Tensor, other: Tensor, relative: float) -> bool:
    """Whether two windows' scores differ by more than rounding."""
    return bool((one - other).abs().max() > relative * one.abs().max())


def _draws(node: Node) -> bool:
    """Whether an operator draws random numbers; dropout and its like do where they are told that the network learns."""
    if not isinstance(node.target, OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    given = bind(node)
    switches = [given[name] for name in ("train", "training", "dropout_p") if name in given]
    return not switches or any(switches)


def _independent(node: Node, values: Mapping[Node, Any]) -> bool:
    """Whether an operator is known to treat windows apart; they lie along one dimension of what it reads and gives.

    There each window may be a block of several, all of its own: nothing but a reshape makes those, of a dimension that
    comes first, or behind others that stay as they are.
    """
    before, after = _tensors([values[n] for n in node.all_input_nodes]), _tensors(values[node])
    if not any(map(window_dims, before + after)) or not after:
        return True
    name, target = op_name(node), node.target
    if not isinstance(target, OpOverload) and target is not operator.getitem:
        return False
    held = [(tuple(t.shape), window_dims(t)) for t in before if window_dims(t)]
    held += [(tuple(t.shape), window_dims(t)) for t in after]
    if any(len(dims) != 1 for _, dims in held):
        return False
    in_front, sizes = ({shape[: dims[0]] for shape, dims in held}, {shape[dims[0]] for shape, dims in held})
    if name in _RESHAPES:
        return len(in_front) == 1
    if len(sizes) > 1 or (name not in _ANYWHERE and in_front != {()}):
        return False
    if isinstance(target, OpOverload) and (torch.Tag.pointwise in target.tags or target.namespace == "fullfield"):
        return True
    return name in _INDEPENDENT | _ANYWHERE or (name in _SPECIAL and _SPECIAL[name](node, values))


def _softmax(node: Node, values: Mapping[Node, Any]) -> bool:
    """Along another dimension."""
    dim = bind(node)["dim"]
    return isinstance(dim, int) and dim % values[node].dim() != 0


def _product(node: Node, values: Mapping[Node, Any]) -> bool:
    """Sums over the last dimension of the first factor and the last but one of the second, neither the windows'."""
    first, second = (values[n] for n in node.all_input_nodes[-2:])  # behind what is added
    if window_dims(first) and window_dims(second):
        return bool(first.dim() == second.dim() > 2)
    return bool(first.dim() > 1 if window_dims(first) else second.dim() > 2)


def _attention(node: Node, values: Mapping[Node, Any]) -> bool:
    """As for a product; queries, keys and values have their windows at the same place."""
    return all(values[n].dim() == values[node].dim() > 2 for n in node.all_input_nodes[:3])


def _einsum(node: Node, values: Mapping[Node, Any]) -> bool:
    """Of tensors that have the windows first, and under one letter, as has what comes out."""
    equation = str(node.args[0]).replace(" ", "")
    reads, _, gives = equation.partition("->")
    letters = {r[:1] for r, n in zip(reads.split(","), node.all_input_nodes, strict=False) if window_dims(values[n])}
    return len(letters) == 1 and gives[:1] in letters and gives[:1].isalpha()


def _roll(node: Node, values: Mapping[Node, Any]) -> bool:
    """Along other dimensions."""
    dims = bind(node)["dims"]
    return bool(dims) and all(dim % values[node].dim() for dim in dims)


_SPECIAL: dict[str, Callable[[Node, Mapping[Node, Any]], bool]] = {
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm", "baddbmm"), _product),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    "roll": _roll,
    "batch_norm": lambda node, _: bind(node)["training"] is False,
    "index": lambda node, _: bind(node)["indices"][0] is None,
}


def _counts(values: Mapping[Node, Any]) -> bool:
    """Whether some operator takes the number of windows, or what is computed from it, for more than a size."""
    counts: set[Node] = set()
    for node in values:
        value, reads = values[node], not counts.isdisjoint(node.all_input_nodes)
        if isinstance(value, _NUMBERS):
            if reads or (value and value % PROBE_BATCH == 0):
                counts.add(node)
        elif reads and node.op != "output" and op_name(node) not in _SIZED:
            return True
    return False


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in a value."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
